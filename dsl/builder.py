"""One body under construction: nodes, scope, paths; expressions over tensors become nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from attnc.dsl import arithmetic, codes, library, tree
from attnc.dsl.attention import All, Causal
from attnc.dsl.diagnostics import Collector, Diagnostic, Note, with_use_sites
from attnc.dsl.dims import Size
from attnc.dsl.expressions import Evaluator, fail, is_size
from attnc.dsl.graph import Arg, Body, Node, TensorType, Value
from attnc.dsl.ops import TABLE
from attnc.dsl.paths import Paths, PathTaken
from attnc.dsl.spans import Span, SpanChain
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.values import BlockRef, DomainValue, Fields, Home, Instance, OpRef, noun

if TYPE_CHECKING:
    from attnc.dsl.forms import Form

STEP_LIMIT = 20_000
CONSTANTS: Mapping[str, object] = {
    "all": DomainValue(All()),
    "causal": DomainValue(Causal()),
    "pi": 3.141592653589793,
}
TENSOR_OPERATORS: Mapping[str, str] = {
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "//": "floor_divide",
    "%": "remainder", "**": "power", "==": "equal", "!=": "not_equal", "<": "less",
    "<=": "less_equal", ">": "greater", ">=": "greater_equal", "and": "logical_and",
    "or": "logical_or",
}  # fmt: skip
UNARY_OPERATORS: Mapping[str, str] = {"-": "negative", "not": "logical_not"}


@dataclass(slots=True)
class Context:
    """What all bodies of one elaboration share."""

    collector: Collector
    bodies: dict[object, Body | None] = field(default_factory=dict)
    active: list[BlockRef] = field(default_factory=list)
    steps: int = 0

    def step(self, span: Span) -> None:
        """Count a statement; fail when a spec unrolls without end."""
        self.steps += 1
        self.room_for(0, span)

    def room_for(self, turns: int, span: Span) -> None:
        """Fail at once when that many turns would go beyond the limit."""
        if self.steps + turns > STEP_LIMIT:
            fail(codes.TOO_MANY_STEPS.at(span, limit=STEP_LIMIT))


class Builder(Evaluator):
    """Evaluates expressions, adding nodes for what concerns tensors.

    Attributes:
        home: the file whose blocks are visible.
        chain: use sites that led here, outermost first.
        turns: index of every enclosing loop that gives each turn its own weights.
        train: true inside `when train`.
        bound: the name a call's result is about to get, and the call: labels default to it.
        dims: sizes that shapes bound, by name; `bindings` says where.
        exits, outputs: of the top.
        returned: the values of `return`, once it was met.
        faulty: a statement failed, so that what looks unused may not be.
    """

    def __init__(self, context: Context, home: Home, chain: SpanChain, is_top: bool) -> None:
        super().__init__({})
        self.context, self.home, self.chain, self.is_top = context, home, chain, is_top
        self.nodes: list[Node] = []
        self.paths = Paths()
        self.turns: tuple[int, ...] = ()
        self.train = False
        self.bound: tuple[tree.Expr, str] | None = None
        self.dims: dict[str, Size] = {}
        self.bindings: dict[str, tuple[Span, Size]] = {}
        self.arguments: dict[str, object] = {}
        self.exits: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.returned: tuple[list[object], tree.Return] | None = None
        self.faulty = False

    def report(self, diagnostic: Diagnostic) -> None:
        """Collect a diagnostic, with the use sites that led to this body."""
        self.context.collector.add(with_use_sites(diagnostic, self.chain))

    # Nodes ------------------------------------------------------------------------------

    def add(
        self,
        op: str,
        args: Mapping[str, Arg],
        types: tuple[TensorType, ...],
        span: Span,
        *,
        module: str | None = None,
        body: Body | None = None,
        name: str | None = None,
    ) -> tuple[Value, ...]:
        """Append a node and return its results."""
        results = tuple(Value(name or op, type_, (span,)) for type_ in types)
        self.nodes.append(Node(op, args, results, module, body, self.train, (span,)))
        return results

    def apply(
        self,
        name: str,
        arguments: Mapping[str, object],
        span: Span,
        places: Mapping[str, Span] | None = None,
    ) -> object:
        """Append a node for a row of the operator table; `arguments` are bound.

        Args:
            places: where each argument stands; none for all at `span`.
        """
        from attnc.dsl.calls import apply_row

        return apply_row(self, TABLE[name], arguments, span, None, places)

    def claim(self, site: tree.Expr, label: str | None, fallback: str) -> str:
        """Claim the path of a site's weights."""
        if label is None and self.bound is not None and self.bound[0] is site:
            fallback = self.bound[1]
        try:
            return self.paths.claim(site, label, fallback, self.turns)
        except PathTaken as taken:
            other = taken.other.span if hasattr(taken.other, "span") else None
            fail(codes.LABEL_CLASH.at(
                site.span, path=taken.path, notes=[Note("the first stands here", other)]
            ))  # fmt: skip

    @contextmanager
    def turn(self, index: int | None) -> Iterator[None]:
        """Inside one turn of a loop; none where the turns share weights."""
        outer = self.turns
        if index is not None:
            self.turns = (*outer, index)
        try:
            yield
        finally:
            self.turns = outer

    # Expressions ------------------------------------------------------------------------

    def missing(self, expr: tree.Name) -> object:
        """Names of blocks, operators and domains."""
        function = self.function(expr.id)
        if function is not None:
            return function
        if expr.id in CONSTANTS:
            return CONSTANTS[expr.id]
        return super().missing(expr)

    def function(self, name: str) -> OpRef | BlockRef | None:
        """Return what is called `name`: a block of the file, of the library, or an operator."""
        if name in self.home.blocks:
            return BlockRef(self.home, name)
        if name in library.names():
            return library.block(name)
        return OpRef(name) if name in TABLE else None

    def visible(self) -> list[str]:
        """All names worth suggesting."""
        return [*self.scope, *self.home.blocks, *library.names(), *TABLE, *arithmetic.FUNCTIONS]

    def call(self, expr: tree.Call, label: str | None = None) -> object:
        """Call a form of the core, a block, an operator or a compile-time function."""
        from attnc.dsl.calls import call_function
        from attnc.dsl.forms import FORMS

        if isinstance(expr.function, tree.Name) and expr.function.id not in self.scope:
            name = expr.function.id
            form: Form | None = FORMS.get(name)
            if form is not None and form.takes(expr):
                return form.build(self, expr, label)
            if self.function(name) is None and name not in arithmetic.FUNCTIONS:
                candidates = [*self.visible(), *FORMS]
                fail(codes.UNKNOWN_OP.at(
                    expr.function.span, name=name, hint=did_you_mean(name, candidates)
                ))  # fmt: skip
            if self.function(name) is None:
                return self.compute(expr, name, self.positional(expr))
        target = self.evaluate(expr.function)
        if isinstance(target, (OpRef, BlockRef, Instance)):
            return call_function(self, target, expr, label)
        fail(codes.NOT_A_TENSOR.at(
            expr.function.span, detail=f"{noun(target)} cannot be called"
        ))  # fmt: skip

    def use(self, expr: tree.Use) -> object:
        """Make an instance: its calls share one set of weights."""
        from attnc.dsl.calls import make_instance

        return make_instance(self, expr, None)

    def binary(self, expr: tree.Binary, left: object, right: object) -> object:
        """Arithmetic; with a tensor on either side a node."""
        if expr.operator in ("==", "!=") and (left is None or right is None):
            return (left is right) == (expr.operator == "==")
        if isinstance(left, Value) or isinstance(right, Value):
            places = {"a": expr.left.span, "b": expr.right.span}
            name = TENSOR_OPERATORS[expr.operator]
            return self.apply(name, {"a": left, "b": right}, expr.span, places)
        return super().binary(expr, left, right)

    def unary(self, expr: tree.Unary, operand: object) -> object:
        """Negation; of a tensor a node."""
        if isinstance(operand, Value):
            return self.apply(UNARY_OPERATORS[expr.operator], {"x": operand}, expr.span)
        return super().unary(expr, operand)

    def index(self, expr: tree.Index, base: object) -> object:
        """Items of lists and maps; slices of tensors."""
        if isinstance(base, Value):
            return self.apply("slice", {"x": base, "spec": self.slices(expr.items)}, expr.span)
        return super().index(expr, base)

    def attribute(self, expr: tree.Attribute, base: object) -> object:
        """Fields; `x.shape` of a tensor; `f.weight` of an instance."""
        if isinstance(base, Value) and expr.name == "shape":
            return list(base.shape)
        if isinstance(base, Instance):
            from attnc.dsl.calls import read_weight

            return read_weight(self, base, expr)
        return super().attribute(expr, base)

    def slices(self, items: tuple[tree.Expr, ...]) -> tuple[Arg, ...]:
        """Return the items of a tensor index: ("slice", start, stop, step) or ("index", i)."""
        return tuple(
            ("slice", *(self._bound(part) for part in (item.start, item.stop, item.step)))
            if isinstance(item, tree.Slice)
            else ("index", self.size(item, "an index"))
            for item in items
        )

    def _bound(self, part: tree.Expr | None) -> Size | None:
        return None if part is None else self.size(part, "a bound of a slice")

    def size(self, expr: tree.Expr, what: str) -> Size:
        """Evaluate an expression that must be a size."""
        value = self.evaluate(expr)
        if is_size(value):
            return value  # type: ignore[return-value]
        fail(codes.NOT_A_TENSOR.at(
            expr.span, detail=f"{what} must be a whole number or a size, not {noun(value)}"
        ))  # fmt: skip


def name_results(value: object, names: list[str]) -> None:
    """Call fresh results what the spec calls them, while their body is under construction."""
    values = list(value) if isinstance(value, (list, tuple, Fields)) else [value]
    for each, name in zip(values, names, strict=False):
        if isinstance(each, Value):
            object.__setattr__(each, "name", name)
