"""`param(shape, init)` and `buffer(shape, init)`: weights of a block's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attnc.dsl import codes, tree
from attnc.dsl.builder import Builder
from attnc.dsl.expressions import fail
from attnc.dsl.forms.form import Form, arguments
from attnc.dsl.graph import Scalar, TensorType
from attnc.dsl.values import noun


def _weight(trainable: bool, default: str) -> Callable[[Builder, tree.Call, str | None], object]:
    def build(builder: Builder, expr: tree.Call, label: str | None) -> object:
        name = "param" if trainable else "buffer"
        positional, named = arguments(expr, name, ("shape", "init"))
        given = positional[0] if positional else named.get("shape")
        if given is None or len(positional) > 2:
            fail(codes.ARGUMENT.at(expr.span, op=name, detail="takes a shape and an init"))
        shape = _weight_shape(builder, given, name)
        written = positional[1] if len(positional) == 2 else named.get("init")
        init = default if written is None else builder.evaluate(written)
        if not isinstance(init, (str, int, float)) or isinstance(init, bool):
            fail(codes.ARGUMENT.at(
                expr.span, op=name, detail=f'init is a text such as "zeros", not {noun(init)}'
            ))  # fmt: skip
        kind = init if isinstance(init, str) else f"constant({init})"
        path = builder.claim(expr, label, name)
        args: dict[str, Scalar | tuple[int, ...]] = {
            "shape": shape, "init": kind, "trainable": trainable,
        }  # fmt: skip
        types = (TensorType(shape),)
        return builder.add("param", args, types, expr.span, module=path, name=path.split(".")[0])[0]

    return build


def _weight_shape(builder: Builder, expr: tree.Expr, name: str) -> tuple[int, ...]:
    items = builder.evaluate(expr)
    sizes = list(items) if isinstance(items, (list, tuple)) else [items]
    whole = tuple(s for s in sizes if isinstance(s, int) and not isinstance(s, bool) and s >= 0)
    if len(whole) != len(sizes):
        fail(codes.ARGUMENT.at(
            expr.span, op=name,
            detail=f"a weight has fixed sizes, not [{', '.join(map(str, sizes))}]",
            hint="fix the size by a param",
        ))  # fmt: skip
    return whole


DEFAULT_INIT: Mapping[str, str] = {"param": "normal(0.02)", "buffer": "zeros"}

WEIGHTS: Mapping[str, Form] = {
    "param": Form(_weight(True, DEFAULT_INIT["param"])),
    "buffer": Form(_weight(False, DEFAULT_INIT["buffer"])),
}
