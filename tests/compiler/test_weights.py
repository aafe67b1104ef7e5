import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from attnc.compiler.convert import convert, load
from attnc.compiler.safetensors_header import BYTES, read_header
from attnc.compiler.weights import check, check_back, inspect
from attnc.dsl.diagnostics import Collector, EnvironmentLacks, SpecError
from attnc.dsl.graph import Weight
from attnc.dsl.load import parse
from attnc.dsl.spans import Source
from attnc.dsl.weightmap import WeightMap, weight_map

GOLDEN = Path(__file__).parents[1] / "golden" / "parity" / "crossvit.safetensors"
HEAD = "attnc: 1\nmodel: tiny\ninputs: {x: [b, 4]}\noutputs: {y: x}\n"


def one_map(data: Mapping[str, object]) -> WeightMap:
    collector = Collector()
    text = f"{HEAD}weights: {json.dumps({'official': data})}\n"
    spec = parse(Source("tiny.yaml", text), collector)
    collector.raise_if_any()
    assert spec is not None
    return weight_map(spec, {})


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def record(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> object:
    shape = [(end - begin) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# Headers ------------------------------------------------------------------------------------


def test_a_header_is_read_without_torch_tensors(tmp_path: Path) -> None:
    tensors = {"b": torch.zeros(3, 4), "a": torch.zeros(2, dtype=torch.int64), "e": torch.zeros(0)}
    save_file(tensors, tmp_path / "x.safetensors", {"k": "v"})
    header = read_header(tmp_path / "x.safetensors")
    assert {n: (e.dtype, e.shape) for n, e in header.entries.items()} == {
        "a": ("I64", (2,)), "b": ("F32", (3, 4)), "e": ("F32", (0,)),
    }  # fmt: skip
    found = inspect(header)
    assert found.totals == {"F32": (2, 12, 48), "I64": (1, 2, 16)}
    assert found.metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("header", "data", "length", "code"),
    [
        (b"", b"", 2**63, "E500"),
        (b"{}", b"", 5000, "E501"),
        (b"[1]", b"", None, "E500"),
        (b"{", b"", None, "E500"),
        (b"\xff\xfe{}", b"", None, "E500"),
        (b"[" * 100_000, b"", None, "E500"),
        (b'{"a": 1, "a": 2}', b"", None, "E500"),
        ({"__metadata__": {"a": 1}}, b"", None, "E500"),
        ({"a": 3}, b"", None, "E502"),
        ({"a": record(0, 8)}, b"1234", None, "E501"),
        ({"a": record(0, 4)}, b"12345678", None, "E500"),
        ({"a": record(0, 8), "b": record(4, 12)}, b"1" * 12, None, "E502"),
        ({"a": record(0, 4), "b": record(8, 12)}, b"1" * 12, None, "E502"),
        ({"a": record(4, 0, [1])}, b"1234", None, "E502"),
        ({"a": record(0, 4, [-1])}, b"1234", None, "E502"),
        ({"a": record(0, 4, [2])}, b"1234", None, "E502"),
        ({"a": record(0, 4, [10**9, 10**9])}, b"1234", None, "E502"),
        ({"a": record(0, 4, dtype="Q7")}, b"1234", None, "E502"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"1234", None, "E502"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, b"1234", None, "E502"),
    ],
)
def test_a_damaged_header_has_a_coded_error(
    tmp_path: Path, header: object, data: bytes, length: int | None, code: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read_header(raw(tmp_path / "x.safetensors", header, data, length))
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == [code]


def test_a_short_or_missing_file_has_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1234")
    with pytest.raises(SpecError, match="it has 4 bytes"):
        read_header(tmp_path / "x")
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(EnvironmentLacks, match="E100"):
            read_header(path)


@given(at=st.integers(0, 300), byte=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_damage_to_a_header_is_a_traceback(tmp_path: Path, at: int, byte: int) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a.b": torch.zeros(2, 3), "c": torch.zeros(4)}, path, {"k": "v"})
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(content)
    try:
        read_header(path)
    except SpecError as error:
        assert error.diagnostics[0].code in {"E500", "E501", "E502"}


# Checking -----------------------------------------------------------------------------------


def findings(
    tmp_path: Path, tensors: dict[str, Tensor], ours: dict[str, Weight], data: object = None
) -> list[tuple[str, str, str | None]]:
    save_file(tensors, tmp_path / "x.safetensors")
    weights = one_map(data if isinstance(data, dict) else {})
    report = check(weights, ours, read_header(tmp_path / "x.safetensors").entries)
    assert report.ok == (not report.findings)
    assert json.loads(json.dumps(report.to_json()))["ok"] == report.ok
    return [(f.kind, f.name, f.nearest) for f in report.findings]


def test_missing_and_unexpected_names_find_each_other(tmp_path: Path) -> None:
    tensors = {"head.wieght": torch.zeros(2), "zzzz": torch.zeros(1)}
    assert findings(tmp_path, tensors, {"head.weight": Weight((2,))}) == [
        ("missing", "head.weight", "head.wieght"),
        ("unexpected", "head.wieght", "head.weight"),
        ("unexpected", "zzzz", None),
    ]


def test_shapes_and_dtypes_are_checked_after_the_operations(tmp_path: Path) -> None:
    tensors = {
        "kernel": torch.zeros(3, 2),
        "bias": torch.zeros(2, dtype=torch.int64),
        "table": torch.zeros(4, dtype=torch.int32),
        "qkv": torch.zeros(5),
    }
    ours = {
        "w": Weight((2, 3)), "bias": Weight((2,)), "table": Weight((4,), dtype="int"),
        "q": Weight((2,)), "k": Weight((2,)),
    }  # fmt: skip
    split = {"from": "qkv", "to": ["q", "k"], "ops": [{"split": 0}]}
    turned = {"from": "kernel", "to": "w", "ops": [{"rearrange": "i o -> o i"}]}
    assert findings(tmp_path, tensors, ours, {"map": [split, turned]}) == [
        ("dtype", "bias", None),
        ("shape", "q", None),
    ]
    assert ("shape", "w", None) in findings(
        tmp_path, tensors, ours, {"map": [split, {"kernel": "w"}]}
    )


def test_parts_of_one_weight_have_one_dtype(tmp_path: Path) -> None:
    tensors = {"q": torch.zeros(2), "k": torch.zeros(2, dtype=torch.float16)}
    rule = {"from": ["q", "k"], "to": "qk", "ops": [{"concat": 0}]}
    found = findings(tmp_path, tensors, {"qk": Weight((4,))}, {"map": [rule]})
    assert found == [("dtype", "qk", None)]


CROSSVIT = [
    {"patch_embed.{i}.proj.*": "embed.{i}.proj.*"},
    {"{pos_embed,cls_token}.{i}": "embed.{i}.{pos,cls}"},
    {"blocks.{k}.blocks.{i}.{t}.*": "stages.{k}.branch.{i}.{t}.*"},
    {
        "blocks.{k}.{projs,revert_projs}.{i}.{0,2}.*":
        "stages.{k}.fuse.{i}.{there,back}.{norm,linear}.*"
    },
    {
        "blocks.{k}.fusion.{i}.attn.{wq,wk,wv,proj}.{p}":
        "stages.{k}.fuse.{i}.attn.{q,k,v,out}.{p}"
    },
    {"blocks.{k}.fusion.{i}.norm1.*": "stages.{k}.fuse.{i}.norm.*"},
]  # fmt: skip
RENAMED = [
    (r"patch_embed\.", "embed."),
    (r"pos_embed\.(.)", r"embed.\1.pos"),
    (r"cls_token\.(.)", r"embed.\1.cls"),
    (r"blocks\.(.)\.blocks", r"stages.\1.branch"),
    (r"blocks\.(.)\.(fusion|projs|revert_projs)", r"stages.\1.\2"),
    (r"(revert_)?projs\.(.)\.0", r"\1projs.\2.norm"),
    (r"(revert_)?projs\.(.)\.2", r"\1projs.\2.linear"),
    (r"revert_projs\.(.)", r"fuse.\1.back"),
    (r"projs\.(.)", r"fuse.\1.there"),
    (r"fusion\.(.)\.norm1", r"fuse.\1.norm"),
    (r"fusion\.(.)\.attn\.w?(.)(roj)?\.", r"fuse.\1.attn.\2."),
    (r"(fuse\..\.attn)\.p", r"\1.out"),
]


def test_the_names_of_crossvit_lead_to_ours_and_back() -> None:
    entries = read_header(GOLDEN).below("w.")
    ours = {}
    for name, entry in entries.items():
        for pattern, text in RENAMED:
            name = re.sub(pattern, text, name)
        ours[name] = Weight(entry.shape)
    weights = one_map({"map": CROSSVIT})
    report = check(weights, ours, entries)
    assert report.ok, report.findings
    assert len(report.links) == len(ours) == 148
    assert set(weights.match_back(ours).links) == set(report.links)


# Moving tensors -----------------------------------------------------------------------------


def test_loading_a_file_that_does_not_fit_lists_every_finding(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(SpecError) as caught:
        load(WeightMap(), {"b": Weight((2,)), "c": Weight((2,))}, tmp_path / "x.safetensors")
    (problem,) = caught.value.diagnostics
    assert problem.code == "E505" and len(problem.notes) == 3


def test_tied_weights_become_one_and_must_be_equal(tmp_path: Path) -> None:
    weights = one_map({"map": [{"from": ["in.w", "out.w"], "to": "w", "ops": ["tie"]}]})
    path, value = tmp_path / "x.safetensors", torch.tensor([1.0, float("nan")])
    save_file({"in.w": value, "out.w": value.clone()}, path)
    loaded = load(weights, {"w": Weight((2,))}, path)
    assert bits(loaded["w"]) == bits(value)
    save_file({"in.w": value, "out.w": torch.tensor([1.0, 2.0])}, path)
    with pytest.raises(SpecError, match=r"E506: in\.w, out\.w of .* not equal"):
        load(weights, {"w": Weight((2,))}, path)


def test_a_file_that_does_not_fit_is_not_converted(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    target = tmp_path / "y.safetensors"
    target.write_bytes(b"old")
    ours = {"a": Weight((3,))}
    assert not convert(WeightMap(), ours, tmp_path / "x.safetensors", target).ok
    assert not convert(WeightMap(), ours, tmp_path / "x.safetensors", target, back=True).ok
    assert target.read_bytes() == b"old"


def test_a_conversion_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    weights = one_map({"map": [{"from": ["a", "b"], "to": "w", "ops": ["tie"]}]})
    source, target = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    save_file({"a": torch.zeros(2), "b": torch.ones(2)}, source)
    with pytest.raises(SpecError, match="E506"):
        convert(weights, {"w": Weight((2,))}, source, target)
    with pytest.raises(EnvironmentLacks, match="E507"):
        convert(weights, {"w": Weight((2,))}, source, tmp_path / "absent" / "y.safetensors")
    assert list(tmp_path.iterdir()) == [source]


def test_names_that_no_rule_leads_back_from_are_missing(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "x.safetensors")
    ours = {"a": Weight((2,)), "b": Weight((2,))}
    entries = read_header(tmp_path / "x.safetensors").entries
    report = check_back(one_map({"map": [{"a": "b"}]}), ours, entries)
    assert [(f.kind, f.name) for f in report.findings] == [("missing", "a")]


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """A rule, and the shapes that its tensors have on either side."""

    left: list[str]
    right: list[str]
    ops: list[object]
    before: Shapes
    after: Shapes

    def names(self, side: list[str], i: int) -> list[str]:
        """Return what patterns stand for where `{i}` is `i` and `*` is `w.b`."""
        found = []
        for text in side:
            text = text.replace("{_i}", f"_{i}" if i else "").replace("*", "w.b")
            text = text.replace("{i}", str(i)).replace("{i+2}", str(i + 2))
            head, _, rest = text.partition("{")
            inner, _, tail = rest.partition("}")
            found += [head + choice + tail for choice in inner.split(",")]
        return found


@st.composite
def cases(draw: st.DrawFn, n: int) -> Case:
    """Draw a rule under names of its own."""
    a, b, c = (draw(st.integers(1, 4)) for _ in range(3))
    turn = {"rearrange": "x y z -> (z y) x", "y": b}
    one, two = [f"s{n}.{{i}}.p.*"], [f"s{n}{{_i}}.p.*", f"t{n}.{{i}}.*"]
    to, parts = [f"o{n}.*.{{i+2}}"], [f"o{n}.{{i}}.{{q,k}}.*"]
    sized = {"split": 1, "sizes": [a, b]}
    return draw(st.sampled_from([
        Case(one, to, [], [(a, b)], [(a, b)]),
        Case(one, to, [turn], [(a, b, c)], [(c * b, a)]),
        Case(one, to, [{"reorder": 1, "order": [2, 0, 1]}], [(a, 3 * b)], [(a, 3 * b)]),
        Case(one, parts, [sized, {"pad": 0, "after": c}], [(c, a + b)], [(c + c, a), (c + c, b)]),
        Case(two, to, [turn, {"concat": 1}], [(a, b, c)] * 2, [(c * b, 2 * a)]),
        Case(two, to, [{"concat": 0, "sizes": [a, b]}], [(a, c), (b, c)], [(a + b, c)]),
        Case(one, parts, [{"unstack": 1}], [(a, 2, b)], [(a, b)] * 2),
        Case(two, to, [{"stack": 0}], [(a, b)] * 2, [(2, a, b)]),
        Case(one, parts, ["copy"], [(a,)], [(a,)] * 2),
        Case(two, to, ["tie"], [(a,)] * 2, [(a,)]),
        Case(two, parts, [{"concat": 0}, {"split": 1}], [(a, 2 * b)] * 2, [(2 * a, b)] * 2),
    ]))  # fmt: skip


def random_bits(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randint(0, 256, (*shape, dtype.itemsize), dtype=torch.uint8).view(dtype)[..., 0]


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_there_and_back_is_bit_equal(tmp_path: Path, data: st.DataObject) -> None:
    official = {"same.name": torch.randn(3)}
    ours = {"same.name": Weight((3,))}
    drawn = [data.draw(cases(n)) for n in range(data.draw(st.integers(1, 4), "rules"))]
    for case in drawn:
        dtype = data.draw(st.sampled_from(DTYPES))
        for i in range(data.draw(st.integers(1, 3))):
            tensors = [random_bits(shape, dtype) for shape in case.before]
            if case.ops == ["tie"]:
                tensors = [tensors[0].clone() for _ in tensors]
            official |= dict(zip(case.names(case.left, i), tensors, strict=True))
            weights_after = [Weight(shape) for shape in case.after]
            ours |= dict(zip(case.names(case.right, i), weights_after, strict=True))
    rules = [{"from": case.left, "to": case.right, "ops": case.ops} for case in drawn]
    weights = one_map({"map": rules, "unused": ["extra.*"]})
    source, middle, again = (tmp_path / name for name in ("a", "b", "c"))
    save_file({**official, "extra.x": torch.zeros(2)}, source, {"made": "by"})

    there = convert(weights, ours, source, middle)
    assert there.ok and there.unused == ("extra.x",)
    shapes = {name: Weight(tuple(tensor.shape)) for name, tensor in load_file(middle).items()}
    assert shapes == ours
    written = read_header(middle)
    assert all(entry.begin % BYTES[entry.dtype] == 0 for entry in written.entries.values())
    assert written.metadata == {"made": "by", "format": "pt"}
    assert convert(weights, ours, middle, again, back=True).ok
    result = load_file(again)
    assert result.keys() == official.keys()
    for name, tensor in official.items():
        assert result[name].dtype == tensor.dtype and result[name].shape == tensor.shape
        assert bits(result[name]) == bits(tensor)
