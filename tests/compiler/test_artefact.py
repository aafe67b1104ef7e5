"""Writing a package and importing one: all or nothing, and nothing of others is lost."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import tomllib
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import attnc
from attnc.api import Compilation
from attnc.compiler import identity
from attnc.compiler.artefact import Artefact, differing, load_module, write
from attnc.dsl.diagnostics import AttncError, EnvironmentLacks, SpecError

SPEC = """attnc 1
model tiny(dim = 8, heads = 2) {
  doc "Tokens that see each other."
  paper = {title: "A Paper", year: 2024, arxiv: "2401.00001"}
  input x: [b, n, dim]
  x += self_attention(layer_norm(x) @norm, heads=heads) @attn
  output y = x
}
"""


def compilation(spec: str = SPEC, target: str = "sdpa") -> Compilation:
    return Compilation(attnc.check(attnc.loads(spec, "tiny.attn")), target)


@pytest.fixture
def artefact() -> Artefact:
    return compilation().artefact


@pytest.fixture
def other() -> Artefact:
    """The same model with a kernel, and so with one file more."""
    spec = SPEC.replace("dim = 8", "dim = 16").replace(
        "heads=heads)", "heads=heads, domain=causal)"
    )
    return compilation(spec, "reference").artefact


def on_disk(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def codes_of(error: pytest.ExceptionInfo[AttncError]) -> list[str]:
    return [each.code for each in error.value.diagnostics]


# Writing ----------------------------------------------------------------------------------


def test_a_new_directory_holds_the_files_and_nothing_else(
    artefact: Artefact, tmp_path: Path
) -> None:
    write(artefact, tmp_path / "made" / "tiny")
    assert on_disk(tmp_path / "made" / "tiny") == dict(artefact.files)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["tiny"]
    assert differing(artefact, tmp_path / "made" / "tiny") == ()


def test_a_package_is_written_over_with_its_successor(
    artefact: Artefact, other: Artefact, tmp_path: Path
) -> None:
    write(other, tmp_path / "tiny")
    assert "kernels.py" in on_disk(tmp_path / "tiny")
    assert set(differing(artefact, tmp_path / "tiny")) >= {"model.py", "manifest.json"}
    write(artefact, tmp_path / "tiny")
    assert on_disk(tmp_path / "tiny") == dict(artefact.files)


def test_files_of_others_stay(artefact: Artefact, other: Artefact, tmp_path: Path) -> None:
    write(other, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "runs").mkdir()
    write(artefact, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "runs").is_dir()


def test_an_edited_file_is_not_written_over(
    artefact: Artefact, other: Artefact, tmp_path: Path
) -> None:
    write(artefact, tmp_path)
    (tmp_path / "model.py").write_text("edited")
    before = on_disk(tmp_path)
    with pytest.raises(SpecError) as error:
        write(other, tmp_path)
    assert codes_of(error) == ["E620"]
    assert error.value.exit_code == 1
    assert on_disk(tmp_path) == before
    write(other, tmp_path, force=True)
    assert on_disk(tmp_path) == dict(other.files)


def test_an_edited_file_that_is_no_longer_made_is_not_removed(
    artefact: Artefact, other: Artefact, tmp_path: Path
) -> None:
    write(other, tmp_path)
    (tmp_path / "kernels.py").write_text("edited")
    with pytest.raises(SpecError) as error:
        write(artefact, tmp_path)
    assert codes_of(error) == ["E620"]


def test_a_file_of_another_origin_is_not_written_over(artefact: Artefact, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("by hand")
    (tmp_path / "manifest.json").write_text('{"files": {"model.py": "0"}}')
    with pytest.raises(SpecError) as error:
        write(artefact, tmp_path)
    assert codes_of(error) == ["E621", "E621"]
    assert on_disk(tmp_path)["model.py"] == "by hand"
    write(artefact, tmp_path, force=True)
    assert on_disk(tmp_path) == dict(artefact.files)


@pytest.mark.parametrize("manifest", ["", "[]", "{", '{"attnc": "0", "files": 3}', "\0"])
def test_a_broken_manifest_is_a_file_of_another_origin(
    artefact: Artefact, tmp_path: Path, manifest: str
) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(SpecError) as error:
        write(artefact, tmp_path)
    assert codes_of(error) == ["E621"]


def test_a_manifest_cannot_name_files_elsewhere(artefact: Artefact, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("")
    package = tmp_path / "package"
    write(artefact, package)
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["../victim.txt"] = hashlib.sha256(b"").hexdigest()
    (package / "manifest.json").write_text(json.dumps(manifest))
    write(artefact, package)
    assert victim.exists()


def test_what_an_interrupted_run_left_is_completed(
    artefact: Artefact, other: Artefact, tmp_path: Path
) -> None:
    write(other, tmp_path)
    (tmp_path / "model.py").write_text(artefact.files["model.py"])
    write(artefact, tmp_path)
    assert on_disk(tmp_path) == dict(artefact.files)


def test_a_failure_midway_leaves_all_as_it_was(
    artefact: Artefact, other: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(other, tmp_path)
    before = on_disk(tmp_path)
    replace = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if self.name == "spec.attn" and self.parent.name == "new":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(EnvironmentLacks) as error:
        write(artefact, tmp_path)
    assert codes_of(error) == ["E507"]
    assert "No space left" in str(error.value)
    assert on_disk(tmp_path) == before


def test_a_failure_at_first_leaves_nothing(
    artefact: Artefact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", failing)
    with pytest.raises(EnvironmentLacks):
        write(artefact, tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_where_no_directory_can_be_is_an_error_of_the_environment(
    artefact: Artefact, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EnvironmentLacks) as error:
            write(artefact, directory)
        assert codes_of(error) == ["E507"]
        assert error.value.exit_code == 3


# Contents ---------------------------------------------------------------------------------


def test_the_manifest_says_what_was_compiled() -> None:
    made = compilation()
    files = made.artefact.files
    manifest = json.loads(files["manifest.json"])
    assert manifest["model"] == "tiny"
    assert manifest["language"] == 1
    assert manifest["params"] == {"dim": 8, "heads": 2}
    assert manifest["parameters"] == attnc.parameter_count(made.graph)
    assert manifest["spec"] == hashlib.sha256(files["spec.attn"].encode()).hexdigest()
    assert manifest["flops"]["value"] > 0
    assert manifest["plan"]["target"] == "cpu"
    assert [kernel["backend"] for kernel in manifest["kernels"]] == ["sdpa"]
    others = {name for name in files if name != "manifest.json"}
    assert set(manifest["files"]) == others
    for name in others:
        assert manifest["files"][name] == hashlib.sha256(files[name].encode()).hexdigest()


def test_the_range_of_torch_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert f"torch{identity.TORCH}" in project["project"]["dependencies"]


def test_the_spec_in_the_package_gives_the_package_again(artefact: Artefact) -> None:
    spec = attnc.loads(artefact.files["spec.attn"], "tiny.attn")
    again = Compilation(attnc.check(spec), "sdpa").artefact
    assert again.files["spec.attn"] == artefact.files["spec.attn"]
    assert again.files["__init__.py"] == artefact.files["__init__.py"]


def test_the_head_names_the_paper_and_the_spec(artefact: Artefact) -> None:
    head = artefact.files["model.py"].split('"""')[1]
    assert "Tokens that see each other." in head
    assert "Paper: A Paper (2024), arXiv:2401.00001." in head
    assert json.loads(artefact.files["manifest.json"])["spec"] in head


