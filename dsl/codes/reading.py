"""E1xx: reading a file."""

from attnc.dsl.codes.problem import problem as _problem

UNREADABLE = _problem(
    "E100", "unreadable file", "cannot read {name}: {reason}",
    "check the path and its permissions",
    meaning="The file is not there, is a directory, or may not be read. Systems of the zoo have no "
    "path: they are called `zoo:NAME`.",
    wrong="$ attnc check vit",
    right="$ attnc check zoo:vit",
)  # fmt: skip
NOT_UTF8 = _problem(
    "E101", "not UTF-8", "{name} is not UTF-8 text: byte {byte} at offset {offset}",
    "save the file as UTF-8",
    meaning="Specs are UTF-8, so that they read the same everywhere. The byte named cannot stand "
    "in UTF-8 text: the file has another encoding, or is not text at all.",
    wrong="$ attnc check latin1.yaml",
    right="""
        $ iconv -f latin1 -t utf-8 latin1.yaml > utf8.yaml
        $ attnc check utf8.yaml
    """,
)  # fmt: skip
TOO_LARGE = _problem(
    "E102", "file too large", "{name} has {size} bytes; a spec may have {limit}",
    "split large tables off into weights; a spec holds architecture only",
    meaning="A spec describes an architecture in a few pages. A file of megabytes is data, such as "
    "a checkpoint, or a table that should be computed or be a buffer with weights of its own.",
    wrong="$ attnc check model.safetensors",
    right="$ attnc weights check model.yaml model.safetensors",
)  # fmt: skip
TOO_DEEP = _problem(
    "E103", "nested too deeply", "nesting is deeper than {limit} levels",
    "name the inner parts and refer to them",
    meaning="Brackets, lists and bodies may stand within each other up to this many levels. It "
    "keeps hostile files from exhausting the reader; nothing written by hand comes near it.",
    wrong=f"""
        model m {{
          input x: [b, n, 8]
          output y = {"(" * 101}x{")" * 101}
        }}
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = (((x)))
        }
    """,
)  # fmt: skip
YAML_SYNTAX = _problem(
    "E104", "YAML syntax", "{detail}", "quote the value, or mend the indentation",
    meaning="The file is no YAML 1.2, so nothing in it can be told apart. Texts with brackets, "
    "colons or commas inside lists and maps need quotes.",
    wrong="""
        attnc: 1
        model: m
        inputs: {x: [b, n, 8]
        outputs: {y: relu(x)}
    """,
    right="""
        attnc: 1
        model: m
        inputs: {x: [b, n, 8]}
        outputs: {y: relu(x)}
    """,
)  # fmt: skip
DUPLICATE_KEY = _problem(
    "E105", "duplicate key", "key {key!r} stands here twice", "remove or rename one of the two",
    meaning="Many YAML readers keep the last of two equal keys and drop the first in silence. Here "
    "it is an error, as one of the two would be lost.",
    wrong="""
        attnc: 1
        model: m
        params: {dim: 4}
        params: {dim: 8}
        inputs: {x: [b, n, 8]}
        outputs: {y: "linear(x, dim)"}
    """,
    right="""
        attnc: 1
        model: m
        params: {dim: 8}
        inputs: {x: [b, n, 8]}
        outputs: {y: "linear(x, dim)"}
    """,
)  # fmt: skip
ALIASES = _problem(
    "E106", "too many aliases", "aliases expand to more than {limit} nodes",
    "use blocks in place of YAML anchors",
    meaning="An alias stands for all that its anchor holds. Aliases of aliases multiply, so that a "
    "short file may stand for billions of nodes; the number is limited.",
    wrong="""
        attnc: 1
        model: m
        weights:
          a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
          b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
          c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
          d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
          e: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
        inputs: {x: [b, n, 8]}
        outputs: {y: x}
    """,
    right="""
        attnc: 1
        model: m
        inputs: {x: [b, n, 8]}
        outputs: {y: x}
    """,
)  # fmt: skip
TEXT_SYNTAX = _problem(
    "E107", "syntax", "unexpected {found}; expected {expected}",
    meaning="What stands under the caret does not go on with what stands before it. The message "
    "lists all that could stand there. Other statements are read all the same.",
    wrong="""
        model m {
          input x: [b, n, 8]
          output y = linear(x 8)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = linear(x, 8)
        }
    """,
)  # fmt: skip
UNKNOWN_KEY = _problem(
    "E108", "unknown key", "unknown key {key!r} in {where}",
    meaning="Nothing reads this key, so what it says would have no effect. Most often it is a key "
    "misspelt.",
    wrong="""
        attnc: 1
        model: m
        input: {x: [b, n, 8]}
        outputs: {y: relu(x)}
    """,
    right="""
        attnc: 1
        model: m
        inputs: {x: [b, n, 8]}
        outputs: {y: relu(x)}
    """,
)  # fmt: skip
MISSING_KEY = _problem(
    "E109", "missing key", "{where} lacks {key!r}", "add `{key}`",
    meaning="A part that cannot be done without is missing: a model has a name, inputs have "
    "shapes, and something must come out of it.",
    wrong="""
        model m {
          input x: [b, n, 8]
          y = relu(x)
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = relu(x)
        }
    """,
)  # fmt: skip
WRONG_KIND = _problem(
    "E110", "wrong kind of value", "{where} takes {expected}, not {found}",
    meaning="Every key and param takes values of one kind: a number, a text, a list, a map. A text "
    "in quotes is a text, also where it looks like a number.",
    wrong="""
        model m(depth = 2) {
          input x: [b, n, 8]
          repeat depth / 4 { x = relu(x) }
          output y = x
        }
    """,
    right="""
        model m(depth = 2) {
          input x: [b, n, 8]
          repeat ceil_div(depth, 4) { x = relu(x) }
          output y = x
        }
    """,
)  # fmt: skip
VERSION = _problem(
    "E111", "language version", "language version {version} is not known; this attnc reads 1",
    meaning="The first line says which version of the language a spec is written in. This attnc is "
    "older than the spec, or the number is mistyped.",
    wrong="""
        attnc 2
        model m {
          input x: [b, n, 8]
          output y = relu(x)
        }
    """,
    right="""
        attnc 1
        model m {
          input x: [b, n, 8]
          output y = relu(x)
        }
    """,
)  # fmt: skip
