"""The text of a generated torch function for one site: parameters, sizes, coordinates, lines."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Mapping, Sequence

from attnc.compiler.kernel import Site
from attnc.compiler.sites import site_types
from attnc.compiler.sizes import Arithmetic, Axis, Recipe, Sizes
from attnc.dsl.attention import ScoreTree, SoftmaxKeys, Source
from attnc.dsl.dims import Size, symbol, symbols
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import COORDINATES, allowed, extents, fill, simplify
from attnc.dsl.scorelang.ranges import Interval

WIDTH = 88
"""Characters in a line, as most formatters have it."""

INDENT = "    "

_RESERVED = frozenset(
    {*COORDINATES, "q", "k", "v", "qk", "wide", "scores", "weights", "empty", "blocked", "lse",
     "unseen", "out", "mask", "vq", "back", "received", "slot", "outside", "share", "inside",
     "corner", "bs", "hs", "rows", "cols", "wanted", "absent", "place", "k_near", "v_near", "sink",
     "best", "nothing", "total", "totals", "sums", "drift", "pull", "pulls", "posted", "final",
     "factor", "shares", "peaks", "spread", "grad", "grads", "dtype", "dtypes", "again", "torch",
     "row_products", "weighted_rows", "known", "no_values", "F", "Tensor", *keyword.kwlist}
)  # fmt: skip
"""Names that generated functions use themselves, alone or with the number of a source."""


class TorchFunction:
    """Collects the body; names that the body asks for are bound at its top, once.

    Attributes:
        site: what the function computes.
        query: the parameter for q: `q`, or `qk` where products are given.
        parameters: q, k and v of each source, vq, captured tensors.
        known: for each source, trees that variables of the body hold, by the variable's name.
        ranges: of coordinates besides `b h i j`.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._taken: set[str] = set()
        single = len(site.sources) == 1
        self.suffixes = ("",) if single else tuple(map(str, range(len(site.sources))))
        self.query, own = ("qk", "v") if site.attention.given else ("q", "kv")
        streams = [f"{name}{suffix}" for suffix in self.suffixes for name in own]
        back = () if site.vq is None else ("vq",)
        self._tensors = {name: self._fresh(name) for name in site.attention.tensors}
        self.parameters = (self.query, *streams, *back, *self._tensors.values())
        self._sizes = Sizes(type_.shape for type_ in site_types(site))
        self._symbols: dict[str, str] = {}
        self.known: list[dict[ScoreTree, str]] = [{} for _ in site.sources]
        self.ranges: Mapping[str, Interval] = {}
        self._tables: dict[tuple[str, Size], str] = {}
        self._top: dict[str, tuple[int, int]] = {}
        self._body: list[str] = []

    # Names ---------------------------------------------------------------------------------

    def tensor(self, name: str) -> str:
        """Return the parameter that holds a captured tensor."""
        return self._tensors[name]

    def tensor_type(self, name: str) -> TensorType:
        """Return the type of a captured tensor."""
        return self.site.tensors[self.site.attention.tensors.index(name)]

    def size(self, size: Size) -> str:
        """Return an expression for a size, with its symbols bound by name where they can be."""
        names = {name: self._symbol(name) for name in sorted(symbols(size))}
        if None in names.values():
            return self._recipe(self._sizes.recipe(size))
        written = re.sub(r"[A-Za-z_]\w*", lambda found: names[found[0]] or "", str(size))
        return fill("{a}", written)

    def working_dtype(self) -> str:
        """Return the dtype of scores beyond a plain product: float32, or that of q if wider."""
        dtype = f"torch.promote_types({self.query}.dtype, torch.float32)  # never half precision"
        self.bind_top((1, 0), "wide", dtype)
        return "wide"

    def widened(self, name: str) -> str:
        """Return the parameter of a captured float tensor, brought to the working dtype."""
        parameter = self.tensor(name)
        self.bind_top(
            (2, self.parameters.index(parameter)),
            parameter,
            f"{parameter}.to({self.working_dtype()})",
        )
        return parameter

    def member_table(self, name: str, count: Size) -> str:
        """Return a bool tensor [..., count]: which numbers each row of an index tensor holds."""
        if (name, count) not in self._tables:
            index = self.tensor(name)
            table = self._tables[name, count] = self._unused(f"in_{index}")
            empty = f"{index}.new_zeros(*{index}.shape[:-1], {self.size(count)}, dtype=torch.bool)"
            place = (2, len(self.parameters) + len(self._tables))
            self.bind_top(place, table, f"{empty}.scatter_(-1, {index}, True)")
        return self._tables[name, count]

    def coordinate(self, name: str, source: int) -> str:
        """Return the variable of `b`, `h`, `i` or `j`, shaped to broadcast over [b, h, n, m]."""
        axis = COORDINATES.index(name)
        tensor = self.stream(source) if name == "j" else self.query
        variable = f"j{self.suffixes[source]}" if name == "j" else name
        size = self.coordinate_size(name, source)
        plain = isinstance(size, int) or (str(size).isidentifier() and not _is_own(str(size)))
        length = self.size(size) if plain else f"{tensor}.shape[{axis - (name == 'j')}]"
        trailing = ", None" * (len(COORDINATES) - 1 - axis)
        shaped = f"[:{trailing}]" if trailing else ""
        self.bind_top(
            (3, axis), variable, f"torch.arange({length}, device={self.query}.device){shaped}"
        )
        return variable

    def stream(self, source: int) -> str:
        """Return the parameter that tells the number of keys of a source."""
        return f"{'v' if self.site.attention.given else 'k'}{self.suffixes[source]}"

    def coordinate_size(self, name: str, source: int) -> Size:
        """Return the number of values of `b`, `h`, `i` or `j`."""
        if name == "j":
            return self.site.sources[source][0].shape[2]
        return self.site.q.shape[COORDINATES.index(name)]

    # Lines ---------------------------------------------------------------------------------

    def line(self, line: str) -> None:
        """Add a line to the body."""
        self._body.append(line)

    def bind(self, stem: str, expression: str) -> str:
        """Add `name = expression` under a new name that begins with `stem`; return the name."""
        (name,) = self.bind_all((stem,), expression)
        return name

    def bind_all(self, stems: Sequence[str], expression: str) -> list[str]:
        """Add `first, second = expression` likewise; return the names."""
        names = [self._unused(stem) for stem in stems]
        self.line(f"{', '.join(names)} = {expression}")
        return names

    def call(self, function: str, arguments: Sequence[str], ahead: str) -> str:
        """Return a call, with one argument to a line where it is too long after `ahead`."""
        one = f"{function}({', '.join(arguments)})"
        if len(ahead) + len(one) <= WIDTH - len(INDENT):
            return one
        return f"{function}(\n" + "".join(f"{INDENT}{each},\n" for each in arguments) + ")"

    def source(self, formula: str, result: str) -> str:
        """Return the whole function.

        Args:
            formula: what it computes, for the docstring.
            result: the expression returned.
        """
        several = len(self.site.attention.outputs)
        returned = "Tensor" if several == 1 else f"tuple[{', '.join(['Tensor'] * several)}]"
        parameters = [f"{name}: Tensor" for name in self.parameters]
        head = f"def {self.site.name}({', '.join(parameters)}) -> {returned}:"
        if len(head) > WIDTH:
            listed = "".join(f"{INDENT}{parameter},\n" for parameter in parameters)
            head = f"def {self.site.name}(\n{listed}) -> {returned}:"
        code = [*self.statements(), _hugged(f"return {result}")]
        lines = [*_docstring(formula, self._shapes()), *code]
        return head + "\n" + textwrap.indent("\n".join(lines), INDENT) + "\n"

    def statements(self) -> list[str]:
        """Return the body so far, beginning with what was bound at its top."""
        top = sorted(self._top, key=self._top.__getitem__)
        return [_hugged(line) for line in (*top, *self._body)]

    def _shapes(self) -> str:
        """Return `q: [b, 6, n, 64]; k, v: [b, 6, m, 64]`."""
        groups: list[tuple[list[str], TensorType]] = []
        for name, type_ in zip(self.parameters, site_types(self.site), strict=True):
            if groups and groups[-1][1] == type_:
                groups[-1][0].append(name)
            else:
                groups.append(([name], type_))
        return "; ".join(f"{', '.join(names)}: {type_}" for names, type_ in groups)

    def bind_top(self, place: tuple[int, int], name: str, expression: str) -> None:
        """Add a line to the top, which stands in order of place."""
        self._top.setdefault(f"{name} = {expression}", place)

    def _fresh(self, name: str) -> str:
        """Return an unused identifier like `name`, a name of the spec."""
        name = re.sub(r"\W", "_", name)
        return self._unused(f"{name}_" if _is_own(name) else name)

    def _unused(self, stem: str) -> str:
        name, count = stem, 1
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def _symbol(self, name: str) -> str | None:
        """Return the variable bound to a symbol; none where the axes do not tell it."""
        recipe = self._sizes.recipe(symbol(name))
        if recipe is None:
            return None
        if name not in self._symbols:
            self._symbols[name] = self._fresh(name)
        place = recipe.port if isinstance(recipe, Axis) else len(self.parameters)
        self.bind_top((0, place), self._symbols[name], self._recipe(recipe))
        return self._symbols[name]

    def _recipe(self, recipe: Recipe | None) -> str:
        match recipe:
            case Axis(port, axis):
                return f"{self.parameters[port]}.shape[{axis}]"
            case Arithmetic(operator, left, right):
                template = f"{{a}} {operator} {{b}}"
                return fill(template, self._recipe(left), self._recipe(right))
            case None:
                raise ValueError("a size is not known from the shapes; `can` said so")
        return str(recipe)


