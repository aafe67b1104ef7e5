"""E3xx: from a checked graph to torch."""

from attnc.dsl.codes.problem import problem as _problem

UNSOLVED_SIZE = _problem(
    "E301", "size not computable", "size {size} cannot be computed from the inputs of {name!r}",
    "give it an input with an axis of that size",
    meaning="Generated code computes symbolic sizes from the shapes of the tensors it is given. "
    "Of the inputs no axis, and no combination of axes, determines this size. In a spec every size "
    "has an axis of its own; only graphs that are built in Python can come to this.",
    wrong="$ python build_graph.py",
    right="$ attnc compile model.yaml -o net",
)  # fmt: skip
INSTANCE = _problem(
    "E302", "one instance, two sets of weights",
    "{path} has shape {first} in one call and {second} in another",
    "make two instances with `use`, or call the instance with equal widths",
    meaning="Calls of one instance share its weights, so each weight has one shape.",
    wrong="""
        model m {
          input x: [b, n, 8]
          f = use linear(out = 16)
          output y = f(f(x))
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          f = use linear(out = 8)
          output y = f(f(x))
        }
    """,
)  # fmt: skip
RESERVED_LABEL = _problem(
    "E303", "reserved label", "a module cannot be called {name!r}: torch modules use that name",
    "choose another @label",
    meaning="The names of sub-modules and weights become attributes of torch.nn.Module, which has "
    "attributes of its own such as `train`, `type` and `half`.",
    wrong="""
        model m {
          input x: [b, n, 8]
          output y = linear(x, 8) @half
        }
    """,
    right="""
        model m {
          input x: [b, n, 8]
          output y = linear(x, 8) @half_width
        }
    """,
)  # fmt: skip
