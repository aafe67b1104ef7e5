import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attnc.compiler.comparison import Difference, difference, held_to
from attnc.compiler.parity import Tap
from attnc.compiler.verify import Built, verify
from attnc.dsl.diagnostics import Collector, EnvironmentLacks, SpecError
from attnc.dsl.dims import symbol
from attnc.dsl.graph import TensorType, Weight
from attnc.dsl.load import parse
from attnc.dsl.spans import Source
from attnc.dsl.tree import Spec

torch.set_num_threads(1)

PARITY: dict[str, object] = {
    "source": "official",
    "params": {"depth": "config.layers", "width": "config.dims[0] * 2"},
    "inputs": {"x": "in.x"},
    "outputs": {"y": "out.y", "top": "out.top"},
    "taps": {"mid.block{k}.{sum,gate}": "blocks.{k}[{0,1}]", "mid.head_in": "head(0)"},
}
WEIGHTS = {"official": {"map": [{"layer.{l}.kernel": "blocks.{l}.fc.weight"}], "unused": ["aux"]}}
CONFIG = {"layers": 2, "dims": [2, 3], "last": "head"}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.tanh(self.fc(x))
        return x + gate, gate


class Tiny(nn.Module):
    """y: [b, 3]; top: [b], the index of the largest."""

    def __init__(self, depth: int, width: int, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 3)
        self.spare = nn.Identity()
        self.twice = nn.Identity()
        self.bend = bend

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.twice(x)
        for block in self.blocks:
            x, _ = block(x)
        y = self.bend(self.head(self.twice(x)))
        return (2 * y if self.training else y), y.argmax(-1)


def build(
    params: Mapping[str, object],
    target: str = "reference",
    bend: Callable[[Tensor], Tensor] = lambda y: y,
) -> Built:
    depth, width = params["depth"], params["width"]
    assert isinstance(depth, int) and isinstance(width, int)
    module = Tiny(depth, width, bend)
    weights = {name: Weight(tuple(value.shape)) for name, value in module.state_dict().items()}
    kinds = {"x": TensorType((symbol("b"), width))}
    return Built(module, params, kinds, ("y", "top"), weights)


def spec(parity: object = PARITY, weights: object = WEIGHTS) -> Spec:
    head = "attnc: 1\nmodel: tiny\ninputs: {x: [b, 4]}\noutputs: {y: x}\n"
    text = f"{head}weights: {json.dumps(weights)}\nparity: {json.dumps(parity)}\n"
    collector = Collector()
    found = parse(Source("tiny.yaml", text), collector)
    collector.raise_if_any()
    assert found is not None
    return found


def golden_tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    module = build({"depth": 2, "width": 4}).module.double()
    for value in module.parameters():
        value.data = value.data.float().double()
    x = torch.randn(5, 4)
    with torch.no_grad():
        sum0, gate0 = module.get_submodule("blocks.0")(x.double())
        sum1, gate1 = module.get_submodule("blocks.1")(sum0)
        y, top = module.eval()(x.double())
    official = {
        name.replace("blocks", "layer").replace("fc.weight", "kernel"): value
        for name, value in module.state_dict().items()
    }
    return {
        **{f"w.{name}": value.float() for name, value in official.items()},
        "w.aux": torch.zeros(1), "in.x": x, "out.y": y, "out.top": top,
        "mid.block0.sum": sum0, "mid.block0.gate": gate0, "mid.block1.sum": sum1,
        "mid.block1.gate": gate1, "mid.head_in": sum1.clone(),
    }  # fmt: skip


def golden(folder: Path, change: Mapping[str, Tensor] | None = None) -> Path:
    path = folder / "tiny.safetensors"
    tensors = {**golden_tensors(), **(change or {})}
    save_file(tensors, path, {"config": json.dumps(CONFIG), "slug": "tiny"})
    return path


def bent(bend: Callable[[Tensor], Tensor]) -> Callable[[Mapping[str, object], str], Built]:
    """The reference is right, any other target bends what it gives."""
    return lambda params, target: build(
        params, target, (lambda y: y) if target == "reference" else bend
    )


# Passing ------------------------------------------------------------------------------------