def unknown_sizes(site: Site) -> tuple[Size, ...]:
    """Return the sizes in the expressions of a site that no shape of its tensors tells."""
    sizes = Sizes(type_.shape for type_ in site_types(site))
    trees = site_trees(site)
    used = {size for tree in trees for size in extents(tree)}
    return tuple(sorted((size for size in used if sizes.recipe(size) is None), key=str))


def site_trees(site: Site) -> tuple[ScoreTree, ...]:
    """Return all expressions of a site."""
    attention = site.attention
    sink = attention.normaliser.sink if isinstance(attention.normaliser, SoftmaxKeys) else None
    shared = (tree for tree in (sink, attention.renormalise) if tree is not None)
    each = (tree for source in attention.sources for tree in source_trees(source))
    return (*each, *map(simplify, shared))


def source_trees(source: Source) -> tuple[ScoreTree, ...]:
    """Return all that is computed for a source: its score, condition, weight and post."""
    trees = (source.score, allowed(source), source.weight, source.post)
    return tuple(simplify(tree) for tree in trees if tree is not None)


def _is_own(name: str) -> bool:
    return name.startswith("grad_") or re.sub(r"\d+$", "", name) in _RESERVED


def _docstring(formula: str, shapes: str) -> Sequence[str]:
    """Return the lines of a docstring: one if it fits."""
    one, width = f'"""{formula}; {shapes}."""', WIDTH - len(INDENT)
    if len(one) <= width:
        return [one]
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False).wrap
    return [*wrap(f'"""{formula}.'), "", *wrap(f"{shapes}."), '"""']


def _hugged(line: str) -> str:
    """Write powers as formatters do: `n**2`."""
    return re.sub(r"(\w) \*\* (\w)", r"\1**\2", line)
