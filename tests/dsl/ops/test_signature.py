"""Signatures: what they say, and what they say when arguments do not go with them."""

from __future__ import annotations

import pytest

from attnc.dsl.dims import Size, symbol
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.row import REQUIRED, Mismatch
from attnc.dsl.ops.signature import parse, parse_entries

B, N = symbol("b"), symbol("n")


def tensor(*shape: Size, dtype: str = "float") -> Value:
    return Value("t", TensorType(shape, dtype))


def infer(name: str, **given: Arg) -> tuple[TensorType, ...]:
    row = TABLE[name]
    defaults = {p.name: p.default for p in row.parameters if p.default is not REQUIRED}
    return row.infer({**defaults, **given})  # type: ignore[dict-item]


def mismatch(name: str, **given: Arg) -> Mismatch:
    with pytest.raises(Mismatch) as caught:
        infer(name, **given)
    return caught.value


# Parsing ----------------------------------------------------------------------------------


def test_parameters_have_kinds_and_defaults() -> None:
    text = "x: [*, i], out: int, eps: float = none, mode: 'a' | 'b' = 'a', up: flag = true -> [*]"
    found = [(p.name, p.kind, p.default, p.choices) for p in parse(text).parameters]
    assert found == [
        ("x", "tensor", REQUIRED, ()),
        ("out", "int", REQUIRED, ()),
        ("eps", "float?", None, ()),
        ("mode", "text", "a", ("a", "b")),
        ("up", "flag", True, ()),
    ]


def test_stars_collect_the_rest() -> None:
    signature = parse("how: text, *tensors: any[...], axis: int = 0, **sizes: named_sizes -> [1]")
    assert [(p.name, p.kind) for p in signature.parameters] == [
        ("how", "text"),
        ("*tensors", "tensors"),
        ("axis", "int"),
        ("**sizes", "named_sizes"),
    ]
    assert signature.patterns["tensors"].is_open


def test_patterns_print_as_written() -> None:
    signature = parse("x: [*, i], ids: int[b, *s] -> any[*s, 2 * i], []")
    assert [*map(str, signature.patterns.values())] == ["[*, i]", "int[b, *s]"]
    assert [*map(str, signature.results)] == ["any[*s, 2 * i]", "[]"]


def test_weights_have_inits() -> None:
    entries = parse_entries("weight: [out, i] = linear, steps: int[()] = zeros")
    assert [(e.name, e.pattern.dtype, e.init) for e in entries] == [
        ("weight", "float", "linear"),
        ("steps", "int", "zeros"),
    ]


def test_wrong_signatures_do_not_parse() -> None:
    with pytest.raises(SyntaxError):
        parse("x: [* -> [*]")
    with pytest.raises(ValueError, match="no kind"):
        parse("x -> [1]")


# Inference --------------------------------------------------------------------------------


def test_stars_and_names_carry_symbols() -> None:
    assert infer("linear", x=tensor(B, N, 384), out=64) == (TensorType((B, N, 64)),)
    image = tensor(B, 3, 16 * N, 16 * N)
    assert infer("conv2d", x=image, out=8, kernel=16, stride=16) == (TensorType((B, 8, N, N)),)
    assert infer("concat", tensors=(tensor(B, 1, 8), tensor(B, N, 8)), axis=1) == (
        TensorType((B, N + 1, 8)),
    )


def test_dtypes_promote() -> None:
    whole, real = tensor(N, dtype="int"), tensor(N)
    assert infer("add", a=whole, b=real)[0].dtype == "float"
    assert infer("add", a=whole, b=2)[0].dtype == "int"
    assert infer("add", a=whole, b=N)[0].dtype == "int"
    assert infer("less", a=whole, b=real)[0].dtype == "bool"
    assert infer("where", condition=tensor(N, dtype="bool"), a=real, b=whole)[0].dtype == "float"


# Messages ---------------------------------------------------------------------------------


def test_shape_conflict_tells_what_names_stand_for() -> None:
    wrong = mismatch("matmul", a=tensor(B, N, 64), b=tensor(B, 32, N))
    assert (wrong.kind, wrong.parameter) == ("shape", "b")
    assert wrong.expected == "[*q, k, m] with k = 64"
    assert wrong.found == "[b, 32, n]"
    assert wrong.message == "k is 32 here, 64 before"
    assert str(wrong) == (
        "b: expected [*q, k, m] with k = 64, got [b, 32, n] (k is 32 here, 64 before)"
    )


def test_stars_conflict_as_a_whole() -> None:
    wrong = mismatch("mse_loss", x=tensor(B, N), target=tensor(B, 4))
    assert wrong.expected == "[*s] with s = [b, n]"


def test_rank_conflict_shows_the_pattern() -> None:
    wrong = mismatch("conv2d", x=tensor(B, N, 3), out=8, kernel=3)
    assert (wrong.kind, wrong.expected, wrong.found) == ("rank", "[b, i, h, w]", "[b, n, 3]")
    assert wrong.message == "3 axes, where 4 are needed"
    assert mismatch("linear", x=tensor(), out=8).message == "0 axes, where 1 or more are needed"