def test_a_right_model_passes(tmp_path: Path) -> None:
    report = verify(spec(), golden(tmp_path), build)
    assert report.ok and report.first_divergence is None
    assert [(row.golden, row.ours) for row in report.rows] == [
        (("mid.block0.gate",), "blocks.0[1]"),
        (("mid.block0.sum",), "blocks.0[0]"),
        (("mid.block1.gate",), "blocks.1[1]"),
        (("mid.block1.sum",), "blocks.1[0]"),
        (("mid.head_in",), "head(0)"),
        (("out.y",), "y"),
        (("out.top",), "top"),
    ]
    assert all(row.difference.relative < 1e-14 for row in report.rows)
    assert [row.limit for row in report.rows] == [1e-9] * 6 + [0.0]
    assert report.weights[0].unused == ("aux",)
    found = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert found["ok"] and len(found["rows"]) == 7 and found["weights"][0]["linked"] == 4


def test_a_golden_file_without_inner_tensors_serves(tmp_path: Path) -> None:
    tensors = {k: v for k, v in golden_tensors().items() if not k.startswith("mid.")}
    save_file(tensors, tmp_path / "x", {"config": json.dumps(CONFIG)})
    report = verify(spec(), tmp_path / "x", build)
    assert report.ok and len(report.rows) == 2


def test_a_tap_may_be_named_by_the_configuration(tmp_path: Path) -> None:
    taps = {"mid.head_in": "{config.last}(0)"}
    report = verify(spec({**PARITY, "taps": taps}), golden(tmp_path), build)
    assert report.ok and report.rows[0].ours == "head(0)"


def test_a_tap_shows_the_first_call_of_a_module(tmp_path: Path) -> None:
    change = {"mid.first": golden_tensors()["in.x"].double()}
    report = verify(
        spec({**PARITY, "taps": {"mid.first": "twice"}}), golden(tmp_path, change), build
    )
    assert report.ok and report.rows[0].ours == "twice"


def test_operations_bring_golden_tensors_to_our_layout(tmp_path: Path) -> None:
    first = golden_tensors()
    change = {
        "in.0": first["in.x"][:, :2].clone(), "in.1": first["in.x"][:, 2:].clone(),
        "out.y": first["out.y"].T.contiguous(),
    }  # fmt: skip
    turned = {"from": "out.y", "ops": [{"rearrange": "c b -> b c"}]}
    joined = {"from": "in.{0,1}", "ops": [{"concat": 1}]}
    parity = {**PARITY, "inputs": {"x": joined}, "outputs": {"y": turned, "top": "out.top"}}
    assert verify(spec(parity), golden(tmp_path, change), build).ok


def test_params_may_be_read_from_the_shapes_of_inputs(tmp_path: Path) -> None:
    params = {"depth": "config.layers", "width": "shapes.x[1]"}
    assert verify(spec({**PARITY, "params": params}), golden(tmp_path), build).ok


def test_a_param_may_be_made_of_those_before_it(tmp_path: Path) -> None:
    params = {"depth": "config.layers", "width": "config.dims[depth - 2] * depth"}
    assert verify(spec({**PARITY, "params": params}), golden(tmp_path), build).ok


def test_a_run_loads_the_weights_below_its_prefix(tmp_path: Path) -> None:
    moved = {f"w.student.{n[2:]}": t for n, t in golden_tensors().items() if n.startswith("w.")}
    broken = {n: t * 2 for n, t in golden_tensors().items() if n.startswith("w.")}
    path = golden(tmp_path, {**broken, **moved})
    assert verify(spec({**PARITY, "prefix": "student."}), path, build).ok
    assert not verify(spec(), path, build).ok


def test_an_input_that_a_configuration_does_not_take_is_left_aside(tmp_path: Path) -> None:
    found = spec({**PARITY, "inputs": {"x": "in.x", "z": "in.z"}})
    with pytest.raises(SpecError, match=r"no input 'z'"):
        verify(found, golden(tmp_path), build)
    declared = replace(found, inputs=(*found.inputs, replace(found.inputs[0], name="z")))
    assert verify(declared, golden(tmp_path), build).ok


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_model_is_built_in_the_precision_it_runs_in(tmp_path: Path, dtype: str) -> None:
    seen: list[torch.dtype] = []

    def noting(params: Mapping[str, object], target: str) -> Built:
        seen.append(torch.get_default_dtype())
        return build(params, target)

    assert verify(spec(), golden(tmp_path), noting, dtype=dtype).ok
    assert set(seen) == {getattr(torch, dtype)} and torch.get_default_dtype() == torch.float32


