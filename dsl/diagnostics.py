"""Diagnostics as values: collected, sorted, shown all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from attnc.dsl.spans import Span, SpanChain


@dataclass(frozen=True, slots=True)
class Note:
    """A further place that matters: the other side of a conflict, a use site."""

    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding, made by `codes.Problem.at`.

    Attributes:
        code: `E203`.
        message: one line, what is wrong, with names and values.
        span: where; none where there is no text, as for `--set`.
        label: what stands under the caret; may be empty.
        notes: derivations and use sites, in order.
        help: the remedy, or none.
    """

    code: str
    message: str
    span: Span | None
    label: str = ""
    notes: tuple[Note, ...] = ()
    help: str | None = None


@dataclass(slots=True)
class Collector:
    """Gathers diagnostics of one run; the first `limit` are kept, the rest counted."""

    limit: int = 100
    found: list[Diagnostic] = field(default_factory=list)
    dropped: int = 0
    _seen: set[tuple[object, ...]] = field(default_factory=set)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic unless the same finding at the same place is there already."""
        span = diagnostic.span
        where = (span.source.name, span.start, span.end) if span else None
        key = (diagnostic.code, diagnostic.message, where)
        if key in self._seen:
            return
        if len(self.found) >= self.limit:
            self.dropped += 1
            return
        self._seen.add(key)
        self.found.append(diagnostic)

    def absorb(self, other: Collector) -> None:
        """Take over what another collector has heard."""
        for diagnostic in other.found:
            self.add(diagnostic)
        self.dropped += other.dropped

    def raise_if_any(self) -> None:
        """Raise all that was found as one error.

        Raises:
            SpecError: at least one diagnostic was added.
        """
        if self.found:
            raise SpecError(self.found, self.dropped)


class AttncError(Exception):
    """Base of all errors that attnc raises on purpose.

    Attributes:
        diagnostics: sorted by file and position.
        exit_code: of the command line: 1 the spec or comparison, 2 usage, 3 the environment.
    """

    exit_code = 1

    def __init__(self, diagnostics: Iterable[Diagnostic], dropped: int = 0) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=place))
        self.dropped = dropped
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in self.diagnostics))


class SpecError(AttncError):
    """The spec is wrong."""


class UsageError(AttncError):
    """The command or call is wrong: an unknown zoo name, a bad `--set`."""

    exit_code = 2


class EnvironmentLacks(AttncError):
    """This machine cannot do it: no GPU, a missing package, an unreadable file."""

    exit_code = 3


def place(diagnostic: Diagnostic) -> tuple[str, int, str]:
    """Return what diagnostics are sorted by: file, offset, code; those without a place first."""
    span = diagnostic.span
    return (span.source.name, span.start, diagnostic.code) if span else ("", -1, diagnostic.code)


def with_use_sites(diagnostic: Diagnostic, chain: SpanChain) -> Diagnostic:
    """Return the diagnostic with one note for each use site, innermost first.

    What goes wrong inside the standard library is shown at the place that used it, which is where
    the remedy lies; the place inside becomes the first note.
    """
    notes = list(diagnostic.notes)
    span = diagnostic.span
    sites = [site for site in reversed(chain) if span is None or not _holds(site, span)]
    inner = [] if span is None else [span, *sites]
    outside = next((at for at, each in enumerate(inner) if not _is_library(each)), 0)
    if outside:
        span, notes = inner[outside], [Note("inside the standard library", inner[0]), *notes]
        sites = inner[1:outside] + inner[outside + 1 :]
    return replace(
        diagnostic, span=span, notes=(*notes, *(Note("used here", site) for site in sites))
    )


def _holds(site: Span, span: Span) -> bool:
    """Say whether a call is the one that the place stands in, so that showing it adds nothing."""
    return site.source is span.source and site.start <= span.start and span.end <= site.end


def _is_library(span: Span) -> bool:
    return span.source.name.startswith("std:")
