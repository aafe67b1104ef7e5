"""What generated code calls tensors and sizes, and how its launcher finds the sizes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass

from attnc.compiler.kernel import Site
from attnc.compiler.sizes import Arithmetic, Axis, Recipe, Sizes
from attnc.dsl.dims import Shape, Size
from attnc.dsl.scorelang import fill

RESERVED = frozenset({
    "q", "k", "v", "b", "h", "i", "j", "n", "m", "qk", "s", "p", "acc", "out", "lse", "peak",
    "total", "part", "result", "delta", "gain", "tile", "tiles", "rows", "cols", "keep",
    "begin", "end", "whole", "rest", "first", "last", "near", "at", "batch", "heads", "group",
    "member", "span", "shared", "wanted", "grad", "weight", "slope", "bits", "tl", "torch",
    "triton", "jit", "place", "load_rows", "store_rows", "load_lse", "card_of", "dot_precision",
    "tile_for", "token_rows", "by_query", "by_pair", "by_offset", "read_gradient", "relaid",
    "if_wanted",
    "plain_gradients", "parts", "ctx", "inputs", "output", "grads", "place_block", "block", "start",
    "slot", "slots", "slot_i", "slot_j", "slots_i", "slots_j", "token", "exists", "length", "item",
    "pack", "programs", "x", "y", "z", "w", "dp", "ds", "share", "extra", "sums", "normal", "added",
    "sink", "bound", "depth", "vq", "height", "width", "count", "once", "rows_naming",
    "places_naming", "columns", "pulled", "alone",
})  # fmt: skip
"""Names that generated code uses itself, each also with digits after it."""


class Unknown(Exception):
    """A size cannot be told from the shapes of the tensors at hand."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A tensor that scores, masks or weights load.

    Attributes:
        tensor: what the attention calls it.
        name: what generated code calls it.
        shape: its sizes.
        dtype: `float`, `int` or `bool`.
        spread: whether it is a copy by batch, head, and query and key or what is between them, that
            the launcher makes, in rows that may be read past their ends.
    """

    tensor: str
    name: str
    shape: Shape
    dtype: str
    spread: bool = False

    @property
    def strides(self) -> str:
        """The name of the tuple of its strides."""
        return f"{self.name}_strides"


class Names:
    """The vocabulary of one site's kernels.

    Attributes:
        tensors: captured tensors by what the attention calls them, in argument order; then
            spread copies by names of their own.
        arguments: names of all tensor arguments of the entry, in order.
    """

    def __init__(self, site: Site, reserved: frozenset[str] = frozenset()) -> None:
        tags = [""] if len(site.sources) == 1 else [str(at) for at in range(len(site.sources))]
        self.tensors = _captured(site, RESERVED | reserved)
        shapes: list[Shape] = [site.q.shape]
        self.arguments = ["q"]
        self._sizes: dict[Size, str] = {site.q.shape[2]: "n", site.q.shape[1]: "heads"}
        self._hosts = {name: name for name in ("batch", "span", "parts", "heads", "n")}
        for tag, (k, v) in zip(tags, site.sources, strict=True):
            self.arguments += [f"k{tag}", f"v{tag}"]
            shapes += [k.shape, v.shape]
            self._sizes.setdefault(k.shape[2], f"m{tag}")
            self._hosts[f"m{tag}"] = f"k{tag}.shape[2]"
            self._hosts[f"group{tag}"] = f"heads // k{tag}.shape[1]"
        if site.vq is not None:
            self.arguments.append("vq")
            shapes.append(site.vq.shape)
        self.arguments += [each.name for each in self.tensors.values()]
        shapes += [each.shape for each in self.tensors.values()]
        self._recipes = Sizes(shapes)

    def size(self, size: Size) -> str:
        """Return a literal or the name of the kernel argument that holds a size.

        Raises:
            Unknown: the shapes of the tensors do not tell.
        """
        if isinstance(size, int):
            return str(size)
        if size not in self._sizes:
            recipe = self._recipes.recipe(size)
            if recipe is None:
                raise Unknown(f"the size {size} cannot be told from the shapes of the tensors")
            name = f"extent{sum(each.startswith('extent') for each in self._hosts)}"
            self._sizes[size] = name
            self._hosts[name] = self._written(recipe)
        return self._sizes[size]

    def derive(self, tensor: str, of: str, stem: str, shape: Shape) -> None:
        """Add an int tensor that the launcher makes of a captured one, unless there is one."""
        name = f"{self.tensors[of].name}_{stem}"
        self.tensors.setdefault(tensor, Captured(tensor, name, shape, "int"))

    def spread(self, tensor: str, over: str) -> str:
        """Add a copy of a captured tensor over `pairs` or the like; return what trees call it."""
        name = self._free(f"{self.tensors[tensor].name}_{over}")
        self.tensors[name] = Captured(name, name, (), "float", spread=True)
        return name

    def view(self, tensor: str, operand: str) -> Captured:
        """Add a view of a captured tensor by the rows of an operand, and return it."""
        found = self.tensors[tensor]
        name = self._free(f"{found.name}_of_{operand}")
        self.tensors[name] = Captured(name, name, (), found.dtype)
        return self.tensors[name]

    def host(self, name: str) -> str:
        """Return the launcher's expression for a size argument."""
        return self._hosts[name]

    def is_size(self, name: str) -> bool:
        """Say whether a kernel argument is a size."""
        return name in self._hosts

    def ordered(self, used: Iterable[str]) -> list[str]:
        """Return captured tensors, strides and sizes among `used`, in argument order."""
        order = [
            each for captured in self.tensors.values() for each in (captured.name, captured.strides)
        ]
        chosen = set(used)
        return [each for each in (*order, *self._hosts) if each in chosen]

    def _free(self, name: str) -> str:
        taken = {each.name for each in self.tensors.values()}
        while name in taken:
            name += "_"
        return name

    def _written(self, recipe: Recipe) -> str:
        match recipe:
            case Axis(port, axis):
                return f"{self.arguments[port]}.shape[{axis}]"
            case Arithmetic(operator, left, right):
                holes = f"{{a}} {operator} {{b}}"
                return fill(holes, self._written(left), self._written(right))
            case number:
                return str(number)


def _captured(site: Site, reserved: frozenset[str]) -> dict[str, Captured]:
    found: dict[str, Captured] = {}
    taken: set[str] = set()
    for tensor, type_ in zip(site.attention.tensors, site.tensors, strict=True):
        name = _identifier(tensor, reserved)
        while name in taken:
            name += "_"
        found[tensor] = Captured(tensor, name, type_.shape, type_.dtype)
        taken |= {name, f"{name}_strides", f"{name}_value", f"{name}_sums"}
    return found


def _identifier(text: str, reserved: frozenset[str]) -> str:
    name = re.sub(r"\W", "_", text).lstrip("_") or "tensor"
    plain = name.rstrip("0123456789_")
    if plain in reserved or not plain or keyword.iskeyword(name) or name[0].isdigit():
        return f"tensor_{name}"
    return name