# Failing ------------------------------------------------------------------------------------


def test_a_wrong_weight_shows_where_it_is_first_felt(tmp_path: Path) -> None:
    wrong = golden_tensors()["w.layer.1.kernel"].clone()
    wrong[0, 0] += 1e-4
    report = verify(spec(), golden(tmp_path, {"w.layer.1.kernel": wrong}), build)
    assert not report.ok
    first = report.first_divergence
    assert first is not None and first.golden == ("mid.block1.gate",)
    assert report.to_json()["first_divergence"] == "mid.block1.gate"
    assert [row.golden[0] for row in report.rows if row.ok][:2] == [
        "mid.block0.gate", "mid.block0.sum",
    ]  # fmt: skip


def test_an_output_that_nobody_compares_fails(tmp_path: Path) -> None:
    change = {"out.extra": torch.zeros(2), "out_train.y": torch.zeros(3)}
    report = verify(spec(), golden(tmp_path, change), build)
    assert not report.ok
    left = [row for row in report.rows if not row.ok]
    assert [(row.golden[0], row.difference.problem) for row in left] == [
        ("out.extra", "not compared"), ("out_train.y", "not compared"),
    ]  # fmt: skip
    assert report.first_divergence is None
    ignore = {"out.extra": "made by the training loop", "out_train.*": "needs dropout"}
    excused = verify(spec({**PARITY, "ignore": ignore}), golden(tmp_path, change), build)
    assert excused.ok and excused.ignored["out_train.y"] == "needs dropout"


def test_nan_fails_on_either_side(tmp_path: Path) -> None:
    report = verify(spec(), golden(tmp_path), lambda p, t: build(p, t, lambda y: y * nan))
    bad = [row for row in report.rows if not row.ok]
    assert bad[0].golden == ("out.y",) and "NaN in 15 of 15" in bad[0].difference.problem
    json.dumps(report.to_json(), allow_nan=False)
    holed = golden_tensors()["out.y"].clone()
    holed[0, 0] = nan
    report = verify(spec(), golden(tmp_path, {"out.y": holed}), build)
    assert "golden tensor has NaN" in report.rows[5].difference.problem and not report.ok


def test_nan_fails_in_float32_as_well(tmp_path: Path) -> None:
    make = bent(lambda y: y * nan)
    assert not verify(spec(), golden(tmp_path), make, target="fast", dtype="float32").ok
    both = verify(
        spec(), golden(tmp_path), lambda p, t: build(p, t, lambda y: y * nan), dtype="float32"
    )
    assert not both.ok


def test_a_wrong_shape_is_reported(tmp_path: Path) -> None:
    report = verify(spec(), golden(tmp_path), lambda p, t: build(p, t, lambda y: y[:, :2]))
    assert report.rows[5].difference.problem == "shape [5, 2], expected [5, 3]"
    assert not report.ok


def test_integers_are_exact(tmp_path: Path) -> None:
    top = golden_tensors()["out.top"] * 1_000_000
    top[0] += 1
    parity = {**PARITY, "outputs": {"y": "out.y", "top": "out.top"}}
    report = verify(spec(parity), golden(tmp_path, {"out.top": top}), build)
    assert report.rows[6].limit == 0.0 and not report.rows[6].ok


def test_weights_that_do_not_fit_are_reported(tmp_path: Path) -> None:
    weights = {"official": {"map": [{"layer.{l}.kernl": "blocks.{l}.fc.weight"}]}}
    report = verify(spec(weights=weights), golden(tmp_path), build)
    assert not report.ok
    kinds = {(f.kind, f.name) for f in report.weights[0].findings}
    assert ("missing", "blocks.0.fc.weight") in kinds and ("unexpected", "aux") in kinds
    assert [row.difference.problem for row in report.rows] == ["not compared"] * 2


