"""The catalogue of errors: one entry each. Raise sites pass values only.

E1xx reading, E2xx names, values and shapes, E3xx lowering, E4xx backends, E5xx weights and parity,
E6xx command line and environment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attnc.dsl.diagnostics import Diagnostic, Note
from attnc.dsl.spans import Span


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of error.

    Attributes:
        code: `E203`; never reused.
        title: a short name for the catalogue.
        message: template of the one-line message.
        help: template of the remedy, or none.
        meaning: why it is an error and how to think about it, for `attnc explain E203`.
        wrong: the smallest failing example (a spec in `.attn`, or a command).
        right: the same, mended.
    """

    code: str
    title: str
    message: str
    help: str | None = None
    meaning: str = ""
    wrong: str = ""
    right: str = ""

    def at(
        self,
        span: Span | None,
        *,
        label: str = "",
        notes: Iterable[Note] = (),
        hint: str | None = None,
        **values: object,
    ) -> Diagnostic:
        """Fill the templates. `hint` replaces the remedy, for a did-you-mean for instance."""
        remedy = hint or (self.help.format(**values) if self.help else None)
        message = self.message.format(**values)
        return Diagnostic(self.code, message, span, label, tuple(notes), remedy)


CATALOGUE: dict[str, Problem] = {}


def _problem(code: str, title: str, message: str, help: str | None = None, **text: str) -> Problem:
    if code in CATALOGUE:
        raise ValueError(f"{code} is taken")
    problem = Problem(code, title, message, help, **text)
    CATALOGUE[code] = problem
    return problem


UNREADABLE = _problem(
    "E100", "unreadable file", "cannot read {name}: {reason}",
    "check the path and its permissions",
)  # fmt: skip
NOT_UTF8 = _problem(
    "E101", "not UTF-8", "{name} is not UTF-8 text: byte {byte} at offset {offset}",
    "save the file as UTF-8",
)  # fmt: skip
TOO_LARGE = _problem(
    "E102", "file too large", "{name} has {size} bytes; a spec may have {limit}",
    "split large tables off into weights; a spec holds architecture only",
)  # fmt: skip
TOO_DEEP = _problem(
    "E103", "nested too deeply", "nesting is deeper than {limit} levels",
    "name the inner parts and refer to them",
)  # fmt: skip
YAML_SYNTAX = _problem(
    "E104", "YAML syntax", "{detail}", "quote the value, or mend the indentation"
)
DUPLICATE_KEY = _problem(
    "E105", "duplicate key", "key {key!r} stands here twice", "remove or rename one of the two",
)  # fmt: skip
ALIASES = _problem(
    "E106", "too many aliases", "aliases expand to more than {limit} nodes",
    "use blocks in place of YAML anchors",
)  # fmt: skip
TEXT_SYNTAX = _problem("E107", "syntax", "unexpected {found}; expected {expected}")
UNKNOWN_KEY = _problem("E108", "unknown key", "unknown key {key!r} in {where}")
MISSING_KEY = _problem("E109", "missing key", "{where} lacks {key!r}", "add `{key}`")
WRONG_KIND = _problem("E110", "wrong kind of value", "{where} takes {expected}, not {found}")
VERSION = _problem(
    "E111", "language version", "language version {version} is not known; this attnc reads 1",
)  # fmt: skip

UNDEFINED = _problem("E201", "undefined name", "{name!r} is not defined here")
UNKNOWN_OP = _problem("E202", "unknown operator", "there is no operator or block {name!r}")
SHAPE = _problem("E203", "shape conflict", "{what}: expected {expected}, got {found}")
RANK = _problem("E204", "wrong rank", "{what} takes a tensor of shape {expected}, got {found}")
ARGUMENT = _problem("E205", "bad argument", "{op}: {detail}")
UNBOUND_DIM = _problem(
    "E206", "unbound size", "size {name!r} is bound by no input and no param",
    "use it in the shape of an input, or give a number",
)  # fmt: skip
OUT_OF_RANGE = _problem("E207", "out of range", "param {name!r} is {value}, must be {bound}")
BAD_SET = _problem("E208", "bad override", "--set {text!r}: {detail}")
UNKNOWN_PARAM = _problem("E209", "unknown param", "there is no param {name!r}")
UNKNOWN_VARIANT = _problem("E210", "unknown variant", "there is no variant {name!r}")
CYCLE = _problem(
    "E211", "block calls itself", "block {name!r} calls itself: {path}",
    "use `repeat` or `for`; blocks do not recurse",
)  # fmt: skip
LABEL_CLASH = _problem(
    "E212", "label clash", "two different modules are called {path!r}",
    "give one of them another @label, or share it with `use`",
)  # fmt: skip
UNUSED_OUTPUT = _problem(
    "E213", "value never used", "{what} is never used",
    "use it, make it an output, or remove it",
)  # fmt: skip
NOT_A_TENSOR = _problem("E214", "wrong kind of operand", "{detail}")
UNDECIDED = _problem(
    "E215", "size comparison undecided", "whether {left} {operator} {right} depends on the input",
    "decide by params, or fix the size of the input",
)  # fmt: skip
UNPACK = _problem("E216", "unpacking", "{targets} names on the left, {values} values on the right")
TOO_MANY_STEPS = _problem(
    "E217", "too much to unroll", "elaboration takes more than {limit} steps",
    "check the counts of `repeat` and `for`",
)  # fmt: skip
REDEFINED = _problem("E218", "defined twice", "{name!r} is defined twice", "rename one of the two")
RETURN = _problem("E219", "bad return", "{detail}")
DIVISION = _problem("E220", "division", "{detail}")
SCORE = _problem("E221", "bad score expression", "{detail}")
NO_VALUE = _problem(
    "E222", "param has no value", "param {name!r} has no default and was given no value",
    "pass `--set {name}=...`, or choose a variant",
)  # fmt: skip
DTYPE = _problem("E223", "wrong dtype", "{what} takes {expected} tensors, got {found}")
TRAIN_ONLY = _problem(
    "E224", "value of training mode only", "{name!r} exists in training mode only",
    "use it inside `when train`, or make it an output there",
)  # fmt: skip
NO_MEMBER = _problem("E225", "no such part", "{what} has no {part} {name}")

