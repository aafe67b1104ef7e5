"""Parameters of operators: their kinds, and what their names mean throughout the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from attnc.dsl.dims import Dim
from attnc.dsl.graph import Arg, Value


class _Required:
    """Stands where a parameter has no default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operator.

    Attributes:
        name: `*name` takes all remaining positional arguments, as a tuple of tensors; `**name`
            all remaining keyword arguments, as a mapping of sizes. In the bound arguments both go
            by the bare name.
        kind: a key of `KINDS`; with `?` after it, none is taken too.
        default: in the form in which arguments are given; lists are tuples.
        doc: what it says, in a few words.
        choices: the texts allowed, where kind is `text`; empty for any.
    """

    name: str
    kind: str
    default: object = REQUIRED
    doc: str = ""
    choices: tuple[str, ...] = ()

    def accepts(self, value: Arg) -> bool:
        """Whether a value is of the parameter's kind."""
        if value is None:
            return self.kind.endswith("?")
        if self.choices and value not in self.choices:
            return False
        return KINDS[self.kind.removesuffix("?")].accepts(value)

    @property
    def expected(self) -> str:
        """What values the parameter takes, as a noun phrase."""
        if self.choices:
            return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        phrase = KINDS[self.kind.removesuffix("?")].expected
        return f"{phrase}, or none" if self.kind.endswith("?") else phrase


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of argument: how messages call it, and the test for it."""

    expected: str
    accepts: Callable[[Arg], bool]


def _is_integer(value: Arg) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_natural(value: Arg) -> bool:
    return isinstance(value, int) and _is_integer(value) and value >= 0


def _is_positive(value: Arg) -> bool:
    return _is_natural(value) and value != 0


def _is_number(value: Arg) -> bool:
    return _is_integer(value) or isinstance(value, float)


def _is_size(value: Arg) -> bool:
    return _is_integer(value) or isinstance(value, Dim)


def _all(test: Callable[[Arg], bool]) -> Callable[[Arg], bool]:
    return lambda value: isinstance(value, tuple) and all(test(item) for item in value)


def _either(*tests: Callable[[Arg], bool]) -> Callable[[Arg], bool]:
    return lambda value: any(test(value) for test in tests)


def _is_tensor(value: Arg) -> bool:
    return isinstance(value, Value)


def _is_text(value: Arg) -> bool:
    return isinstance(value, str)


_TENSOR_OR_NUMBER = Kind(
    "a tensor or a number",
    _either(_is_tensor, _is_number, _is_size, lambda value: isinstance(value, bool)),
)

KINDS: Mapping[str, Kind] = {
    "tensor": Kind("a tensor", _is_tensor),
    "tensors": Kind("tensors", _all(_is_tensor)),
    "operand": _TENSOR_OR_NUMBER,  # takes part in the promotion of dtypes
    "element": _TENSOR_OR_NUMBER,  # takes the dtype of what it is written to
    "number": Kind("a number", _either(_is_number, lambda value: isinstance(value, bool))),
    "float": Kind("a number", _is_number),
    "int": Kind("a whole number", _is_integer),
    "positive": Kind("a whole number above 0", _is_positive),
    "size": Kind("a size", _is_size),
    "flag": Kind("true or false", lambda value: isinstance(value, bool)),
    "text": Kind("a text", _is_text),
    "axes": Kind("an axis or a list of axes", _either(_is_integer, _all(_is_integer))),
    "window": Kind(
        "a whole number above 0 or one for each axis", _either(_is_positive, _all(_is_positive))
    ),
    "margin": Kind(
        "a whole number from 0 or one for each axis", _either(_is_natural, _all(_is_natural))
    ),
    "padding": Kind(
        'a whole number from 0, one for each axis, or "same"',
        _either(_is_natural, _all(_is_natural), lambda value: value == "same"),
    ),
    "shape": Kind("a list of sizes", _all(_is_size)),
    "sizes": Kind("a size or a list of sizes", _either(_is_size, _all(_is_size))),
    "named_sizes": Kind(
        "sizes by name",
        lambda value: isinstance(value, Mapping) and all(map(_is_size, value.values())),
    ),
    "index": Kind("an index", _all(lambda value: isinstance(value, tuple))),
}

DOCS: Mapping[str, str] = {
    "a": "the left operand, or the first axis",
    "align_corners": "whether the centres of the corner pixels keep their place",
    "alpha": "the limit on the negative side, negated",
    "amounts": "what to add before and after each axis, last axis first; negative amounts crop",
    "antialias": "low-pass before scaling down",
    "axes": "the axes concerned",
    "axis": "the axis or axes concerned; negative ones count from the end",
    "b": "the right operand, or the second axis",
    "beta": "the sharpness: log(1 + exp(beta * x)) / beta",
    "bias": "whether to learn an offset",
    "ceil_mode": "round the number of windows up",
    "condition": "where it holds a is taken, elsewhere b",
    "correction": "subtracted from the count that divides: 1 for the unbiased estimate",
    "count": "how many",
    "count_include_pad": "let padding count in the mean",
    "descending": "largest first",
    "dilation": "distance between the taps of the kernel",
    "dim": "the width of a row",
    "eps": "keeps the divisor off zero",
    "equation": 'Einstein notation: "b i d, b j d -> b i j" with or without spaces',
    "factor": "how many pixels along either side go into one",
    "grid": "places between -1 and 1",
    "groups": "the number of groups of channels",
    "ids": "row numbers",
    "ignore": "a target class that does not count",
    "imag": "the imaginary part",
    "index": "positions along the axis",
    "k": "how many to keep",
    "keepdim": "leave reduced axes in place with size 1",
    "kernel": "the window's extent, one number or one for each axis",
    "kind": "the kind of number",
    "largest": "the largest rather than the smallest",
    "log_target": "the target holds logarithms too",
    "mask": "where it holds, the value is written",
    "max": "the upper bound",
    "min": "the lower bound",
    "mode": "how values between or beyond those given are made up",
    "momentum": "the weight of the newest batch in the running statistics",
    "n": "how many, or the length of the transformed axis",
    "norm": 'which direction is scaled: "backward" by 1/n, "forward", or "ortho" both by n ** -0.5',
    "order": "the exponent: 2 for the Euclidean norm, 1 for the sum of magnitudes",
    "out": "channels or features of the result",
    "output_padding": "extent added to one side of the result",
    "p": "the probability of a zero in training mode",
    "padding": "zeros added on either side, or the row that gets no gradient",
    "padding_mode": "what padding is filled with",
    "parts": "the number of equal parts, or the size of each part",
    "pattern": "the axes before and after, in einops notation",
    "pos_weight": "factor of the positive term",
    "real": "the real part",
    "reduction": "how the losses of all elements become one",
    "sections": "the number of equal parts",
    "shape": "the sizes of all axes",
    "shifts": "by how many places, for each axis",
    "size": "the sizes of the result's spatial axes",
    "sizes": "the sizes of axes that the tensor's shape leaves open",
    "slope": "the factor on the negative side",
    "smoothing": "the share of the target spread over all classes",
    "sorted": "in order, the largest (or smallest) first",
    "spec": "the index: slices and positions, axis by axis",
    "stable": "equal elements keep their order",
    "start": "the first number",
    "stop": "the last number, included",
    "stride": "distance between windows; none for windows side by side",
    "target": "what the input should have been",
    "tensors": "the tensors, in order",
    "threshold": "above it (times beta) the function is taken to be linear",
    "to": "the kind of number to turn into",
    "value": "what is written",
    "values": "what is put in place",
    "weight": "whether to learn a factor, or the factors",
    "x": "the input",
}
"""What a parameter's name means; one meaning (or two close ones) for the whole table."""