@pytest.mark.parametrize(
    ("tap", "problem"),
    [
        ("blocks.9", "'blocks.9' is no module of the model"),
        ("spare", "'spare' did not run"),
        ("blocks.0", "there are 2 results"),
        ("blocks.0[2]", "there are only 2"),
        ("head(1)", "there are only 1"),
    ],
)
def test_a_tap_that_shows_nothing_fails(tmp_path: Path, tap: str, problem: str) -> None:
    report = verify(spec({**PARITY, "taps": {"mid.block0.sum": tap}}), golden(tmp_path), build)
    (bad,) = [row for row in report.rows if not row.ok]
    assert bad.ours == tap and problem in bad.difference.problem


# Limits -------------------------------------------------------------------------------------


def test_a_stated_tolerance_holds_for_its_output_only(tmp_path: Path) -> None:
    tolerance = {"out.y": {"relative": 1e-6, "why": "tables were rounded to float32"}}
    near = golden(tmp_path, {"out.y": golden_tensors()["out.y"] * (1 + 1e-7)})
    assert not verify(spec(), near, build).ok
    report = verify(spec({**PARITY, "tolerance": tolerance}), near, build)
    assert report.ok
    assert (report.rows[5].limit, report.rows[5].why) == (1e-6, "tables were rounded to float32")
    by_config = {"out.y": {"relative": "1e-6 if config.layers == 2 else 0", "why": "so"}}
    assert verify(spec({**PARITY, "tolerance": by_config}), near, build).rows[5].limit == 1e-6
    far = golden(tmp_path, {"out.y": golden_tensors()["out.y"] * (1 + 1e-5)})
    assert not verify(spec({**PARITY, "tolerance": tolerance}), far, build).ok


def test_a_few_elements_are_held_to_the_largest_error_of_their_run() -> None:
    lucky, usual, failed = Difference(0.0, 0.0), Difference(2e-7, 1e-6), Difference(nan, nan, "NaN")
    run = [lucky, usual, failed]
    assert held_to(torch.ones(1), lucky, run) == usual
    assert held_to(torch.ones(4, 4), lucky, run) == lucky
    assert held_to(torch.ones(1, dtype=torch.int64), lucky, run) == lucky
    assert held_to(torch.ones(1), failed, run) == failed
    assert held_to(torch.ones(1), None, run) is None


@pytest.mark.parametrize(("error", "ok"), [(3e-7, True), (1e-4, False)])
def test_float32_is_held_to_the_error_of_the_reference(
    tmp_path: Path, error: float, ok: bool
) -> None:
    make = bent(lambda y: y * (1 + error))
    report = verify(spec(), golden(tmp_path), make, target="fast", dtype="float32")
    own = verify(spec(), golden(tmp_path), build, dtype="float32").rows[5]
    assert report.rows[5].limit == 10 * own.difference.relative
    assert report.ok is ok
    assert not verify(spec(), golden(tmp_path), make, target="fast").ok


def test_differences() -> None:
    one = torch.tensor([3.0, 4.0])
    found = difference(torch.tensor([3.0, 4.5]), one)
    assert (found.relative, found.absolute) == (0.1, 0.5)
    assert difference(torch.zeros(2), torch.zeros(2)).relative == 0.0
    assert difference(torch.ones(2), torch.zeros(2)).relative == inf
    assert difference(torch.tensor([-inf, 1.0]), torch.tensor([-inf, 1.0])).relative == 0.0
    assert difference(torch.tensor([inf, 1.0]), torch.tensor([-inf, 1.0])).relative == inf
    assert difference(torch.tensor([1.0, 1.0]), torch.tensor([-inf, 1.0])).relative == inf
    assert difference(torch.tensor(2.0), torch.tensor([2.0])).problem == ""
    assert difference(torch.tensor([True]), torch.tensor([1], dtype=torch.uint8)).relative == 0.0
    assert difference(torch.zeros(0, 2), torch.zeros(0, 2)).relative == 0.0


# Runs ---------------------------------------------------------------------------------------