UNSOLVED_SIZE = _problem(
    "E301", "size not computable", "size {size} cannot be computed from the inputs of {name!r}",
    "give it an input with an axis of that size",
    meaning="Generated code computes symbolic sizes from the shapes of the tensors it is given. "
    "Of the model's inputs no axis, and no combination of axes, determines this size.",
)  # fmt: skip
INSTANCE = _problem(
    "E302", "one instance, two sets of weights",
    "{path} has shape {first} in one call and {second} in another",
    "make two instances with `use`, or call the instance with equal widths",
    meaning="Calls of one instance share its weights, so each weight has one shape.",
)  # fmt: skip
RESERVED_LABEL = _problem(
    "E303", "reserved label", "a module cannot be called {name!r}: torch modules use that name",
    "choose another @label",
    meaning="The names of sub-modules and weights become attributes of torch.nn.Module, which has "
    "attributes of its own such as `train`, `type` and `half`.",
)  # fmt: skip

UNKNOWN_TARGET = _problem(
    "E401", "unknown target", "there is no target {text!r}; there are {known}",
    meaning="Kernels are generated and checked for these devices only.",
)  # fmt: skip
NO_BACKEND = _problem(
    "E402", "no backend", "no backend computes {site} on {target}",
    meaning="Every backend was asked and each gave its reason.",
)  # fmt: skip
SIZE_VALUE = _problem(
    "E403", "size without a value", "{names} have no value here",
    "give each a number: {example}",
    meaning="FLOPs and bytes are counted for concrete sizes of the inputs.",
)  # fmt: skip

NOT_SAFETENSORS = _problem(
    "E500", "not a safetensors file", "{name} is not a safetensors file: {detail}",
    "convert pickled checkpoints with `safetensors.torch.save_file` where you trust them",
)  # fmt: skip
TRUNCATED = _problem(
    "E501", "truncated checkpoint", "{name} is cut short: {detail}", "fetch the file again",
)  # fmt: skip
TENSOR_RECORD = _problem("E502", "bad tensor record", "{name}: tensor {tensor!r} {detail}")
WEIGHT_RULE = _problem("E503", "bad weight rule", "{detail}")
UNKNOWN_SOURCE = _problem("E504", "unknown weight source", "there is no weight source {name!r}")
WEIGHTS_MISFIT = _problem(
    "E505", "weights do not fit", "{count} of the weights in {name} do not fit this model",
    "see them all with `attnc weights check`",
)  # fmt: skip
NOT_EQUAL = _problem(
    "E506", "tied weights differ", "{names} of {name} are one weight here, but are not equal",
    "map them to weights of their own, or mend the checkpoint",
)  # fmt: skip
UNWRITABLE = _problem(
    "E507", "cannot write", "cannot write {name}: {reason}", "check the path and its permissions",
)  # fmt: skip
GOLDEN = _problem("E508", "bad golden file", "{name}: {detail}")
PARITY = _problem("E509", "bad parity data", "{detail}")

MISSING_PACKAGE = _problem(
    "E610", "package not installed", "the package {package!r} is not installed",
    "install it into this environment: `pip install {package}`",
)  # fmt: skip
OPTION = _problem("E611", "bad option", "{option}: {detail}")
EXISTS = _problem(
    "E612", "file exists", "{name} exists already", "choose another path, or pass `--force`",
)  # fmt: skip
UNKNOWN_TOPIC = _problem(
    "E613", "nothing to explain", "there is no error code, block or operator {name!r}",
    "`attnc explain` without a name lists all of them",
)  # fmt: skip
EDITED = _problem(
    "E620", "edited file", "{name} was edited after attnc wrote it",
    "keep your edits elsewhere, or pass `--force` to write over them",
    meaning="The manifest has a hash of every file that attnc wrote; this one has another.",
)  # fmt: skip
FOREIGN = _problem(
    "E621", "file of another origin", "{name} exists and was not written by attnc",
    "choose another directory, or pass `--force` to write over it",
    meaning="Only files that the manifest beside them lists are written over.",
)  # fmt: skip
INTERNAL = _problem(
    "E690", "bug in attnc", "internal error: {error}",
    "this is a bug in attnc; please send the report {report}\n"
    "ATTNC_TRACEBACK=1 shows the traceback here",
)  # fmt: skip

UNKNOWN_ZOO = _problem(
    "E600", "unknown zoo system", "there is no {name!r}", "`attnc zoo list` prints the names",
)  # fmt: skip
