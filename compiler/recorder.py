"""Recording what modules inside a model take and give, in order of execution."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from attnc.compiler.parity import Tap


@dataclass(frozen=True, slots=True)
class Seen:
    """What was at a tap at its first call: a tensor, or why there is none."""

    tensor: Tensor | None = None
    problem: str = ""


class Recorder:
    """Watches taps of a model while it is entered as a context.

    Attributes:
        seen: tap -> what was there; in order of execution, then taps that saw nothing.
    """

    def __init__(self, model: nn.Module, taps: list[Tap]) -> None:
        self.model = model
        self.taps = taps
        self.seen: dict[Tap, Seen] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Recorder:
        modules = dict(self.model.named_modules())
        for tap in self.taps:
            if tap.path in modules:
                self._handles.append(self._watch(tap, modules[tap.path]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        known = {path for path, _ in self.model.named_modules()}
        for tap in self.taps:
            why = "did not run" if tap.path in known else "is no module of the model"
            self.seen.setdefault(tap, Seen(problem=f"{tap.path!r} {why}"))

    def _watch(self, tap: Tap, module: nn.Module) -> RemovableHandle:
        def before(_: nn.Module, arguments: tuple[object, ...]) -> None:
            self._keep(tap, _item(arguments, tap.argument))

        def after(_: nn.Module, arguments: tuple[object, ...], result: object) -> None:
            results = result if isinstance(result, (tuple, list)) else (result,)
            self._keep(tap, _item(tuple(results), tap.result))

        if tap.argument is not None:
            return module.register_forward_pre_hook(before)
        return module.register_forward_hook(after)

    def _keep(self, tap: Tap, seen: Seen) -> None:
        self.seen.setdefault(tap, seen)


def _item(values: tuple[object, ...], index: int | None) -> Seen:
    if index is None and len(values) > 1:
        return Seen(problem=f"there are {len(values)} results; say which: `path[0]`")
    if (index or 0) >= len(values):
        return Seen(problem=f"there are only {len(values)}, counted from 0")
    value = values[index or 0]
    if not isinstance(value, Tensor):
        return Seen(problem=f"it is no tensor but a {type(value).__name__}")
    return Seen(value.detach().clone())  # the model may go on to write into it