def test_one_golden_file_drives_several_runs(tmp_path: Path) -> None:
    first = golden_tensors()
    shallow = build({"depth": 1, "width": 4}).module.double().eval()
    names = {"blocks.0.fc.weight": "w.layer.0.kernel", "head.weight": "w.head.weight"}
    names["head.bias"] = "w.head.bias"
    shallow.load_state_dict({ours: first[name] for ours, name in names.items()})
    with torch.no_grad():
        plain = shallow(first["in.x"].double())[0]
    change = {"out_plain.y": plain, "out_train.y": 2 * first["out.y"]}
    runs: dict[str, dict[str, object]] = {
        "full": {"outputs": {"y": "out.y", "top": "out.top"}},
        "train": {"mode": "train", "outputs": {"y": "out_train.y"}},
        "plain": {
            "params": {"depth": 1}, "outputs": {"y": "out_plain.y"}, "unused": ["layer.1.*"],
        },
    }  # fmt: skip
    shared = {key: value for key, value in PARITY.items() if key not in ("outputs", "taps")}
    report = verify(spec({**shared, "runs": runs}), golden(tmp_path, change), build)
    assert report.ok
    assert [(row.run, row.golden[0]) for row in report.rows] == [
        ("full", "out.y"), ("full", "out.top"), ("train", "out_train.y"), ("plain", "out_plain.y"),
    ]  # fmt: skip
    assert report.weights[2].unused == ("aux", "layer.1.kernel")
    del runs["plain"]["unused"], change["out_plain.y"]
    strict = verify(spec({**shared, "runs": runs}), golden(tmp_path, change), build)
    assert not strict.ok and not strict.weights[2].ok
    assert all(row.ok for row in strict.rows)


# Errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"inputs": {}}, "E509", "no golden tensor is named for input 'x'"),
        ({"inputs": {"x": "in.x", "z": "in.x"}}, "E509", "the model has no input 'z'"),
        ({"inputs": {"x": "in.y"}}, "E508", "it has no 'in.y'"),
        ({"inputs": {"x": "out.y"}}, "E509", "input 'x' takes [b, 4], not [5, 3]"),
        ({"outputs": {"yy": "out.y"}}, "E509", "the model has no output 'yy'"),
        ({"params": {"depth": "config.layer"}}, "E225", "'layer'"),
        ({"taps": {"mid.x": "{config.dims}"}}, "E509", "no text or number 'dims'"),
        ({"mode": "test"}, "E509", "mode is `eval` or `train`"),
        ({"ignore": {"out.x": " "}}, "E509", "ignore states no reason"),
        ({"tolerance": {"out.y": {"relative": 1e-6}}}, "E109", "'why'"),
        ({"tolerance": {"out.y": {"relative": 2, "why": "so"}}}, "E509", "from 0 to 1"),
        ({"otuputs": {}}, "E108", "'otuputs'"),
        (
            {"outputs": {"y": {"from": "out.y", "ops": [{"rearrange": "a -> a"}]}}},
            "E509",
            "the operations on out.y do not fit",
        ),
    ],
)
def test_wrong_parity_data_has_a_coded_error(
    tmp_path: Path, change: dict[str, object], code: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        verify(spec({**PARITY, **change}), golden(tmp_path), build)
    assert code in {diagnostic.code for diagnostic in caught.value.diagnostics}
    assert words in str(caught.value)


def test_a_spec_without_parity_has_a_coded_error(tmp_path: Path) -> None:
    bare = parse(Source("t.yaml", "attnc: 1\nmodel: t\noutputs: {y: 1}\n"), Collector())
    assert bare is not None
    with pytest.raises(SpecError, match="t has no `parity`"):
        verify(bare, golden(tmp_path), build)


def test_a_file_that_is_not_golden_has_a_coded_error(tmp_path: Path) -> None:
    for metadata in (None, {"config": "{"}, {"config": "3"}):
        save_file({"a": torch.zeros(1)}, tmp_path / "x", metadata)
        with pytest.raises(SpecError, match="E508"):
            verify(spec(), tmp_path / "x", build)
    with pytest.raises(EnvironmentLacks):
        verify(spec(), tmp_path / "absent", build)


@pytest.mark.parametrize(
    ("text", "tap"),
    [
        ("a.0.b", Tap("a.0.b")),
        ("a.0[12]", Tap("a.0", result=12)),
        ("a(3)", Tap("a", argument=3)),
    ],
)
def test_taps(text: str, tap: Tap) -> None:
    assert Tap.read(text) == tap
