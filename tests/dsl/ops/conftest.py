"""Rows of the operator table held against torch: how arguments are drawn and templates run.

A case has symbols for some sizes. It is run on the meta device with numbers for them, in float64,
so that a result in torch's default dtype instead of the model's is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar, cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from attnc.dsl.dims import Dim, Shape, Size, substitute, symbol
from attnc.dsl.graph import Arg, TensorType, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.ops.bound import Bound
from attnc.dsl.ops.row import REQUIRED, Mismatch, Op, Template

T = TypeVar("T")
Args = dict[str, Arg]
Build = Callable[["Draw"], Args]
Check = Callable[[str, Build], None]

DTYPES = {
    "float": torch.float64,
    "int": torch.int64,
    "bool": torch.bool,
    "complex": torch.complex128,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
FEW = settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


# Drawing ----------------------------------------------------------------------------------


@dataclass
class Draw:
    """Draws the arguments of one case; `values` holds what its symbols stand for."""

    ANY: ClassVar = ("float", "int", "bool", "complex")
    NUMBER: ClassVar = ("float", "int", "complex")
    FIELD: ClassVar = ("float", "complex")
    REAL: ClassVar = ("float", "int")
    INT: ClassVar = ("int",)
    BOOL: ClassVar = ("bool",)

    data: st.DataObject
    values: dict[str, int] = field(default_factory=dict)

    def integer(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.data.draw(st.booleans())

    def one_of(self, *choices: T) -> T:
        return self.data.draw(st.sampled_from(choices))

    def shuffled(self, items: list[T]) -> list[T]:
        return self.data.draw(st.permutations(items))

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

    def axes(self, rank: int) -> int | tuple[int, ...]:
        order = self.shuffled(list(range(rank)))[: self.integer(1, rank)]
        shown = tuple(axis - rank * self.flag() for axis in order)
        return shown if self.flag() else shown[0]

    def operands(self, count: int) -> list[Shape]:
        """Draw shapes that broadcast."""
        common = self.shape(0, 3)
        return [
            tuple(self.one_of(size, 1) for size in common)[self.integer(0, len(common)) :]
            for _ in range(count)
        ]

    def tensor(self, *shape: Size, dtypes: tuple[str, ...] = ("float",)) -> Value:
        return Value("t", TensorType(shape, self.one_of(*dtypes)))

    def window(self, rank: int, low: int, high: int) -> int | tuple[int, ...]:
        numbers = tuple(self.integer(low, high) for _ in range(rank))
        return numbers if self.flag() else numbers[0]


def with_numbers(arg: Arg, values: Mapping[str, int]) -> Arg:
    """Put numbers for symbols throughout an argument."""
    match arg:
        case Value():
            return Value(arg.name, type_with_numbers(arg.type, values))
        case Dim():
            return substitute(arg, values)
        case tuple():
            return tuple(with_numbers(item, values) for item in arg)
        case Mapping():
            return {name: with_numbers(item, values) for name, item in arg.items()}
    return arg


def type_with_numbers(type_: TensorType, values: Mapping[str, int]) -> TensorType:
    return TensorType(tuple(substitute(size, values) for size in type_.shape), type_.dtype)


# Running ----------------------------------------------------------------------------------

Make = Callable[[Value], Tensor]


def on_meta(value: Value) -> Tensor:
    shape = [int(str(size)) for size in value.shape]
    return torch.empty(shape, dtype=DTYPES[value.type.dtype], device="meta")


def random(value: Value) -> Tensor:
    """Make random numbers; int tensors hold 0, which is a valid index everywhere."""
    shape = [int(str(size)) for size in value.shape]
    dtype = DTYPES[value.type.dtype]
    is_whole = value.type.dtype in ("int", "bool")
    return torch.zeros(shape, dtype=dtype) if is_whole else torch.randn(shape, dtype=dtype)


def filled(arg: Arg, make: Make) -> object:
    """Return what a hole stands for: tensors for values."""
    match arg:
        case Value():
            return make(arg)
        case tuple():
            return tuple(filled(item, make) for item in arg)
    return arg


def evaluated(template: Template, make: Make, device: str, **external: object) -> object:
    """Evaluate a template with its holes filled."""
    text = re.sub(r"\{(\w+)\}", r"\1", template.text)
    holes = {name: filled(arg, make) for name, arg in template.holes.items()}
    scope = {"torch": torch, "F": F, "nn": nn, "device": device, "dtype": torch.float64}
    with torch.device(device):
        return eval(text, {**scope, **holes, **external})


def constructed(template: Template, device: str) -> nn.Module:
    module = evaluated(Template(template.text, _without_inputs(template)), on_meta, device)
    assert isinstance(module, nn.Module)
    return module.double()


def _without_inputs(template: Template) -> Mapping[str, Arg]:
    return {name: arg for name, arg in template.holes.items() if name != "inputs"}


def run(op: Op, args: Mapping[str, Arg], make: Make, device: str) -> tuple[Tensor, ...]:
    """Run an operator as its templates say, and return its results."""
    constructor, call = op.module_template(args), op.template(args)
    external: dict[str, object] = {}
    if constructor is not None:
        external["module"] = constructed(constructor, device)
        if call is None:
            inputs = {"inputs": constructor.holes["inputs"]}
            call = Template("{module}(*{inputs})", inputs)
    assert call is not None
    result = evaluated(call, make, device, **external)
    assert isinstance(result, (tuple, list)) == op.is_tuple
    results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    assert all(isinstance(each, Tensor) for each in results)
    return results


# Checks -----------------------------------------------------------------------------------


def _check_weights(op: Op, args: Mapping[str, Arg]) -> None:
    constructor = op.module_template(args)
    assert (constructor is not None) == op.has_weights
    weights = op.weights(args)
    if constructor is None:
        assert not weights
        return
    module = constructed(constructor, "meta")
    trained = dict(module.named_parameters())
    state = module.state_dict()
    assert {name: weight.shape for name, weight in weights.items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }
    for name, weight in weights.items():
        assert weight.trainable == (name in trained)
        assert state[name].dtype == DTYPES[weight.dtype]


def _values(types: tuple[TensorType, ...]) -> list[Value]:
    return [Value("r", type_) for type_ in types]


@pytest.fixture
def agrees_with_torch() -> Check:
    """A check that shapes, dtypes, weights and FLOPs of a row are torch's, with symbols too."""

    def check(name: str, build: Build) -> None:
        op = TABLE[name]

        @FEW
        @given(data=st.data())
        def holds(data: st.DataObject) -> None:
            draw = Draw(data)
            symbolic = build(draw)
            args = {key: with_numbers(arg, draw.values) for key, arg in symbolic.items()}
            types, open_types = op.infer(args), op.infer(symbolic)
            assert tuple(type_with_numbers(each, draw.values) for each in open_types) == types
            assert len(op.result_fields) in (0, len(types))
            _check_weights(op, args)
            with FlopCounterMode(display=False) as counter:
                results = run(op, args, on_meta, "meta")
            for type_, result in zip(types, results, strict=True):
                assert (tuple(result.shape), NAMES[result.dtype]) == (type_.shape, type_.dtype)
            flops = counter.get_total_flops()
            assert op.flops(args, _values(types)) == flops
            assert substitute(op.flops(symbolic, _values(open_types)), draw.values) == flops

        holds()

    return check


