"""The one place where outcomes and errors become output and exit codes.

Exit codes: 0 done; 1 the spec or comparison is wrong; 2 wrong usage; 3 this machine cannot;
70 a bug in attnc; 130 interrupted; 141 the reader of stdout went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from attnc.cli.outcome import Outcome
from attnc.cli.progress import watched
from attnc.cli.terminal import ColorChoice, has_color
from attnc.dsl import codes
from attnc.dsl.diagnostics import AttncError, EnvironmentLacks
from attnc.dsl.render import render_github, render_json, render_text

INTERRUPTED = 130
READER_GONE = 141


@dataclass(frozen=True, slots=True)
class Style:
    """How to present: the options that all verbs share."""

    json: bool = False
    color: ColorChoice = "auto"
    quiet: bool = False
    verbose: bool = False


class InternalError(AttncError):
    """A bug in attnc, as a diagnostic."""

    exit_code = 70


def present(command: str, run: Callable[[], Outcome], style: Style) -> int:
    """Run a verb, print what it gives, and return the exit code."""
    try:
        with watched(style.json or style.quiet, style.color):
            outcome, exit_code = _outcome(run)
        _print(command, outcome, exit_code, style)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return exit_code


def _outcome(run: Callable[[], Outcome]) -> tuple[Outcome, int]:
    try:
        outcome = run()
    except AttncError as error:
        return _failed(error)
    except BrokenPipeError:
        raise
    except ModuleNotFoundError as error:
        return _failed(_missing_package(error))
    except Exception as error:
        return _failed(_internal(error))
    return outcome, outcome.exit_code


def _failed(error: AttncError) -> tuple[Outcome, int]:
    return Outcome(diagnostics=error.diagnostics, dropped=error.dropped), error.exit_code


def _missing_package(error: ModuleNotFoundError) -> AttncError:
    package = (error.name or "").partition(".")[0]
    if package in {"", "attnc"}:
        return _internal(error)
    return EnvironmentLacks([codes.MISSING_PACKAGE.at(None, package=package)])


def _internal(error: Exception) -> AttncError:
    """Save the traceback to a file: people see where it is, and `ATTNC_TRACEBACK=1` shows it."""
    import platform
    import tempfile
    import traceback

    from attnc import __version__

    trace = "".join(traceback.format_exception(error))
    if os.environ.get("ATTNC_TRACEBACK"):
        sys.stderr.write(trace)
    with tempfile.NamedTemporaryFile(
        "w", prefix="attnc-report-", suffix=".txt", delete=False, encoding="utf-8"
    ) as report:
        report.write(f"attnc {__version__}, Python {platform.python_version()}\n")
        report.write(f"arguments: {sys.argv[1:]}\n\n{trace}")
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return InternalError([codes.INTERNAL.at(None, error=what, report=report.name)])


def _print(command: str, outcome: Outcome, exit_code: int, style: Style) -> None:
    if style.json:
        found = outcome.diagnostics
        sys.stdout.write(render_json(found, command, exit_code == 0, outcome.result))
        return
    sys.stdout.write(outcome.text)
    sys.stdout.flush()
    REPORTS[outcome.report](outcome, style)
    lines = (() if style.quiet else outcome.messages) + (outcome.details if style.verbose else ())
    for line in lines:
        sys.stderr.write(f"{line}\n")


def _report_text(outcome: Outcome, style: Style) -> None:
    color = has_color(sys.stderr, style.color)
    sys.stderr.write(render_text(outcome.diagnostics, color, outcome.dropped))


def _report_github(outcome: Outcome, _style: Style) -> None:
    sys.stdout.write(render_github(outcome.diagnostics))


def _report_sarif(outcome: Outcome, _style: Style) -> None:
    from attnc.dsl.sarif import render_sarif

    sys.stdout.write(render_sarif(outcome.diagnostics))


REPORTS: dict[str, Callable[[Outcome, Style], None]] = {
    "text": _report_text,
    "github": _report_github,
    "sarif": _report_sarif,
}
