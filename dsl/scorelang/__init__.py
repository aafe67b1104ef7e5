"""The score language: typed expressions of `qk`, `b h i j`, sizes and tensors."""

from attnc.dsl.scorelang.affine import ScaledProduct, scaled_product
from attnc.dsl.scorelang.bounds import (
    KeyRange,
    KeyRangeText,
    LinearBand,
    allowed,
    band,
    classify,
    condition,
    every_column_has_query,
    every_row_has_key,
    key_range,
    key_range_text,
)
from attnc.dsl.scorelang.build import BUILTINS, Known, ScoreError, ScoreScope, build
from attnc.dsl.scorelang.construct import ScoreTypeError, apply
from attnc.dsl.scorelang.derivative import derivative
from attnc.dsl.scorelang.domains import PLACE_NAMES, key_count, place_names, slot, with_trees
from attnc.dsl.scorelang.functions import FUNCTIONS, Function
from attnc.dsl.scorelang.printing import fill, text
from attnc.dsl.scorelang.ranges import at_least, decide, interval, whole_range
from attnc.dsl.scorelang.simplify import as_size, make, power, product, simplify, size_tree
from attnc.dsl.scorelang.walk import (
    COORDINATES,
    coordinates,
    extents,
    has_dot,
    has_weight,
    is_scalar,
    loads,
    rename,
    replaced,
    subtrees,
    with_sizes,
)

__all__ = [
    "BUILTINS",
    "COORDINATES",
    "FUNCTIONS",
    "PLACE_NAMES",
    "Function",
    "KeyRange",
    "KeyRangeText",
    "Known",
    "LinearBand",
    "ScaledProduct",
    "ScoreError",
    "ScoreScope",
    "ScoreTypeError",
    "allowed",
    "apply",
    "as_size",
    "at_least",
    "band",
    "build",
    "classify",
    "condition",
    "coordinates",
    "decide",
    "derivative",
    "every_column_has_query",
    "every_row_has_key",
    "extents",
    "fill",
    "has_dot",
    "has_weight",
    "interval",
    "is_scalar",
    "key_count",
    "key_range",
    "key_range_text",
    "loads",
    "make",
    "place_names",
    "power",
    "product",
    "rename",
    "replaced",
    "scaled_product",
    "simplify",
    "size_tree",
    "slot",
    "subtrees",
    "text",
    "whole_range",
    "with_sizes",
    "with_trees",
]