# Importing --------------------------------------------------------------------------------


def test_a_package_is_imported_from_memory(artefact: Artefact, other: Artefact) -> None:
    for made in (artefact, other):
        package = load_module(made)
        model = getattr(package, made.model)()
        assert isinstance(model, nn.Module)
        assert model(torch.randn(2, 3, 8 if made is artefact else 16)).shape[:2] == (2, 3)
    assert load_module(artefact) is load_module(artefact)
    assert load_module(artefact) is not load_module(other)


def test_sources_and_tracebacks_show_the_code(artefact: Artefact) -> None:
    package = load_module(artefact)
    model = getattr(package, artefact.model)
    assert inspect.getsource(model) in artefact.files["model.py"]
    assert inspect.getsource(package) == artefact.files["__init__.py"]
    with pytest.raises(RuntimeError) as error:
        model()(torch.randn(2, 3, 5))
    text = "".join(traceback.format_tb(error.value.__traceback__))
    assert "x = x + self.attn(self.norm(x))" in text


def test_code_that_fails_leaves_no_module(artefact: Artefact) -> None:
    broken = Artefact("Broken", {**artefact.files, "model.py": "raise ValueError('broken')"})
    with pytest.raises(ValueError, match="broken"):
        load_module(broken)
    assert not any(name.startswith("attnc_broken") for name in sys.modules)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_load_reads_weights(artefact: Artefact, tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    package = load_module(artefact)
    model = getattr(package, artefact.model)()
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(model.state_dict(), path)
    loaded = package.load(path)
    assert not loaded.training
    x = torch.randn(1, 4, 8)
    assert torch.equal(loaded(x), model.eval()(x))
