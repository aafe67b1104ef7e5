"""Score trees as torch expressions that broadcast over [b, h, n, m]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from attnc.backends.torch_function import TorchFunction
from attnc.dsl.attention import (
    L1,
    Among,
    Apply,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Load,
    Result,
    ScoreTree,
    Weight,
)
from attnc.dsl.dims import Size
from attnc.dsl.scorelang import (
    COORDINATES,
    FUNCTIONS,
    LinearBand,
    allowed,
    at_least,
    band,
    classify,
    coordinates,
    fill,
    interval,
    is_scalar,
    make,
    simplify,
    subtrees,
    whole_range,
)
from attnc.dsl.scorelang.ranges import Interval

LONGEST = 72
"""An expression with more characters has parts of it named first."""


class Kind(Enum):
    """What a torch expression is when it runs."""

    NUMBER = auto()
    """A Python number or truth value."""
    INDEX = auto()
    """An int64 or bool tensor."""
    FLOAT = auto()
    """A tensor of the working dtype."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An expression and its kind."""

    text: str
    kind: Kind


class ScoreWriter:
    """Writes the trees of one source. Ints meet floats in the working dtype, as in the spec."""

    def __init__(
        self,
        function: TorchFunction,
        source: int,
        dot: str = "",
        weight: str = "",
        *,
        selects: bool = False,
    ) -> None:
        """Write into `function` for source number `source`.

        Args:
            dot: the expression of `qk`.
            weight: the expression of `w`.
            selects: tables are read by `index_select`. On a CPU that is some times as fast as
                indexing, both ways; on a GPU its gradients are summed in no fixed order.
        """
        self._function = function
        self._source = source
        self._dot = dot
        self._weight = weight
        self._selects = selects
        self._condition = allowed(function.site.attention.sources[source])
        self._key = ""

    def floating(self, tree: ScoreTree) -> str:
        """Return a float tree as a tensor expression.

        Where functions such as `log` read coordinates, keys outside a band are read as the
        nearest inside: `log(i - j)` beyond the diagonal would spoil gradients although it is
        masked, since 0 * inf is NaN.
        """
        tree = simplify(tree)
        if _is_fragile(tree):
            self._key = self._nearest_key()
        written = self._widened(self._piece(tree))
        self._key = ""
        return written

    def factor(self, tree: ScoreTree) -> Piece:
        """Return a float tree as a number or a tensor."""
        return self._piece(simplify(tree))

    def integer(self, tree: ScoreTree) -> str:
        """Return an int tree as a tensor expression."""
        return self._tensor(self._piece(simplify(tree)), "int").text

    def condition(self, tree: ScoreTree) -> str:
        """Return a bool tree as a tensor expression."""
        piece = self._piece(simplify(tree))
        return self._tensor(piece, "bool").text

    def _piece(self, tree: ScoreTree) -> Piece:
        known = self._function.known[self._source].get(tree)
        if known is not None:
            return Piece(known, Kind.FLOAT if tree.type == "float" else Kind.INDEX)
        match tree:
            case Constant(value):
                return Piece(repr(value), Kind.NUMBER)
            case Extent(size):
                return Piece(self._function.size(size), Kind.NUMBER)
            case Coordinate("j") if self._key:
                return Piece(self._key, Kind.INDEX)
            case Coordinate(name):
                return Piece(self._function.coordinate(name, self._source), Kind.INDEX)
            case Dot():
                return Piece(self._dot, Kind.FLOAT)
            case L1():
                raise ValueError("who writes l1(q, k) says before which variable holds it")
            case Result():
                raise ValueError("who writes an epilogue says before which variable holds `o`")
            case Weight():
                return Piece(self._weight, Kind.FLOAT)
            case Load():
                return self._load(tree)
            case Among():
                return self._among(tree)
            case Apply("float", (inner,)):
                return Piece(self._widened(self._piece(inner)), Kind.FLOAT)
            case Apply():
                return self._apply(tree)

    def _nearest_key(self) -> str:
        """Name the key nearest to each that the band allows; empty where there is no band."""
        domain = self._function.site.attention.sources[self._source].domain
        inside = None if self._condition is None else classify(self._condition) or band(domain)
        if inside is None or inside == LinearBand():
            return ""
        query, key = Coordinate("i"), Coordinate("j")
        nearest: ScoreTree = key
        if inside.right is not None:
            nearest = make("min", nearest, make("add", query, inside.right))
        if inside.left is not None:
            nearest = make("max", nearest, make("sub", query, inside.left))
        return self._function.bind("nearest", self._piece(nearest).text)

    # Functions -----------------------------------------------------------------------------

    def _apply(self, tree: Apply) -> Piece:
        row = FUNCTIONS[tree.function]
        is_operator = row.torch.startswith("{a} ")
        if is_operator:
            pieces = [self._piece(_without_float(argument)) for argument in tree.arguments]
        else:
            pieces = [self._piece(argument) for argument in tree.arguments]
            if pieces[0].kind is Kind.NUMBER:
                pieces[0] = self._tensor(pieces[0], tree.arguments[0].type)
        floats = [at for at, part in enumerate(tree.arguments) if part.type == "float"]
        if floats and not any(pieces[at].kind is Kind.FLOAT for at in floats):
            pieces[floats[0]] = Piece(self._widened(pieces[floats[0]]), Kind.FLOAT)
        if all(piece.kind is Kind.NUMBER for piece in pieces):
            kind = Kind.NUMBER
        else:
            kind = Kind.FLOAT if tree.type == "float" else Kind.INDEX
        return Piece(self._filled(row.torch, [piece.text for piece in pieces]), kind)

    def _filled(self, template: str, texts: list[str]) -> str:
        """Fill a template; where that gets too long, name the longest parts first."""
        filled = fill(template, *texts)
        while len(filled) > LONGEST and not all(text.isidentifier() for text in texts):
            longest = max(range(len(texts)), key=lambda at: len(texts[at]))
            texts[longest] = self._function.bind("term", texts[longest])
            filled = fill(template, *texts)
        return filled

    def _widened(self, piece: Piece) -> str:
        """Return the piece in the working dtype, a number as a tensor without axes."""
        if piece.kind is Kind.FLOAT:
            return piece.text
        wide = self._function.working_dtype()
        if piece.kind is Kind.NUMBER:
            device = f"{self._function.query}.device"
            return f"torch.full((), {piece.text}, dtype={wide}, device={device})"
        return fill("{a}.to({b})", piece.text, wide)

    def _tensor(self, piece: Piece, type_: str) -> Piece:
        """Return a number as a tensor without axes; a tensor stays as it is."""
        if piece.kind is not Kind.NUMBER:
            return piece
        if type_ == "float":
            return Piece(self._widened(piece), Kind.FLOAT)
        return Piece(
            f"torch.full((), {piece.text}, device={self._function.query}.device)", Kind.INDEX
        )

    # Tensors -------------------------------------------------------------------------------

    def _load(self, tree: Load) -> Piece:
        is_float = tree.dtype == "float"
        name = (self._function.widened if is_float else self._function.tensor)(tree.tensor)
        kind = Kind.FLOAT if is_float else Kind.INDEX
        shape = self._function.tensor_type(tree.tensor).shape
        view = self._view(name, tree.indices, shape)
        return Piece(self._gathered(name, tree.indices, shape) if view is None else view, kind)

    def _among(self, tree: Among) -> Piece:
        """Read a table, made once, of which numbers each row of the index holds."""
        table = self._function.member_table(tree.row.tensor, tree.count)
        shape = (*self._function.tensor_type(tree.row.tensor).shape[:-1], tree.count)
        indices = (*tree.row.indices, tree.value)
        view = self._view(table, indices, shape)
        return Piece(view or self._gathered(table, indices, shape), Kind.INDEX)

    def _view(self, name: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> str | None:
        """Return `bias[:, None, :n]` where each index is a coordinate of its own or a scalar."""
        if any(index in self._function.known[self._source] for index in indices):
            return None
        axes = [index for index in indices if isinstance(index, Coordinate)]
        names = [index.name for index in axes if index.name in COORDINATES]
        scalars = [index for index in indices if is_scalar(index)]
        if len(set(names)) + len(scalars) < len(indices):
            return None
        slices = [self._slice(index, size) for index, size in zip(indices, shape, strict=True)]
        kept = [part for part in slices if part is not None]
        if len(kept) < len(indices):
            return None
        if names == sorted(names, key=COORDINATES.index):
            return _subscripted(name, _spread(indices, kept))
        name = _subscripted(name, kept)
        order = sorted(names, key=COORDINATES.index)
        name = f"{name}.permute({', '.join(str(names.index(axis)) for axis in order)})"
        return _subscripted(name, _spread([*map(Coordinate, order)], [":"] * len(order)))

    def _slice(self, index: ScoreTree, size: Size) -> str | None:
        """Return what of an axis an index runs over; none where it may leave the axis."""
        if not isinstance(index, Coordinate):
            return self._piece(index).text
        extent = self._function.coordinate_size(index.name, self._source)
        if extent == size:
            return ":"
        if self._condition is not None and not at_least(size, extent):
            return None
        return f":{self._function.size(extent)}"

    def _gathered(self, name: str, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> str:
        """Return `bias[h, i - j + 7]`."""
        if self._selects and coordinates(indices[-1]) == {"i", "j"}:
            whole = self._view_ahead(name, indices[:-1], shape)
            if whole is not None:
                return self._selected(whole, indices[-1], shape[-1])
        return f"{name}[{', '.join(self._places(indices, shape))}]"

    def _view_ahead(
        self, name: str, ahead: Sequence[ScoreTree], shape: Sequence[Size]
    ) -> str | None:
        """Return a view whose axes but the last are those of scores before i and j, or none."""
        names = [index.name for index in ahead if isinstance(index, Coordinate)]
        if len(names) < len(ahead) or names not in ([], ["h"], ["b", "h"]):
            return None
        slices = [self._slice(index, size) for index, size in zip(ahead, shape, strict=False)]
        kept = [part for part in slices if part is not None]
        return _subscripted(name, kept) if len(kept) == len(slices) else None

    def _selected(self, name: str, index: ScoreTree, size: Size) -> str:
        """Return `bias.index_select(-1, at.flatten()).unflatten(-1, at.shape)`."""
        at = self._function.bind("at", self._inside(index, size))
        return f"{name}.index_select(-1, {at}.flatten()).unflatten(-1, {at}.shape)"

    def _places(self, indices: Sequence[ScoreTree], shape: Sequence[Size]) -> list[str]:
        """Return indices as tensors that broadcast over [b, h, n, m], none outside the tensor."""
        return [self._inside(index, size) for index, size in zip(indices, shape, strict=True)]

    def _inside(self, index: ScoreTree, size: Size) -> str:
        """Clamp an index that leaves the tensor at pairs which the domain or mask forbids."""
        written = self._piece(index).text
        if self._condition is not None:
            low, high = interval(index, self._ranges())
            least = "" if low is not None and at_least(low, 0) else "min=0"
            fits = high is not None and at_least(size - 1, high)
            most = "" if fits else f"max={self._function.size(size - 1)}"
            if least or most:
                limits = ", ".join(limit for limit in (least, most) if limit)
                if len(written) + len(limits) > LONGEST:
                    written = self._function.bind("index", written)
                written = f"{fill('{a}.clamp', written)}({limits})"
        is_long = len(written) > LONGEST // 2
        return self._function.bind("index", written) if is_long else written

    def _ranges(self) -> dict[str, Interval]:
        """Return what coordinates run over; the nearest key may lie beyond the last one."""
        known = COORDINATES[:-1] if self._key else COORDINATES
        sizes = {name: self._function.coordinate_size(name, self._source) for name in known}
        whole = {name: whole_range(size) for name, size in sizes.items()}
        return {**whole, **self._function.ranges}


def _is_fragile(tree: ScoreTree) -> bool:
    """Say whether a function that may lack a finite value reads the key's coordinate."""
    return any(
        isinstance(part, Apply) and not FUNCTIONS[part.function].finite and "j" in coordinates(part)
        for part in subtrees(tree)
    )


def _without_float(tree: ScoreTree) -> ScoreTree:
    """Drop a conversion that torch's own promotion makes."""
    match tree:
        case Apply("float", (inner,)):
            return inner
    return tree


def _spread(indices: Sequence[ScoreTree], items: Sequence[str]) -> list[str]:
    """Add `None` for each coordinate that is missing after the first; they are in order."""
    spread: list[str] = []
    missing: list[str] = []
    for index, item in zip(indices, items, strict=True):
        if isinstance(index, Coordinate):
            at = COORDINATES.index(index.name)
            spread += ["None"] * (missing.index(index.name) if missing else 0)
            missing = list(COORDINATES[at + 1 :])
        spread.append(item)
    return spread + ["None"] * len(missing)


def _subscripted(name: str, items: Sequence[str]) -> str:
    return name if all(item == ":" for item in items) else f"{name}[{', '.join(items)}]"
