"""E2xx: names, values and shapes."""

from attnc.dsl.codes.problem import problem as _problem

UNDEFINED = _problem(
    "E201", "undefined name", "{name!r} is not defined here",
    meaning="Names are params, sizes bound by shapes, and what statements have bound so far. A "
    "block sees its own ports and params only, not what surrounds it.",
    wrong="""
        model m {
          input tokens: [b, n, 8]
          output y = relu(token)
        }
    """,
    right="""
        model m {
          input tokens: [b, n, 8]
          output y = relu(tokens)
        }
    """,
)  # fmt: skip
UNKNOWN_OP = _problem(
    "E202", "unknown operator", "there is no operator or block {name!r}",
    meaning="What is called is neither a block of this file or the standard library nor an "
    "operator; `attnc explain` lists them. Blocks of other files are not seen.",
    wrong="""
        model m {
          input x: [b, n, 8]
          output y = linaer(x, 8)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = linear(x, 8)
        }
    """,
)  # fmt: skip
SHAPE = _problem(
    "E203", "shape conflict", "{what}: expected {expected}, got {found}",
    meaning="A tensor has another size than the place it goes to. In a shape equal names stand for "
    "equal sizes; the notes say where a name got its size.",
    wrong="""
        model m {
          input x: [b, n, 8]
          input z: [b, n, 16]
          output y = x + z
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          input z: [b, n, 16]
          output y = x + linear(z, 8)
        }
    """,
)  # fmt: skip
RANK = _problem(
    "E204", "wrong rank", "{what} takes a tensor of shape {expected}, got {found}",
    meaning="The tensor has too many axes or too few. `rearrange` splits and merges axes; "
    "`reshape` and slices add and drop them.",
    wrong="""
        model m {
          input x: [b, n, 3]
          output y = conv2d(x, 8, 3)
        }
    """,
    right="""
        model m {
          input x: [b, 3, h, w]
          output y = conv2d(x, 8, 3)
        }
    """,
)  # fmt: skip
ARGUMENT = _problem(
    "E205", "bad argument", "{op}: {detail}",
    meaning="An argument is missing, unknown, given twice, of the wrong kind, or does not go with "
    "the others. `attnc explain NAME` prints the parameters of an operator or block.",
    wrong="""
        model m {
          input x: [b, n, 8]
          output y = linear(x, 8, biass = false)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = linear(x, 8, bias = false)
        }
    """,
)  # fmt: skip
UNBOUND_DIM = _problem(
    "E206", "unbound size", "size {name!r} is bound by no input and no param",
    "use it in the shape of an input, or give a number",
    meaning="A name alone in a shape is bound to the size found there. Inside an expression it "
    "must have a size already: equations are not solved.",
    wrong="""
        model m {
          input x: [b, n, 8]
          y: [b, n, 2 * half] = relu(x)
          output z = y
        }
    """,
    right="""
        model m(half = 4) {
          input x: [b, n, 8]
          y: [b, n, 2 * half] = relu(x)
          output z = y
        }
    """,
)  # fmt: skip
OUT_OF_RANGE = _problem(
    "E207", "out of range", "param {name!r} is {value}, must be {bound}",
    meaning="The param declares a least or largest value, or the choices there are, and was given "
    "another: by its default, a variant, `--set`, or the call of a block.",
    wrong="""
        model m(heads = 0 {min: 1}) {
          input x: [b, n, 8]
          output y = self_attention(x, heads = heads)
        }
    """,
    right="""
        model m(heads = 2 {min: 1}) {
          input x: [b, n, 8]
          output y = self_attention(x, heads = heads)
        }
    """,
)  # fmt: skip
BAD_SET = _problem(
    "E208", "bad override", "--set {text!r}: {detail}",
    meaning="An override reads `name=value`, where the value is written as in a spec. A path "
    "reaches into lists and maps: `stages.3.depth=2`.",
    wrong="$ attnc check zoo:vit --set haeds=8",
    right="$ attnc check zoo:vit --set heads=8",
)  # fmt: skip
UNKNOWN_PARAM = _problem(
    "E209", "unknown param", "there is no param {name!r}",
    meaning="A variant overrides params that the model declares; it cannot add any.",
    wrong="""
        model m(dim = 8) {
          variant small { dmi = 4 }
          input x: [b, n, 8]
          output y = linear(x, dim)
        }
    """,
    right="""
        model m(dim = 8) {
          variant small { dim = 4 }
          input x: [b, n, 8]
          output y = linear(x, dim)
        }
    """,
)  # fmt: skip
UNKNOWN_VARIANT = _problem(
    "E210", "unknown variant", "there is no variant {name!r}",
    meaning="The spec declares no variant of this name under `variants`.",
    wrong="$ attnc check zoo:vit --variant smal",
    right="$ attnc check zoo:vit --variant small",
)  # fmt: skip
CYCLE = _problem(
    "E211", "block calls itself", "block {name!r} calls itself: {path}",
    "use `repeat` or `for`; blocks do not recurse",
    meaning="Every call is unrolled before the model runs, so a block that calls itself, directly "
    "or through others, would never end.",
    wrong="""
        model m {
          input x: [b, n, 8]
          block f(x: [b, n, d]) { return f(relu(x)) }
          output y = f(x)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          block f(x: [b, n, d]) {
            repeat 3 { x = relu(x) }
            return x
          }
          output y = f(x)
        }
    """,
)  # fmt: skip
LABEL_CLASH = _problem(
    "E212", "label clash", "two different modules are called {path!r}",
    "give one of them another @label, or share it with `use`",
    meaning="A label is the name of a module in the state dict, so two modules of one name would "
    "have their weights under the same keys.",
    wrong="""
        model m {
          input x: [b, n, 8]
          h = linear(x, 16) @fc
          output y = linear(h, 8) @fc
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          h = linear(x, 16) @fc1
          output y = linear(h, 8) @fc2
        }
    """,
)  # fmt: skip
UNUSED_OUTPUT = _problem(
    "E213", "value never used", "{what} is never used",
    "use it, make it an output, or remove it",
    meaning="Nothing that reaches an output depends on this value. Where a name is bound anew "
    "before its old value was used, a residual connection may have been lost.",
    wrong="""
        model m {
          input x: [b, n, 8]
          h = relu(x)
          output y = gelu(x)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          h = relu(x)
          output y = gelu(h)
        }
    """,
)  # fmt: skip
NOT_A_TENSOR = _problem(
    "E214", "wrong kind of operand", "{detail}",
    meaning="A tensor stands where a number must be known before the model runs, or a number "
    "where a tensor is needed, or a value that an operation does not go with.",
    wrong="""
        model m(heads = 8) {
          input x: [b, n, 8]
          output y = heads + 1
          output z = x
        }
    """,
    right="""
        model m(heads = 8) {
          input x: [b, n, 8]
          output y = x * (heads + 1)
          output z = x
        }
    """,
)  # fmt: skip
UNDECIDED = _problem(
    "E215", "size comparison undecided", "whether {left} {operator} {right} depends on the input",
    "decide by params, or fix the size of the input",
    meaning="`if` is decided before the model runs, and holds for all inputs. Sizes such as `n` "
    "are known when it runs; a comparison of them is decided only where it comes out the same for "
    "all sizes.",
    wrong="""
        model m {
          input x: [b, n, 8]
          if n > 64 { x = relu(x) }
          output y = x
        }
    """,
    right="""
        model m(long = true) {
          input x: [b, n, 8]
          if long { x = relu(x) }
          output y = x
        }
    """,
)  # fmt: skip
UNPACK = _problem(
    "E216", "unpacking", "{targets} names on the left, {values} values on the right",
    meaning="Several names on the left take the items of a list, or the results of a call, one "
    "each.",
    wrong="""
        model m {
          input x: [b, n, 24]
          q, k = split(x, 3, axis = -1)
          output y = q + k
        }
    """,
    right="""
        model m {
          input x: [b, n, 24]
          q, k, v = split(x, 3, axis = -1)
          output y = q + k + v
        }
    """,
)  # fmt: skip
TOO_MANY_STEPS = _problem(
    "E217", "too much to unroll", "elaboration takes more than {limit} steps",
    "check the counts of `repeat` and `for`",
    meaning="Loops are unrolled: each turn is a part of the model with weights of its own. The "
    "number of statements that this may come to is limited.",
    wrong="""
        model m {
          input x: [b, n, 8]
          repeat 1000000 { x = relu(x) }
          output y = x
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          repeat 10 { x = relu(x) }
          output y = x
        }
    """,
)  # fmt: skip
REDEFINED = _problem(
    "E218", "defined twice", "{name!r} is defined twice", "rename one of the two",
    meaning="Params and inputs share one set of names; blocks, outputs and variants have one each. "
    "Statements may bind a name anew, declarations may not.",
    wrong="""
        model m {
          input x: [b, n, 8]
          output y = relu(x)
          output y = gelu(x)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = relu(x)
          output z = gelu(x)
        }
    """,
)  # fmt: skip
RETURN = _problem(
    "E219", "bad return", "{detail}",
    meaning="A block ends with one `return`, which gives as many tensors as its header declares. "
    "The graph of a model has outputs in its place.",
    wrong="""
        model m {
          input x: [b, n, 8]
          block f(x: [b, n, d]) { x = relu(x) }
          output y = f(x)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          block f(x: [b, n, d]) {
            x = relu(x)
            return x
          }
          output y = f(x)
        }
    """,
)  # fmt: skip
DIVISION = _problem(
    "E220", "division", "{detail}",
    meaning="A divisor, or the step of a slice, is 0 for the params at hand.",
    wrong="""
        model m(heads = 0) {
          input x: [b, n, 8]
          output y = linear(x, 8 // heads)
        }
    """,
    right="""
        model m(heads = 2) {
          input x: [b, n, 8]
          output y = linear(x, 8 // heads)
        }
    """,
)  # fmt: skip
SCORE = _problem(
    "E221", "bad score expression", "{detail}",
    meaning="Scores, masks and weights of `attend` are expressions over the pairs of queries and "
    "keys: `qk`, indices such as `i`, `j` and `h`, params, and tensors read at indices.",
    wrong="""
        model m {
          input x: [b, h, n, 8]
          input bias: [h, n]
          output y = attend(x, x, x, score = qk + bias[h, i, j])
        }
    """,
    right="""
        model m {
          input x: [b, h, n, 8]
          input bias: [h, n]
          output y = attend(x, x, x, score = qk + bias[h, j])
        }
    """,
)  # fmt: skip
NO_VALUE = _problem(
    "E222", "param has no value", "param {name!r} has no default and was given no value",
    "pass `--set {name}=...`, or choose a variant",
    meaning="A param without a default needs a value from a variant or from `--set`.",
    wrong="""
        model m(dim: int) {
          input x: [b, n, 8]
          output y = linear(x, dim)
        }
    """,
    right="""
        model m(dim: int = 16) {
          input x: [b, n, 8]
          output y = linear(x, dim)
        }
    """,
)  # fmt: skip
DTYPE = _problem(
    "E223", "wrong dtype", "{what} takes {expected} tensors, got {found}",
    meaning="Tensors hold floating-point numbers, whole numbers or truth values, and nothing "
    "converts them in silence; `cast` does so where it is meant.",
    wrong="""
        model m {
          input ids: [b, 8] int
          output y = layer_norm(ids)
        }
    """,
    right="""
        model m {
          input ids: [b, 8] int
          output y = layer_norm(cast(ids, "float"))
        }
    """,
)  # fmt: skip
TRAIN_ONLY = _problem(
    "E224", "value of training mode only", "{name!r} exists in training mode only",
    "use it inside `when train`, or make it an output there",
    meaning="What stands inside `when train` does not run in evaluation mode, so nothing outside "
    "may depend on it.",
    wrong="""
        model m {
          input x: [b, n, 8]
          when train { aux = linear(x, 2) }
          output y = aux
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          when train { exit aux = linear(x, 2) }
          output y = x
        }
    """,
)  # fmt: skip
NO_MEMBER = _problem(
    "E225", "no such part", "{what} has no {part} {name}",
    meaning="A dot names one of several results, a key of a map, the `shape` of a tensor, or a "
    "weight of an instance.",
    wrong="""
        model m {
          input x: [b, n, 8]
          output y = topk(x, 4).indexes
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = topk(x, 4).index
        }
    """,
)  # fmt: skip
