"""Emitted models: what the text says, and that it computes what the lowered graph does."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, reduce
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

import attnc
from attnc.api import Compilation
from attnc.compiler.artefact import load_module
from attnc.compiler.constants import defaults
from attnc.compiler.emit.expressions import function_name
from attnc.compiler.emit.layout import WIDTH
from attnc.compiler.materialise import materialise
from attnc.dsl import ops
from attnc.dsl.dims import substitute, symbols
from attnc.dsl.graph import Graph, TensorType

torch.set_num_threads(1)
SPECS = Path(__file__).parents[1] / "golden" / "emit"
NAMES = sorted(path.stem for path in SPECS.glob("*.attn"))
SIZES = {"b": 2, "n": 9, "m": 7, "h": 32, "w": 32}

Golden = Callable[[Path | str, str], None]
Results = Tensor | dict[str, Tensor]


@cache
def compiled(name: str, target: str = "reference") -> Compilation:
    text = (SPECS / f"{name}.attn").read_text()
    return Compilation(attnc.check(attnc.loads(text, f"{name}.attn")), target)


def emitted(name: str) -> nn.Module:
    """An instance in float64 with the weights of the lowered module."""
    compilation = compiled(name)
    artefact = compilation.artefact
    with defaults("cpu", torch.float64):
        model: nn.Module = getattr(load_module(artefact), artefact.model)()
    lowered = materialise(compilation.module, dtype=torch.float64)
    model.load_state_dict(lowered.state_dict())
    return model


def inputs(graph: Graph) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [drawn(type_, generator) for type_ in graph.inputs.values()]


def drawn(type_: TensorType, generator: torch.Generator) -> Tensor:
    known = {name: SIZES[name] for size in type_.shape for name in symbols(size)}
    shape = [cast(int, substitute(size, known)) for size in type_.shape]
    if type_.dtype == "int":
        return torch.randint(0, 8, shape, generator=generator)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def by_name(results: Results) -> dict[str, Tensor]:
    return results if isinstance(results, dict) else {"": results}


def code(name: str) -> str:
    """The model as emitted, less the head with hash and version."""
    return compiled(name, "sdpa").artefact.files["model.py"].partition("annotations\n\n")[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_text_is_as_read_and_approved(name: str, golden: Golden) -> None:
    golden(f"emit/{name}.py.txt", code(name))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_the_lowered_graph_does(name: str, train: bool) -> None:
    model, given = emitted(name).train(train), inputs(compiled(name).graph)
    lowered = compiled(name).module.train(train)
    with torch.no_grad():
        torch.manual_seed(0)
        found = by_name(model(*given))
        torch.manual_seed(0)
        expected = by_name(lowered(*given))
    assert set(found) <= set(expected)
    assert not train or set(found) == set(expected)
    for key, value in found.items():
        assert value.dtype == expected[key].dtype
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_has_the_paths_of_the_spec_in_order(name: str) -> None:
    lowered = compiled(name).module.state_dict()
    assert list(emitted(name).state_dict()) == list(lowered)


def test_it_is_formatted_and_free_of_lint(tmp_path: Path) -> None:
    for name in NAMES:
        for target in ("sdpa", "reference"):
            for file, text in compiled(name, target).artefact.files.items():
                if file.endswith(".py"):
                    path = tmp_path / target / name / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", str(WIDTH), str(tmp_path)]
    for command in (["format", "--diff"], ["check", "--extend-select", "I,B,UP"]):
        done = subprocess.run([*ruff, *command, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "strict"),
    [("stages", False), ("decoder", False), ("buffers", False), ("loops", True), ("modes", True)],
)
def test_it_exports(name: str, strict: bool) -> None:
    model, given = emitted(name).eval(), tuple(inputs(compiled(name).graph))
    exported = torch.export.export(model, given, strict=strict).module()
    found, expected = by_name(exported(*given)), by_name(model(*given))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_it_is_one_graph_for_torch_compile() -> None:
    model, given = emitted("loops").eval(), inputs(compiled("loops").graph)
    compiled_model = torch.compile(model, backend="eager", fullgraph=True)
    found, expected = by_name(compiled_model(*given)), by_name(model(*given))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# Modes and exits --------------------------------------------------------------------------


def test_an_early_exit_runs_no_further() -> None:
    model, given = emitted("stages").eval(), inputs(compiled("stages").graph)
    for later in ("merges.2", "stages.2", "head"):
        model.get_submodule(later).register_forward_pre_hook(lambda *_: pytest.fail("it ran"))
    early = model(*given, until="early")
    assert list(early) == ["early"]
    assert torch.equal(early["early"], emitted("stages").eval()(*given)["early"])


def test_results_of_training_exist_in_training_only() -> None:
    model, given = emitted("modes"), inputs(compiled("modes").graph)
    assert "loss" in model.train()(*given)
    assert "loss" not in model.eval()(*given)


# Stability --------------------------------------------------------------------------------


def test_lengths_alone_make_neither_kernels_nor_classes() -> None:
    text = """model m {
      input x: [b, 12, 16]
      input y: [b, 10, 16]
      output first = self_attention(x, heads=2, score=tanh(qk)) @a
      output second = self_attention(y, heads=2, score=tanh(qk)) @c
    }"""
    graph = attnc.check(attnc.loads(text, "m.attn"))
    files = Compilation(graph, "reference").artefact.files
    assert files["kernels.py"].count("def ") == files["model.py"].count("class SelfAttention") == 1
    assert "q, k, v: [b, 2, _, 8]" in files["kernels.py"]


def test_a_change_of_a_width_changes_the_top_class_alone() -> None:
    def text(dim: int) -> list[str]:
        spec = (SPECS / "encoder.attn").read_text().replace("dim = 48", f"dim = {dim}")
        graph = attnc.check(attnc.loads(spec, "encoder.attn"))
        return Compilation(graph, "sdpa").artefact.files["model.py"].splitlines()

    changes = [line for line in difflib.ndiff(text(48), text(64)) if line[0] in "-+"]
    changed = {line[2:].strip().split(" = ")[0] for line in changes}
    changed = {line.split("Encoder(")[0] for line in changed} - {""}
    top = {"cls_token", "pos_embed", "patch_embed", "blocks", "norm", "head"}
    assert changed - {f"self.{name}" for name in top} == {
        line[2:].strip() for line in changes if line[2:].startswith("SHA-256")
    }


def test_a_change_of_depth_changes_one_line_of_code() -> None:
    def text(depth: int) -> str:
        spec = (SPECS / "encoder.attn").read_text().replace("depth = 3", f"depth = {depth}")
        graph = attnc.check(attnc.loads(spec, "encoder.attn"))
        return Compilation(graph, "sdpa").artefact.files["model.py"].partition("import torch")[2]

    for depth in (1, 2):
        assert text(3).replace("range(3)", f"range({depth})") == text(depth)


PROGRAM = """
import sys, attnc
from attnc.api import Compilation
text = open(sys.argv[1]).read()
artefact = Compilation(attnc.check(attnc.loads(text, "stages.attn")), "reference").artefact
sys.stdout.write("".join(f"{name}\\n{text}" for name, text in artefact.files.items()))
"""


def test_bytes_do_not_depend_on_the_process() -> None:
    path = str(SPECS / "stages.attn")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, path],
            env={"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    texts = [run.communicate()[0] for run in runs]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 1000


def test_a_thousand_instances_are_emitted_in_seconds() -> None:
    spec = (SPECS / "encoder.attn").read_text().replace("depth = 3", "depth = 1000")
    compilation = Compilation(attnc.check(attnc.loads(spec, "deep.attn")), "sdpa")
    assert compilation.kernels
    start = time.process_time()
    text = compilation.artefact.files["model.py"]
    assert time.process_time() - start < 5
    assert "for _ in range(1000)" in text
    assert len(text) < 5000


def test_every_torch_function_of_the_operators_has_a_name_in_emitted_code() -> None:
    known = {"torch": torch, "F": torch.nn.functional}
    texts = [path.read_text() for path in Path(ops.__file__).parent.glob("*.py")]
    found = {name for text in texts for name in re.findall(r"\b((?:torch|F)(?:\.\w+)+)\(", text)}
    assert len(found) > 30
    for name in found:
        first, *rest = name.split(".")
        assert function_name(reduce(getattr, rest, known[first])) == name
