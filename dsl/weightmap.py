"""The `weights:` data: rules between a checkpoint's names and ours, matched both ways.

```yaml
weights:
  official:
    source: {repository: owner/name, file: model.safetensors}
    prefix: "model."
    map:
      - "patch_embed.{i}.proj.*": "patch_embed.{i}.*"
      - {from: "layers.{l}.attn.in_proj_{p}", to: "layers.{l}.attn.{q,k,v}.{p}", ops: [{split: 0}]}
    unused: ["head_aux.*", "*.num_batches_tracked"]
```
Of the rules that match a name and lead to names of ours, the first counts; a name that none of
them takes and that is ours as it stands needs no rule. Patterns: `attnc.dsl.name_pattern`;
operations: `attnc.dsl.weight_ops_reader`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from attnc.dsl import codes, tree
from attnc.dsl.diagnostics import Collector, UsageError
from attnc.dsl.name_pattern import Pattern
from attnc.dsl.plain_data import Record
from attnc.dsl.spans import Span
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.weight_ops import Op, inverted
from attnc.dsl.weight_rules import Rule, read_patterns, read_rules


@dataclass(frozen=True, slots=True)
class Link:
    """Tensors of a checkpoint, the weights of ours that they are, and what lies between."""

    official: tuple[str, ...]
    ours: tuple[str, ...]
    ops: tuple[Op, ...] = ()
    span: Span | None = None

    def reversed(self) -> Link:
        """Return the link with its sides, and its operations, the other way round."""
        return Link(self.ours, self.official, inverted(self.ops), self.span)


@dataclass(frozen=True, slots=True)
class Matching:
    """Names brought together.

    Attributes:
        links: every tensor and every weight stands in at most one.
        unused: tensors that are declared so, and lead nowhere.
        unexpected: tensors that lead nowhere.
        missing: weights that nothing leads to.
        rivals: tensors that lead to weights of an earlier link -> those weights.
    """

    links: tuple[Link, ...]
    unused: tuple[str, ...]
    unexpected: tuple[str, ...]
    missing: tuple[str, ...]
    rivals: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class WeightMap:
    """The rules of one source.

    Attributes:
        name: of the source: `official`.
        origin: where its checkpoints come from: `repository`, `file`, ...
        prefix: stands before every name; names without it belong to something else.
        unused: what the official forward never reads.
    """

    name: str = ""
    origin: Mapping[str, str] | None = None
    prefix: str = ""
    rules: tuple[Rule, ...] = ()
    unused: tuple[Pattern, ...] = ()

    def ignoring(self, unused: tuple[Pattern, ...]) -> WeightMap:
        """Return the map with more names declared unused."""
        return replace(self, unused=self.unused + unused)

    def match(self, official: Collection[str], ours: Collection[str]) -> Matching:
        """Bring the names of a checkpoint, prefix and all, together with ours."""
        known = frozenset(name for name in official if name.startswith(self.prefix))
        links = {name: self._link(name, known, ours) for name in sorted(known)}
        return self._settled(links, ours)

    def match_back(self, ours: Collection[str]) -> Matching:
        """Find the names that our weights have in a checkpoint of this source."""
        links: dict[str, Link | None] = {}
        led: set[str] = set()
        for name in sorted(ours):
            link = None if name in led else self._link_back(name, ours)
            if link:
                links |= dict.fromkeys(link.official, link)
                led |= set(link.ours)
        return self._settled(links, ours)

    def _link(self, name: str, official: Collection[str], ours: Collection[str]) -> Link | None:
        """Return the link that the first rule for a tensor gives, or none."""
        bare = name.removeprefix(self.prefix)
        for link in self._candidates(bare, forward=True):
            if all(n in official for n in link.official) and all(n in ours for n in link.ours):
                return link
        return None

    def _link_back(self, name: str, ours: Collection[str]) -> Link | None:
        """Return the first link to a weight that its tensors' names would also lead to."""
        for link in self._candidates(name, forward=False):
            if all(self._link(n, link.official, ours) == link for n in link.official):
                return link
        return None

    def _candidates(self, name: str, forward: bool) -> Iterator[Link]:
        """Yield what each rule makes of a name (without prefix) on one of the sides."""
        for rule in self.rules:
            for sources, targets in rule.links(name, rule.sources if forward else rule.targets):
                official = tuple(self.prefix + source for source in sources)
                yield Link(official, targets, rule.ops, rule.span)
        yield Link((self.prefix + name,), (name,))

    def _settled(self, links: Mapping[str, Link | None], ours: Collection[str]) -> Matching:
        holders: dict[str, Link] = {}
        kept: dict[Link, None] = {}
        rivals: dict[str, tuple[str, ...]] = {}
        for name, link in links.items():
            if link is None or link in kept:
                continue
            if taken := tuple(weight for weight in link.ours if weight in holders):
                rivals[name] = taken
                continue
            kept[link] = None
            holders |= dict.fromkeys(link.ours, link)
        lost = [name for name, link in links.items() if link is None]
        unused = tuple(name for name in lost if self._is_unused(name))
        return Matching(
            links=tuple(kept),
            unused=unused,
            unexpected=tuple(name for name in lost if name not in unused),
            missing=tuple(sorted(name for name in ours if name not in holders)),
            rivals=rivals,
        )

    def _is_unused(self, name: str) -> bool:
        bare = name.removeprefix(self.prefix)
        return any(pattern.match(bare) is not None for pattern in self.unused)


def read_weight_maps(
    data: tree.Expr | None, params: Mapping[str, object], collector: Collector
) -> dict[str, WeightMap]:
    """Read all sources of `weights:`; sizes inside are expressions over `params`."""
    if data is None:
        return {}
    sources = Record.of(data, "weights", collector)
    return {
        name: _weight_map(name, node, params, collector) for name, node in sources.items.items()
    }


def weight_map(
    spec: tree.Spec, params: Mapping[str, object], source: str | None = None
) -> WeightMap:
    """Return the map of one source of a spec; without `source`, of the first.

    A spec without `weights:` has a map that takes names as they are.

    Raises:
        SpecError: the data of the spec is wrong.
        UsageError: there is no such source.
    """
    collector = Collector()
    maps = read_weight_maps(spec.weights, params, collector)
    collector.raise_if_any()
    if not source:
        return next(iter(maps.values()), WeightMap())
    if source not in maps:
        hint = did_you_mean(source, maps) or _listed(maps)
        raise UsageError([codes.UNKNOWN_SOURCE.at(None, name=source, hint=hint)])
    return maps[source]


def _weight_map(
    name: str, node: tree.Expr, params: Mapping[str, object], collector: Collector
) -> WeightMap:
    record = Record.of(node, f"source {name!r} of weights", collector)
    origin = record.record("source")
    found = WeightMap(
        name=name,
        origin={key: origin.text(key) for key in origin.items},
        prefix=record.text("prefix"),
        rules=read_rules(record.take("map"), "map", params, collector),
        unused=read_patterns(record.take("unused"), "unused", collector),
    )
    record.close()
    return found


def _listed(maps: Mapping[str, WeightMap]) -> str:
    return f"sources: {', '.join(maps)}" if maps else "this spec has no `weights`"
