"""Every row of the operator table against torch: shapes, dtypes, weights and FLOPs.

`CASES` gives a strategy of arguments for every row. Its shapes hold symbols and numbers; the case
is run on the meta device with the symbols' values, in float64 so that a result in torch's default
dtype instead of the model's is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from attnc.dsl.dims import Dim, Shape, Size, substitute, symbol
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.row import REQUIRED, Mismatch, Op, Template

DTYPES = {
    "float": torch.float64,
    "int": torch.int64,
    "bool": torch.bool,
    "complex": torch.complex128,
}
Args = dict[str, Arg]


# Drawing cases ----------------------------------------------------------------------------


@dataclass
class Draw:
    """Draws the arguments of one case; `values` holds what its symbols stand for."""

    data: st.DataObject
    values: dict[str, int] = field(default_factory=dict)

    def integer(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.data.draw(st.booleans())

    def one_of(self, *choices: Arg) -> Arg:
        return self.data.draw(st.sampled_from(choices))

    def size(self, low: int = 1, high: int = 5) -> Size:
        """Draw a size: a number, or a symbol for one."""
        value = self.integer(low, high)
        if not self.flag():
            return value
        name = f"n{len(self.values)}"
        self.values[name] = value
        return symbol(name)

    def shape(self, low: int = 0, high: int = 3) -> Shape:
        return tuple(self.size() for _ in range(self.integer(low, high)))

    def axis(self, rank: int) -> int:
        return self.integer(-rank, rank - 1)

    def axes(self, rank: int) -> Arg:
        order = self.data.draw(st.permutations(range(rank)))[: self.integer(1, rank)]
        shown = tuple(axis - rank * self.flag() for axis in order)
        return self.one_of(shown, shown[0])

    def operands(self, count: int) -> list[Shape]:
        """Draw shapes that broadcast."""
        common = self.shape(0, 3)
        return [
            tuple(self.one_of(size, 1) for size in common)[self.integer(0, len(common)) :]
            for _ in range(count)
        ]  # type: ignore[misc]

    def tensor(self, *shape: Size, dtype: str = "float") -> Value:
        return Value("t", TensorType(shape, dtype))

    def any_tensor(self, *shape: Size, dtypes: tuple[str, ...] = tuple(DTYPES)) -> Value:
        return Value("t", TensorType(shape, str(self.one_of(*dtypes))))

    def window(self, rank: int, low: int, high: int) -> Arg:
        numbers = tuple(self.integer(low, high) for _ in range(rank))
        return self.one_of(numbers, numbers[0])


CASES: dict[str, Callable[[Draw], Args]] = {}


def case(*names: str) -> Callable[[Callable[[Draw], Args]], Callable[[Draw], Args]]:
    def register(build: Callable[[Draw], Args]) -> Callable[[Draw], Args]:
        CASES.update(dict.fromkeys(names, build))
        return build

    return register


REAL = ("float", "int")
FIELD = ("float", "complex")
NUMBER = ("float", "int", "complex")


@case("linear")
def _linear(d: Draw) -> Args:
    return {
        "x": d.tensor(*d.shape(), d.integer(1, 5)),
        "out": d.integer(1, 5),
        "bias": d.flag(),
    }


@case("matmul")
def _matmul(d: Draw) -> Args:
    k = d.size()
    p, q = d.operands(2)
    return {"a": d.tensor(*p, d.size(), k), "b": d.tensor(*q, k, d.size())}


@case("einsum")
def _einsum(d: Draw) -> Args:
    labels = "abcde"
    sizes = {label: d.size(2, 5) for label in labels}
    factors = [
        d.data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=3, unique=True))
        for _ in range(d.integer(1, 3))
    ]
    present = sorted({label for factor in factors for label in factor})
    result = d.data.draw(st.permutations(present))[: d.integer(0, len(present))]
    return {
        "equation": f"{', '.join(' '.join(factor) for factor in factors)} -> {' '.join(result)}",
        "tensors": tuple(d.tensor(*(sizes[label] for label in factor)) for factor in factors),
    }


@case("embedding")
def _embedding(d: Draw) -> Args:
    count = d.integer(1, 9)
    return {
        "ids": d.tensor(*d.shape(), dtype="int"),
        "count": count,
        "dim": d.integer(1, 5),
        "padding": d.one_of(None, count - 1),
    }


def _conv(rank: int) -> Callable[[Draw], Args]:
    def build(d: Draw) -> Args:
        groups = d.integer(1, 2)
        same = d.flag()
        return {
            "x": d.tensor(d.size(), groups * d.integer(1, 3), *(d.size(7, 9) for _ in range(rank))),
            "out": groups * d.integer(1, 3),
            "kernel": d.window(rank, 1, 3),
            "stride": 1 if same else d.window(rank, 1, 3),
            "padding": "same" if same else d.window(rank, 0, 2),
            "dilation": d.window(rank, 1, 3),
            "groups": groups,
            "bias": d.flag(),
            "padding_mode": d.one_of("zeros", "reflect"),
        }

    return build


def _conv_transpose(rank: int) -> Callable[[Draw], Args]:
    def build(d: Draw) -> Args:
        groups = d.integer(1, 2)
        stride = d.integer(1, 3)
        return {
            "x": d.tensor(d.size(), groups * d.integer(1, 3), *(d.size(3, 6) for _ in range(rank))),
            "out": groups * d.integer(1, 3),
            "kernel": d.window(rank, 2, 3),
            "stride": stride,
            "padding": d.window(rank, 0, 1),
            "output_padding": d.integer(0, stride - 1),
            "groups": groups,
            "bias": d.flag(),
            "dilation": d.window(rank, 1, 2),
        }

    return build


@case("depthwise")
def _depthwise(d: Draw) -> Args:
    same = d.flag()
    return {
        "x": d.tensor(d.size(), d.integer(1, 3), d.size(5, 9), d.size(5, 9)),
        "kernel": d.window(2, 1, 3),
        "stride": 1 if same else d.window(2, 1, 3),
        "padding": "same" if same else d.window(2, 0, 2),
        "dilation": d.window(2, 1, 2),
        "bias": d.flag(),
    }


@case("layer_norm")
def _layer_norm(d: Draw) -> Args:
    shape = [*d.shape(0, 3), 1]
    axis = d.axis(len(shape))
    shape[axis] = d.integer(1, 5)
    weight = d.flag()
    return {
        "x": d.tensor(*shape),
        "eps": d.one_of(1e-5, 1e-6),
        "weight": weight,
        "bias": weight and d.flag(),
        "axis": axis,
    }


@case("rms_norm")
def _rms_norm(d: Draw) -> Args:
    args = _layer_norm(d)
    del args["bias"]
    return {**args, "eps": d.one_of(None, 1e-6)}


def _channel_norm(d: Draw, fewest: int) -> Args:
    affine = d.flag()
    return {
        "x": d.tensor(d.size(2, 3), 2 * d.integer(1, 3), *(d.size(2, 4) for _ in range(d.integer(fewest, 3)))),
        "eps": d.one_of(1e-5, 1e-6),
        "weight": affine,
        "bias": affine,
    }  # fmt: skip


CASES["batch_norm"] = lambda d: {**_channel_norm(d, 0), "momentum": d.one_of(0.1, 0.01)}
CASES["group_norm"] = lambda d: {**_channel_norm(d, 0), "groups": d.integer(1, 2)}
CASES["instance_norm"] = lambda d: _channel_norm(d, 1)


@case("l2_normalize")
def _l2_normalize(d: Draw) -> Args:
    return {**_along_axis(d), "eps": d.one_of(1e-12, 1e-6)}


@case("softmax", "log_softmax")
def _along_axis(d: Draw) -> Args:
    shape = d.shape(1, 4)
    return {"x": d.tensor(*shape), "axis": d.axis(len(shape))}


def _elementwise(*dtypes: str, **options: Callable[[Draw], Arg]) -> Callable[[Draw], Args]:
    return lambda d: {
        "x": d.any_tensor(*d.shape(), dtypes=dtypes),
        **{name: draw(d) for name, draw in options.items()},
    }


for _name in ("gelu", "gelu_tanh", "quick_gelu", "silu", "sigmoid", "tanh", "floor"):
    CASES[_name] = _elementwise("float")
for _name in ("exp", "log", "log2", "sqrt", "sin", "cos"):
    CASES[_name] = _elementwise(*FIELD)
for _name in ("relu", "abs", "sign"):
    CASES[_name] = _elementwise(*REAL)
CASES["identity"] = CASES["detach"] = _elementwise(*DTYPES)
CASES["negative"] = _elementwise(*NUMBER)
CASES["logical_not"] = _elementwise("bool")
CASES["real"] = CASES["imag"] = _elementwise("complex")
CASES["leaky_relu"] = _elementwise("float", slope=lambda d: d.one_of(0.01, 0.2))
CASES["elu"] = _elementwise("float", alpha=lambda d: d.one_of(1.0, 0.5))
CASES["softplus"] = _elementwise(
    "float", beta=lambda d: d.one_of(1.0, 2.0), threshold=lambda d: d.one_of(20.0, 10.0)
)
CASES["dropout"] = _elementwise("float", p=lambda d: d.one_of(0.0, 0.5))
CASES["cast"] = _elementwise("float", "int", "bool", to=lambda d: d.one_of("float", "int", "bool"))
CASES["clamp"] = _elementwise(*REAL, min=lambda d: d.one_of(0, -1), max=lambda d: d.one_of(None, 2))


@case("complex")
def _complex(d: Draw) -> Args:
    shape = d.shape()
    return {"real": d.tensor(*shape), "imag": d.tensor(*shape)}


# Pooling


def _pool(kind: str, rank: int) -> Callable[[Draw], Args]:
    def build(d: Draw) -> Args:
        kernel = d.window(rank, 2, 4)
        args: Args = {
            "kernel": kernel,
            "stride": d.one_of(None, d.window(rank, 1, 3)),
            "padding": d.integer(0, 1),
            "ceil_mode": False,
        }
        sizes: tuple[Size, ...] = tuple(d.size(8, 12) for _ in range(rank))
        if d.flag():
            args["ceil_mode"] = True
            sizes = tuple(substitute(size, d.values) for size in sizes)
        more = {"count_include_pad": d.flag()} if kind == "avg" else {"dilation": d.integer(1, 2)}
        return {"x": d.tensor(d.size(), d.size(), *sizes), **args, **more}

    return build


def _adaptive(rank: int) -> Callable[[Draw], Args]:
    return lambda d: {
        "x": d.tensor(d.size(), d.size(), *(d.size() for _ in range(rank))),
        "size": d.one_of(d.size(), tuple(d.size() for _ in range(rank))),
    }


for _rank in (1, 2, 3):
    CASES[f"conv{_rank}d"] = _conv(_rank)
    CASES[f"conv_transpose{_rank}d"] = _conv_transpose(_rank)
    CASES[f"avg_pool{_rank}d"] = _pool("avg", _rank)
    CASES[f"max_pool{_rank}d"] = _pool("max", _rank)
    CASES[f"adaptive_avg_pool{_rank}d"] = _adaptive(_rank)


@case("resize")
def _resize(d: Draw) -> Args:
    mode, rank = d.data.draw(
        st.sampled_from(
            [("nearest", 1), ("nearest-exact", 2), ("area", 3), ("linear", 1), ("bilinear", 2),
             ("bicubic", 2), ("trilinear", 3)]
        )
    )  # fmt: skip
    return {
        "x": d.tensor(d.size(), d.size(), *(d.size(2, 5) for _ in range(rank))),
        "size": d.one_of(d.size(), tuple(d.size() for _ in range(rank))),
        "mode": mode,
        "align_corners": "linear" in mode and d.flag(),
        "antialias": mode in ("bilinear", "bicubic") and d.flag(),
    }


@case("pixel_shuffle", "pixel_unshuffle")
def _pixels(d: Draw) -> Args:
    r = d.integer(1, 3)
    x = d.tensor(*d.shape(0, 2), d.size() * r * r, d.size() * r, d.size() * r)
    return {"x": x, "factor": r}


# Layout


@case("rearrange")
def _rearrange(d: Draw) -> Args:
    names = d.data.draw(st.permutations("abcd"))[: d.integer(1, 4)]
    sizes = {name: d.size() for name in names}
    left, right = _grouping(d, names), _grouping(d, d.data.draw(st.permutations(names)))
    shape, given = [], {}
    for group in left:
        total: Size = 1
        for name in group:
            total = total * sizes[name]
        shape.append(total)
        given |= {name: sizes[name] for name in group[:-1]}
    return {
        "x": d.any_tensor(*shape),
        "pattern": f"{_written(left)} -> {_written(right)}",
        "sizes": given,
    }


@case("repeat")
def _repeat(d: Draw) -> Args:
    args = _rearrange(d)
    pattern, sizes = args["pattern"], args["sizes"]
    assert isinstance(pattern, str) and isinstance(sizes, dict)
    pattern = d.one_of(f"{pattern} r", pattern.replace("->", "-> r"), f"{pattern} (q r)")
    new = {name: d.size() for name in "qr" if name in str(pattern)}
    return {**args, "pattern": pattern, "sizes": {**sizes, **new}}


def _grouping(d: Draw, names: list[str]) -> list[list[str]]:
    groups: list[list[str]] = []
    for name in names:
        if groups and d.flag():
            groups[-1].append(name)
        else:
            groups.append([name])
    if d.flag():
        groups.insert(d.integer(0, len(groups)), [])
    return groups


def _written(groups: list[list[str]]) -> str:
    shown = ["1" if not g else g[0] if len(g) == 1 else f"({' '.join(g)})" for g in groups]
    return " ".join(shown)


@case("reshape")
def _reshape(d: Draw) -> Args:
    shape = [d.size() for _ in range(d.integer(1, 3))]
    target: list[Arg] = [*shape[1:], shape[0]]
    if len(target) > 1 and d.flag():
        first, second = shape[1], shape[-1] if len(shape) == 2 else shape[2]
        target = [first * second if len(shape) > 2 else first, shape[0]]
    if d.flag():
        target[0] = -1
    return {"x": d.any_tensor(*shape), "shape": tuple(target)}


@case("transpose")
def _transpose(d: Draw) -> Args:
    shape = d.shape(2, 4)
    return {"x": d.any_tensor(*shape), "a": d.axis(len(shape)), "b": d.axis(len(shape))}


@case("permute")
def _permute(d: Draw) -> Args:
    shape = d.shape(1, 4)
    return {
        "x": d.any_tensor(*shape),
        "axes": tuple(d.data.draw(st.permutations(range(len(shape))))),
    }


@case("expand")
def _expand(d: Draw) -> Args:
    shape, wanted = [], []
    for size in d.shape(0, 3):
        kept = d.flag()
        shape.append(size if kept else 1)
        wanted.append(d.one_of(size, -1) if kept else size)
    return {"x": d.any_tensor(*shape), "shape": (*d.shape(0, 2), *wanted)}


@case("squeeze")
def _squeeze(d: Draw) -> Args:
    shape = [*d.shape(0, 3), 1]
    axis = d.axis(len(shape))
    shape[axis], shape[-1] = 1, shape[axis] if axis % len(shape) != len(shape) - 1 else 1
    return {"x": d.any_tensor(*shape), "axis": axis}


@case("unsqueeze")
def _unsqueeze(d: Draw) -> Args:
    shape = d.shape(0, 3)
    return {"x": d.any_tensor(*shape), "axis": d.axis(len(shape) + 1)}


@case("roll")
def _roll(d: Draw) -> Args:
    shape = d.shape(1, 3)
    axes = d.axes(len(shape))
    count = len(axes) if isinstance(axes, tuple) else 1
    shifts = d.one_of(d.size(), tuple(d.one_of(d.size(), -1) for _ in range(count)))
    return {"x": d.any_tensor(*shape), "shifts": shifts, "axes": axes}


@case("flip")
def _flip(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.any_tensor(*shape), "axes": d.axes(len(shape))}


@case("concat")
def _concat(d: Draw) -> Args:
    shape = d.shape(1, 3)
    axis = d.axis(len(shape))
    parts = [list(shape) for _ in range(d.integer(1, 3))]
    for part in parts:
        part[axis] = d.size()
    return {"tensors": tuple(d.any_tensor(*part) for part in parts), "axis": axis}


@case("stack")
def _stack(d: Draw) -> Args:
    shape = d.shape(0, 3)
    dtype = str(d.one_of(*DTYPES))
    tensors = tuple(d.tensor(*shape, dtype=dtype) for _ in range(d.integer(1, 3)))
    return {"tensors": tensors, "axis": d.axis(len(shape) + 1)}


@case("split")
def _split(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis = d.axis(len(shape))
    parts: Arg = tuple(d.size() for _ in range(d.integer(1, 3)))
    shape[axis] = sum(parts)  # type: ignore[arg-type]
    if d.flag():
        parts = d.integer(1, 4)
        shape[axis] = d.size() * parts
    return {"x": d.any_tensor(*shape), "parts": parts, "axis": axis}


@case("chunk")
def _chunk(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis, sections = d.axis(len(shape)), d.integer(1, 4)
    shape[axis] = d.size() * sections
    return {"x": d.any_tensor(*shape), "sections": sections, "axis": axis}


@case("unbind")
def _unbind(d: Draw) -> Args:
    shape = list(d.shape(1, 3))
    axis = d.axis(len(shape))
    shape[axis] = d.integer(1, 4)
    return {"x": d.any_tensor(*shape), "axis": axis}


@case("pad")
def _pad(d: Draw) -> Args:
    mode = d.one_of("constant", "reflect", "replicate", "circular")
    padded = d.integer(1, 3)
    shape = [d.size(3, 5) for _ in range(padded + d.integer(1, 2))]
    low, high = (-1, 2) if mode == "constant" else (0, 2)
    amounts = tuple(d.integer(low, high) for _ in range(2 * padded))
    x = d.any_tensor(*shape) if mode == "constant" else d.tensor(*shape)
    return {"x": x, "amounts": amounts, "value": d.one_of(0, 1), "mode": mode}


def _spec(d: Draw, shape: Shape) -> Arg:
    """Draw an index of tensors whose axes have at least 6 positions."""
    items: list[Arg] = []
    for _ in range(d.integer(0, len(shape))):
        if d.flag():
            items.append(("index", d.integer(-6, 5)))
        else:
            start, stop = d.one_of(None, 0, 2, -5), d.one_of(None, 3, 6, -1)
            items.append(("slice", start, stop, d.one_of(None, 1, 2)))
    return tuple(items)


@case("slice")
def _slice(d: Draw) -> Args:
    shape = tuple(d.size(6, 9) for _ in range(d.integer(1, 4)))
    return {"x": d.any_tensor(*shape), "spec": _spec(d, shape)}


@case("slice_update")
def _slice_update(d: Draw) -> Args:
    args = _slice(d)
    x = args["x"]
    assert isinstance(x, Value)
    (part,) = TABLE["slice"].infer(args)
    value = tuple(d.one_of(size, 1) for size in part.shape)[d.integer(0, len(part.shape)) :]
    tensor = Value("v", TensorType(value, x.type.dtype))  # type: ignore[arg-type]
    return {**args, "value": d.one_of(tensor, 1 if x.type.dtype != "bool" else True)}


# Indexing


@case("gather")
def _gather(d: Draw) -> Args:
    shape = [*d.shape(0, 2), d.size()]
    axis = d.axis(len(shape))
    index = [d.one_of(size, 1) for size in shape]
    x = [d.one_of(size, 1) if index[k] == size else size for k, size in enumerate(shape)]
    index[axis] = d.size()
    return {"x": d.any_tensor(*x), "index": d.tensor(*index, dtype="int"), "axis": axis}  # type: ignore[arg-type]


@case("take")
def _take(d: Draw) -> Args:
    shape = d.shape(1, 3)
    index = d.tensor(*d.shape(1, 2), dtype="int")
    return {"x": d.any_tensor(*shape), "index": index, "axis": d.axis(len(shape))}


@case("topk")
def _topk(d: Draw) -> Args:
    shape = [*d.shape(0, 2), 1]
    axis = d.axis(len(shape))
    shape[axis] = d.size(3, 5)
    return {
        "x": d.any_tensor(*shape, dtypes=REAL),
        "k": d.size(1, 3),
        "axis": axis,
        "largest": d.flag(),
    }


@case("sort", "argsort")
def _sort(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {
        "x": d.any_tensor(*shape, dtypes=REAL),
        "axis": d.axis(len(shape)),
        "descending": d.flag(),
        "stable": d.flag(),
    }


@case("where")
def _where(d: Draw) -> Args:
    c, a, b = d.operands(3)
    tensor = d.any_tensor(*a)
    number = {"float": 0.5, "complex": 0.5, "int": 2, "bool": 1}[tensor.type.dtype]
    return {
        "condition": d.tensor(*c, dtype="bool"),
        "a": tensor,
        "b": d.one_of(d.any_tensor(*b), number, d.size()),
    }


@case("masked_fill")
def _masked_fill(d: Draw) -> Args:
    a, b = d.operands(2)
    x = d.any_tensor(*a)
    value = d.one_of(0, 1) if x.type.dtype in ("int", "bool") else d.one_of(0, float("-inf"))
    return {"x": x, "mask": d.tensor(*b, dtype="bool"), "value": value}


@case("one_hot")
def _one_hot(d: Draw) -> Args:
    return {"index": d.tensor(*d.shape(), dtype="int"), "count": d.integer(1, 5)}


@case("segment_sum")
def _segment_sum(d: Draw) -> Args:
    s, n = d.shape(0, 2), d.size()
    return {
        "x": d.tensor(*s, n, d.size()),
        "index": d.tensor(*s, n, dtype="int"),
        "count": d.size(),
    }


# Reductions


def _reduction(*dtypes: str, **options: Arg) -> Callable[[Draw], Args]:
    def build(d: Draw) -> Args:
        shape = d.shape(1, 3)
        axis = d.one_of(None, d.axes(len(shape)))
        more = {name: d.one_of(*values) for name, values in options.items()}  # type: ignore[misc]
        x = d.any_tensor(*shape, dtypes=dtypes)
        return {"x": x, "axis": axis, "keepdim": d.flag(), **more}

    return build


CASES["mean"] = _reduction(*FIELD)
CASES["sum"] = _reduction(*NUMBER)
CASES["max"] = CASES["min"] = _reduction(*REAL)
CASES["norm"] = _reduction("float", order=(1.0, 2.0))
CASES["var"] = CASES["std"] = _reduction("float", correction=(0, 1))


@case("logsumexp")
def _logsumexp(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.tensor(*shape), "axis": d.axes(len(shape)), "keepdim": d.flag()}


@case("argmax", "argmin")
def _argmax(d: Draw) -> Args:
    shape = d.shape(1, 3)
    x = d.any_tensor(*shape, dtypes=REAL)
    return {"x": x, "axis": d.axis(len(shape)), "keepdim": d.flag()}


@case("cumsum")
def _cumsum(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {"x": d.any_tensor(*shape, dtypes=NUMBER), "axis": d.axis(len(shape))}


# Arithmetic


def _arithmetic(*dtypes: str) -> Callable[[Draw], Args]:
    def build(d: Draw) -> Args:
        a, b = d.operands(2)
        tensor = d.any_tensor(*a, dtypes=dtypes)
        numbers = {"int": (2, d.size(), True), "float": (0.5, 2, d.size()), "complex": (0.5, 2)}
        other = d.one_of(d.any_tensor(*b, dtypes=dtypes), *numbers[tensor.type.dtype])
        return {"a": tensor, "b": other} if d.flag() else {"a": other, "b": tensor}

    return build


for _name in ("add", "subtract", "multiply"):
    CASES[_name] = _arithmetic(*NUMBER)
CASES["divide"] = _arithmetic("float", "complex")
CASES["floor_divide"] = CASES["remainder"] = CASES["power"] = _arithmetic(*REAL)
for _name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    CASES[_name] = _arithmetic(*REAL)


@case("logical_and", "logical_or")
def _logic(d: Draw) -> Args:
    a, b = d.operands(2)
    return {"a": d.tensor(*a, dtype="bool"), "b": d.tensor(*b, dtype="bool")}


@case("maximum", "minimum")
def _extreme(d: Draw) -> Args:
    a, b = d.operands(2)
    return {"a": d.any_tensor(*a, dtypes=REAL), "b": d.any_tensor(*b, dtypes=REAL)}


# Creation


CASES["iota"] = lambda d: {"n": d.size()}
CASES["linspace"] = lambda d: {"start": 0, "stop": 1.5, "count": d.size()}
CASES["zeros"] = CASES["ones"] = lambda d: {"shape": d.shape()}
CASES["full"] = lambda d: {
    "shape": d.shape(),
    "value": d.one_of(1, 0),
    "kind": d.one_of("float", "int", "bool"),
}


# Losses


@case("cross_entropy")
def _cross_entropy(d: Draw) -> Args:
    b, c, s = d.size(), d.size(), d.shape(0, 2)
    target = d.tensor(b, *s, dtype="int") if d.flag() else d.tensor(b, c, *s)
    return {
        "x": d.tensor(b, c, *s),
        "target": target,
        "weight": d.one_of(None, d.tensor(c)),
        "ignore": d.one_of(-100, 0) if target.type.dtype == "int" else -100,
        "reduction": d.one_of("mean", "sum", "none"),
        "smoothing": d.one_of(0.0, 0.1),
    }


@case("mse_loss", "l1_loss")
def _loss(d: Draw) -> Args:
    shape = d.shape()
    reduction = d.one_of("mean", "sum", "none")
    return {"x": d.tensor(*shape), "target": d.tensor(*shape), "reduction": reduction}


@case("bce_with_logits")
def _bce(d: Draw) -> Args:
    args = _loss(d)
    x = args["x"]
    return {**args, "weight": d.one_of(None, x), "pos_weight": d.one_of(None, x)}


@case("kl_div")
def _kl_div(d: Draw) -> Args:
    shape = d.shape(1, 3)
    return {
        "x": d.tensor(*shape),
        "target": d.tensor(*shape),
        "reduction": d.one_of("mean", "batchmean", "sum", "none"),
        "log_target": d.flag(),
    }


@case("cosine_similarity")
def _cosine(d: Draw) -> Args:
    shape = d.shape(1, 3)
    a, b = (tuple(d.one_of(size, 1) for size in shape) for _ in range(2))
    return {"a": d.tensor(*a), "b": d.tensor(*b), "axis": d.axis(len(shape)), "eps": 1e-8}  # type: ignore[arg-type]


def _fourier(*dtypes: str) -> Callable[[Draw], Args]:
    def build(d: Draw) -> Args:
        shape = [*d.shape(0, 2), 1]
        axis = d.axis(len(shape))
        shape[axis] = d.size(2, 5)
        return {
            "x": d.any_tensor(*shape, dtypes=dtypes),
            "axis": axis,
            "n": d.one_of(None, d.size(2, 6)),
            "norm": d.one_of("backward", "ortho", "forward"),
        }

    return build


CASES["fft"] = CASES["ifft"] = CASES["irfft"] = _fourier(*FIELD)
CASES["rfft"] = _fourier("float")


# Running templates ------------------------------------------------------------------------


def replaced(arg: Arg, values: Mapping[str, int]) -> Arg:
    """Put numbers for symbols throughout an argument."""
    match arg:
        case Value():
            return Value(arg.name, replaced_type(arg.type, values))
        case Dim():
            return substitute(arg, values)
        case tuple():
            return tuple(replaced(item, values) for item in arg)
        case Mapping():
            return {name: replaced(item, values) for name, item in arg.items()}
    return arg


def replaced_type(type_: TensorType, values: Mapping[str, int]) -> TensorType:
    return TensorType(tuple(substitute(size, values) for size in type_.shape), type_.dtype)


def made(arg: object, device: str) -> object:
    """Make what a hole stands for: tensors for values."""
    match arg:
        case Value():
            shape = [int(str(size)) for size in arg.shape]
            if arg.type.dtype in ("int", "bool") or device == "meta":
                return torch.zeros(shape, dtype=DTYPES[arg.type.dtype], device=device)
            return torch.randn(shape, dtype=DTYPES[arg.type.dtype], device=device)
        case tuple():
            return tuple(made(item, device) for item in arg)
    return arg


def evaluated(template: Template, device: str, **external: object) -> object:
    """Evaluate a template with its holes filled."""
    text = re.sub(r"\{(\w+)\}", r"\1", template.text)
    names = {name: made(arg, device) for name, arg in template.holes.items()}
    scope = {"torch": torch, "F": F, "nn": nn, "device": device, "dtype": torch.float64}
    with torch.device(device):
        return eval(text, {**scope, **names, **external})


def run(op: Op, args: Mapping[str, Arg], device: str) -> tuple[torch.Tensor, ...]:
    """Run an operator as its templates say, and return its results."""
    constructor, call = op.module_template(args), op.template(args)
    external: dict[str, object] = {}
    if constructor is not None:
        module = evaluated(constructor, device)
        assert isinstance(module, nn.Module)
        external["module"] = module.double()
        holes = {"inputs": constructor.holes.get("inputs", ())}
        call = call or Template("module(*{inputs})", holes)
        check_weights(op, args, module)
    assert call is not None
    result = evaluated(call, device, **external)
    assert isinstance(result, (tuple, list)) == op.is_tuple
    results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    assert all(isinstance(each, torch.Tensor) for each in results)
    return results


def check_weights(op: Op, args: Mapping[str, Arg], module: nn.Module) -> None:
    weights = op.weights(args)
    trained = dict(module.named_parameters())
    assert {name: weight.shape for name, weight in weights.items()} == {
        name: tuple(tensor.shape) for name, tensor in module.state_dict().items()
    }
    for name, weight in weights.items():
        assert weight.trainable == (name in trained)
        assert module.state_dict()[name].dtype == DTYPES[weight.dtype]


# Tests ------------------------------------------------------------------------------------

FEW = settings(
    max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_every_row_has_a_case() -> None:
    assert CASES.keys() == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
@FEW
@given(data=st.data())
def test_row_agrees_with_torch(name: str, data: st.DataObject) -> None:
    op, draw = TABLE[name], Draw(data)
    symbolic = CASES[name](draw)
    args = {key: replaced(arg, draw.values) for key, arg in symbolic.items()}
    inferred = op.infer(args)
    assert tuple(replaced_type(type_, draw.values) for type_ in op.infer(symbolic)) == inferred

    with FlopCounterMode(display=False) as counter:
        results = run(op, args, "meta")
    for type_, result in zip(inferred, results, strict=True):
        assert tuple(result.shape) == type_.shape
        assert result.dtype == DTYPES[type_.dtype]
    assert len(op.result_fields) in (0, len(inferred))

    values = [Value("r", type_) for type_ in inferred]
    assert op.flops(args, values) == counter.get_total_flops()
    values = [Value("r", type_) for type_ in op.infer(symbolic)]
    assert substitute(op.flops(symbolic, values), draw.values) == counter.get_total_flops()


_NO_DEFAULT = (REQUIRED, None)


def _with_all_shown(self: Op, text: str, bound: Bound) -> str:
    """Show every option of a text but those that are none, which torch need not take."""
    none = [each.name for each in self.parameters if bound.get(each.name) is None]
    hidden = re.sub(rf"(, )?\w+=\{{({'|'.join(none) or '-'})\?\}}", "", text)
    return hidden.replace("(, ", "(").replace("?}", "}")


def _settings_of(module: nn.Module) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, (int, float, str, tuple, type(None))) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    "name",
    [op.name for op in TABLE.values() if any(p.default not in _NO_DEFAULT for p in op.parameters)],
)
@settings(FEW, max_examples=4)
@given(data=st.data())
def test_defaults_are_those_of_torch(name: str, data: st.DataObject) -> None:
    """What a template leaves out, torch takes to be the same as if it were written."""
    op, draw = TABLE[name], Draw(data)
    args = {key: replaced(arg, draw.values) for key, arg in CASES[name](draw).items()}
    args |= {p.name: p.default for p in op.parameters if p.default not in _NO_DEFAULT}  # type: ignore[misc]
    with pytest.MonkeyPatch.context() as patch:
        try:
            short = op.template(args), op.module_template(args)
        except Mismatch:
            reject()
        patch.setattr(Op, "_without_defaults", _with_all_shown)
        long = op.template(args), op.module_template(args)
    if short[1] is not None and long[1] is not None:
        modules = evaluated(short[1], "meta"), evaluated(long[1], "meta")
        assert _settings_of(modules[0]) == _settings_of(modules[1])  # type: ignore[arg-type]
    elif short[0] is not None and long[0] is not None and short[0].text != long[0].text:
        torch.manual_seed(0)
        expected = evaluated(long[0], "cpu")
        torch.manual_seed(0)
        torch.testing.assert_close(evaluated(short[0], "cpu"), expected, equal_nan=True)