def test_dtype_conflict_names_the_dtypes() -> None:
    wrong = mismatch("linear", x=tensor(N, dtype="int"), out=8)
    assert (wrong.kind, wrong.expected, wrong.found) == ("dtype", "float", "int")
    halves = mismatch("multiply", a=tensor(N, dtype="int"), b=0.5)
    assert (halves.kind, halves.expected, halves.found) == ("dtype", "float", "int")
    assert mismatch("divide", a=tensor(N, dtype="int"), b=2).kind == "dtype"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("linear", {"x": 3, "out": 8}, "x must be a tensor, not 3"),
        ("linear", {"x": tensor(4), "out": N}, "out must be a whole number above 0, not the"),
        ("linear", {"x": tensor(N), "out": 8}, "a size of its weight would be n, which changes"),
        ("layer_norm", {"x": tensor(N), "weight": False, "bias": False}, "d of the module would"),
        ("softmax", {"x": tensor(B, N), "axis": 2}, "axis 2 is out of range for 2 axes"),
        ("resize", {"x": tensor(B, 3, N, N), "size": (8, 8), "mode": "cubic"}, "mode must be one"),
        ("conv2d", {"x": tensor(B, 3, 5, 5), "out": 8, "kernel": 7}, "does not fit into size 5"),
        ("conv2d", {"x": tensor(B, 3, 5, 5), "out": 8, "kernel": (3,)}, "has 1 numbers for 2"),
        ("conv2d", {"x": tensor(B, 3, 9, 9), "out": 8, "kernel": 3, "groups": 2}, "2 groups do"),
        ("conv2d", {"x": tensor(B, 3, 9, 9), "out": 8, "kernel": 3, "stride": 2, "padding": "same"},
         "needs stride 1"),
        ("add", {"a": 1, "b": 2}, "at least one operand must be a tensor"),
        ("split", {"x": tensor(B, 7), "parts": 2}, "2 does not divide 7"),
        ("split", {"x": tensor(B, N), "parts": 2}, "it is not known that 2 divides n"),
        ("unbind", {"x": tensor(B, 3)}, "the number of results would be b"),
        ("topk", {"x": tensor(B, 3), "k": 4}, "k is 4, of 3 elements"),
        ("einsum", {"equation": "i j", "tensors": (tensor(2, 3),)}, "equation is like"),
        ("layer_norm", {"x": tensor(B, 8), "weight": False}, "a bias without a weight"),
        ("batch_norm", {"x": tensor(B, 8), "bias": False}, "weight and bias go together"),
        ("concat", {"tensors": (), "axis": 0}, "takes at least one tensor"),
    ],
)  # fmt: skip
def test_bad_arguments_are_told(name: str, given: dict[str, Arg], message: str) -> None:
    wrong = mismatch(name, **given)
    assert wrong.kind == "argument"
    assert message in wrong.message


def test_broadcast_conflict_shows_both_shapes() -> None:
    wrong = mismatch("add", a=tensor(B, N, 3), b=tensor(N, 4))
    assert (wrong.expected, wrong.found) == ("shapes that broadcast", "[b, n, 3] and [n, 4]")


def test_reshape_conflict_counts_elements() -> None:
    wrong = mismatch("reshape", x=tensor(B, 6), shape=(B, 4))
    assert (wrong.expected, wrong.message) == ("6*b elements", "4*b elements, where x has 6*b")


def test_scattered_values_are_of_the_dtype_of_x() -> None:
    wrong = mismatch(
        "scatter", x=tensor(B, N), index=tensor(B, 3, dtype="int"), values=tensor(B, 3, dtype="int")
    )
    assert (wrong.parameter, wrong.expected, wrong.found) == ("values", "float", "int")


def test_a_fraction_is_not_written_into_integers() -> None:
    for name, place in (
        ("slice_update", {"spec": ()}),
        ("masked_fill", {"mask": tensor(B, N, dtype="bool")}),
    ):
        wrong = mismatch(name, x=tensor(B, N, dtype="int"), value=0.5, **place)
        assert (wrong.kind, wrong.expected, wrong.found) == ("dtype", "float", "int")


# Templates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("linear", {"x": tensor(B, 8), "out": 4}, "nn.Linear({i}, {out})"),
        ("linear", {"x": tensor(B, 8), "out": 4, "bias": False},
         "nn.Linear({i}, {out}, bias={bias})"),
        ("conv2d", {"x": tensor(B, 3, N, N), "out": 8, "kernel": 3, "padding": 1},
         "nn.Conv2d({i}, {out}, {kernel}, padding={padding})"),
        ("layer_norm", {"x": tensor(B, 8), "eps": 1e-6}, "nn.LayerNorm({d}, eps={eps})"),
        ("batch_norm", {"x": tensor(B, 8, N, N)}, "nn.BatchNorm2d({c})"),
    ],
)  # fmt: skip
def test_module_text_leaves_defaults_out(name: str, given: dict[str, Arg], text: str) -> None:
    row = TABLE[name]
    defaults = {p.name: p.default for p in row.parameters if p.default is not REQUIRED}
    made = row.module_template({**defaults, **given})  # type: ignore[dict-item]
    assert made is not None and made.text == text
    assert made.holes["inputs"] == (given["x"],)


def test_reshape_leaves_one_symbolic_size_to_torch() -> None:
    made = TABLE["reshape"].template({"x": tensor(B, N, 6), "shape": (B, 2 * N, 3)})
    assert made is not None
    assert (made.text, made.holes["shape"]) == ("{x}.reshape({shape})", (-1, 2 * N, 3))


def test_parameters_can_be_shown() -> None:
    shown = {parameter.name: parameter.expected for parameter in TABLE["conv2d"].parameters}
    assert shown["kernel"] == "a whole number above 0 or one for each axis"
    assert shown["padding_mode"] == 'one of "zeros", "reflect", "replicate", "circular"'