_NO_DEFAULT = (REQUIRED, None)


def _with_all_shown(self: Op, text: str, bound: Bound) -> str:
    """Show every option of a text but those that are none, which torch need not take."""
    none = [each.name for each in self.parameters if bound.get(each.name, 0) is None]
    hidden = re.sub(rf"(, )?\w+=\{{({'|'.join(none) or '-'})\?\}}", "", text)
    return hidden.replace("(, ", "(").replace("?}", "}")


def _settings_of(module: nn.Module) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, (int, float, str, tuple, type(None))) and not name.startswith("_")
    }


@pytest.fixture
def defaults_are_those_of_torch() -> Check:
    """A check that what a template leaves out means the same as if it were written."""

    def check(name: str, build: Build) -> None:
        op = TABLE[name]
        defaults = {p.name: p.default for p in op.parameters if p.default not in _NO_DEFAULT}
        if not defaults:
            return

        @settings(FEW, max_examples=4)
        @given(data=st.data())
        def holds(data: st.DataObject) -> None:
            draw = Draw(data)
            args = {key: with_numbers(arg, draw.values) for key, arg in build(draw).items()}
            args |= cast(Args, defaults)
            assume(args.get("axis", 0) is not None)  # torch takes no keepdim without axes
            try:
                op.infer(args)
            except Mismatch:
                reject()
            short = op.template(args), op.module_template(args)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Op, "_without_defaults", _with_all_shown)
                long = op.template(args), op.module_template(args)
            if short[1] and long[1]:
                modules = [constructed(each, "meta") for each in (short[1], long[1])]
                assert _settings_of(modules[0]) == _settings_of(modules[1])
            elif short[0] and long[0] and short[0].text != long[0].text:
                torch.manual_seed(0)
                expected = evaluated(long[0], random, "cpu")
                torch.manual_seed(0)
                found = evaluated(short[0], random, "cpu")
                torch.testing.assert_close(found, expected, equal_nan=True)

        holds()

    return check


Compute = Callable[..., tuple[Tensor, ...]]


@pytest.fixture
def compute() -> Compute:
    """Run a row on real tensors: `compute("softmax", x=x, axis=0)` gives the tuple of results."""

    def apply(name: str, **given: object) -> tuple[Tensor, ...]:
        op = TABLE[name]
        tensors: dict[Value, Tensor] = {}

        def argument(value: object) -> Arg:
            if isinstance(value, Tensor):
                made = Value("t", TensorType(tuple(value.shape), NAMES[value.dtype]))
                tensors[made] = value
                return made
            if isinstance(value, (tuple, list)):
                return tuple(map(argument, value))
            return cast(Arg, value)

        args = {p.name.lstrip("*"): cast(Arg, p.default) for p in op.parameters}
        args |= {key: argument(value) for key, value in given.items()}
        types = op.infer(args)
        results = run(op, args, tensors.__getitem__, "cpu")
        for type_, result in zip(types, results, strict=True):
            assert (tuple(result.shape), NAMES[result.dtype]) == (type_.shape, type_.dtype)
        return results

    return apply
