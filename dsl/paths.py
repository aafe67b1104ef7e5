"""Names of sub-modules and weights inside one body: what the state dict will call them."""

from __future__ import annotations

from dataclasses import dataclass, field


class PathTaken(Exception):
    """A path that another site holds; `other` is that site."""

    def __init__(self, path: str, other: object) -> None:
        super().__init__(path)
        self.path, self.other = path, other


@dataclass(slots=True)
class Paths:
    """Claims of paths by sites (expressions of the spec, by identity).

    A site inside loops claims one path for each turn: `blocks.0`, `blocks.1`. The same site may
    claim its path again: that is how a shared repeat ties weights.
    """

    _claimed: dict[str, object] = field(default_factory=dict)
    _prefixes: dict[str, object] = field(default_factory=dict)
    _bases: dict[int, str] = field(default_factory=dict)
    _used_bases: set[str] = field(default_factory=set)

    def claim(self, site: object, label: str | None, fallback: str, turns: tuple[int, ...]) -> str:
        """Return the path of a site.

        Args:
            label: the `@label`; none to take `fallback`, numbered where it is in use.
            turns: the index of every enclosing loop that does not share, outermost first.

        Raises:
            PathTaken: another site holds the path or a part of it.
        """
        base = label if label is not None else self._numbered(site, fallback)
        path = ".".join([base, *map(str, turns)])
        holder = self._holder(path)
        if holder is not None and holder is not site:
            raise PathTaken(path, holder)
        self._claimed[path] = site
        self._used_bases.add(base)
        while "." in path:
            path = path.rpartition(".")[0]
            self._prefixes.setdefault(path, site)
        return ".".join([base, *map(str, turns)])

    def _holder(self, path: str) -> object | None:
        if path in self._claimed:
            return self._claimed[path]
        if path in self._prefixes:
            return self._prefixes[path]
        while "." in path:
            path = path.rpartition(".")[0]
            if path in self._claimed:
                return self._claimed[path]
        return None

    def _numbered(self, site: object, fallback: str) -> str:
        known = self._bases.get(id(site))
        if known is not None:
            return known
        base, count = fallback, 0
        while base in self._used_bases:
            count += 1
            base = f"{fallback}_{count}"
        self._bases[id(site)] = base
        self._used_bases.add(base)
        return base
