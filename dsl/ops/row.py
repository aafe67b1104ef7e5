"""One row of the operator table: everything attnc knows about a plain operator.

FLOPs follow torch.utils.flop_counter: one multiply-add counts two, and only products of matrices
and convolutions (and attention) count; biases and element-wise work count nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union

from attnc.dsl.dims import Dim, Size
from attnc.dsl.graph import Arg, TensorType, Value, Weight
from attnc.dsl.ops.binding import bind, result_types
from attnc.dsl.ops.bound import Bound, Rule
from attnc.dsl.ops.mismatch import Mismatch
from attnc.dsl.ops.parameter import REQUIRED, Parameter
from attnc.dsl.ops.signature import parse, parse_entries

__all__ = ["REQUIRED", "Mismatch", "Op", "Parameter", "Template"]

EXTERNAL_HOLES = frozenset({"device", "dtype", "module"})
_OPTIONAL = re.compile(r"(?:, )?\w+=\{(\w+)\?\}")
_HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A Python expression over `torch`, `F`, `nn` and holes `{x}`.

    Three holes have no entry in `holes`; whoever fills the template knows them: `{device}` and
    `{dtype}`, those of the model's tensors, and `{module}`, the sub-module of the node.
    """

    text: str
    holes: Mapping[str, Arg]


Text = Union[str, Callable[[Bound], Union[Template, None]]]
"""The text of a template, or a function that makes it, with holes that are no arguments.

In a text, `bias={bias?}` is left out where the argument has its default, which therefore must be
torch's default too.
"""


@dataclass(frozen=True, slots=True)
class Op:
    """A plain operator.

    Attributes:
        name: as specs call it.
        family: the group of the table it stands in.
        doc: what it computes.
        signature: parameters and shape rules; see `signature`.
        call: the torch expression. None for a sub-module that is simply called.
        module: the torch.nn constructor, for an operator that is a sub-module.
        state: the sub-module's weights under their names in its state dict; one is absent where a
            flag of the same name is false.
        buffers: the same for what is not trained.
        rules: the rules that the signature calls, by name.
        derive: checks what patterns cannot say, raising Mismatch, and gives further names.
        cost: FLOPs of (bound, results); none for 0.
        result_fields: names of the results: `topk(x, 4).index`.
        is_tuple: whether the torch expression gives a tuple, even of one.
    """

    name: str
    family: str
    doc: str
    signature: str
    call: Text | None = None
    module: Text | None = None
    state: str = ""
    buffers: str = ""
    rules: Mapping[str, Rule] = field(default_factory=dict)
    derive: Callable[[Bound], Mapping[str, Arg]] | None = None
    cost: Callable[[Bound, Sequence[Value]], Size] | None = None
    result_fields: tuple[str, ...] = ()
    is_tuple: bool = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in order."""
        return parse(self.signature).parameters

    @property
    def has_weights(self) -> bool:
        """Whether a node of it is a sub-module with a path of its own.

        A sub-module may hold no weights: dropout is one for its training mode.
        """
        return self.module is not None

    def infer(self, args: Mapping[str, Arg]) -> tuple[TensorType, ...]:
        """Return the types of the results. `args` holds a value for every parameter.

        Raises:
            Mismatch: the arguments do not go with the operator.
        """
        bound = self._bound(args)
        types = result_types(parse(self.signature), bound)
        self._weights(bound)
        constructor = self._filled(self.module, bound)
        for name, value in constructor.holes.items() if constructor else ():
            _check_fixed(value, f"{name} of the module")
        return types

    def weights(self, args: Mapping[str, Arg]) -> Mapping[str, Weight]:
        """Return the weights and buffers under their names in the sub-module's state dict."""
        return self._weights(self._bound(args))

    def template(self, args: Mapping[str, Arg]) -> Template | None:
        """Return the torch expression.

        For a sub-module it is none where the call is plain, `{module}(*inputs)` with the `inputs`
        of the module template; else it wraps a call of `{module}`.
        """
        return self._filled(self.call, self._bound(args))

    def module_template(self, args: Mapping[str, Arg]) -> Template | None:
        """Return the constructor of the sub-module, or none.

        Its hole `inputs` is the tuple of tensors that the sub-module is called with, unless
        `template` gives the call.
        """
        bound = self._bound(args)
        made = self._filled(self.module, bound)
        if made is None or self._filled(self.call, bound) is not None:
            return made
        tensors = parse(self.signature).patterns
        return Template(made.text, {**made.holes, "inputs": tuple(args[name] for name in tensors)})

    def flops(self, args: Mapping[str, Arg], results: Sequence[Value]) -> Size:
        """Return the floating-point operations of one call, as torch's counter counts them."""
        return 0 if self.cost is None else self.cost(self._bound(args), results)

    def _bound(self, args: Mapping[str, Arg]) -> Bound:
        bound = bind(parse(self.signature), args, self.rules)
        if self.derive is not None:
            for name, value in self.derive(bound).items():
                bound.add(name, value)
        return bound

    def _weights(self, bound: Bound) -> Mapping[str, Weight]:
        weights: dict[str, Weight] = {}
        for text, is_trained in ((self.state, True), (self.buffers, False)):
            for entry in parse_entries(text):
                if bound.get(entry.name) is False:
                    continue
                sizes = bound.evaluate_shape(entry.pattern.axes)
                for size in sizes:
                    _check_fixed(size, f"a size of its {entry.name}")
                shape = tuple(size for size in sizes if isinstance(size, int))
                weights[entry.name] = Weight(shape, entry.init, is_trained, entry.pattern.dtype)
        return weights

    def _filled(self, text: Text | None, bound: Bound) -> Template | None:
        made = Template(text, {}) if isinstance(text, str) else text(bound) if text else None
        if made is None:
            return None
        shown = self._without_defaults(made.text, bound)
        names = [name for name in _HOLE.findall(shown) if name not in EXTERNAL_HOLES]
        extra = made.holes
        return Template(
            shown, {name: extra[name] if name in extra else bound[name] for name in names}
        )

    def _without_defaults(self, text: str, bound: Bound) -> str:
        defaults = {parameter.name: parameter.default for parameter in self.parameters}

        def shown(match: re.Match[str]) -> str:
            name = match[1]
            return "" if bound[name] == defaults[name] else match[0].replace("?}", "}")

        return _OPTIONAL.sub(shown, text).replace("(, ", "(")


def _check_fixed(value: Arg, what: str) -> None:
    """Check that what a sub-module is built from does not depend on the input."""
    if isinstance(value, Dim):
        raise Mismatch("argument", f"{what} would be {value}, which changes with the input")
