"""The unrolled spec: its header, a block for every body, the statements of the top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from attnc.dsl import tree
from attnc.dsl.dims import symbols
from attnc.dsl.graph import Arg, Body, Graph, Value
from attnc.dsl.resolved import settled
from attnc.dsl.unroll.blocks import CASE, Group, groups, input_symbols
from attnc.dsl.unroll.body import statements
from attnc.dsl.unroll.names import Names
from attnc.dsl.unroll.notation import HERE, listed, name, size


def unrolled_spec(graph: Graph, origins: bool = False) -> tree.Spec:
    """Return a spec of the same model without repeats, loops, branches and arithmetic.

    Every operation is a statement of its own, with the type of its result behind it; a block stands
    for each set of arguments and shapes that a block was called with. Names of weights, outputs,
    exits and modules are those of the graph. Params are fixed: nothing depends on them but
    `weights` and `parity`. The tree is for printing; its spans point nowhere.

    Args:
        origins: note above each param where its value came from.
    """
    spec, taken = graph.spec, _taken(graph)
    blocks = groups(graph, taken)
    made = {group.name: group for group in blocks.values()}
    names = Names({*taken, *made})
    names.called.update(_inputs(graph.body))
    lines = statements(graph.body, blocks, names)
    return replace(
        spec,
        params=tuple(replace(settled(each, graph, origins), fixed=True) for each in spec.params),
        variants=(),
        inputs=tuple(_input(each, graph) for each in spec.inputs),
        blocks=tuple(_block(group, blocks) for group in made.values()),
        graph=lines,
        outputs=tuple(
            replace(each, value=name(names.called[graph.outputs[each.name]]))
            for each in spec.outputs
            if each.name in graph.outputs
        ),
    )


def _taken(graph: Graph) -> frozenset[str]:
    spec = graph.spec
    params = (each.name for each in spec.params)
    inputs = (each.name for each in spec.inputs)
    return frozenset([*params, *inputs, *input_symbols(graph)])


def _inputs(body: Body) -> Mapping[Value, str]:
    return {port: word for word, port in body.ports.items() if isinstance(port, Value)}


def _input(port: tree.Port, graph: Graph) -> tree.Port:
    """Return the input with its sizes settled; one whose condition fails stays as it is."""
    if port.name not in graph.inputs:
        return port
    return replace(port, shape=listed(map(size, graph.inputs[port.name].shape)))


# Blocks -----------------------------------------------------------------------------------


def _block(group: Group, blocks: Mapping[Body, Group]) -> tree.Block:
    bodies = {body: _body(body, group, blocks) for body in group.bodies}
    first = group.bodies[0]
    several = len(bodies) > 1
    params = (CASE, *group.sizes) if several else group.sizes
    return tree.Block(
        group.name,
        tuple(port for layout in group.layouts.values() for port in layout.ports),
        tuple(tree.Param(each, None, HERE) for each in params),
        () if several else _results(first, group),
        _cases([*bodies.values()]),
        HERE,
        first.doc,
    )


def _cases(bodies: list[tuple[tree.Statement, ...]], number: int = 0) -> tuple[tree.Statement, ...]:
    first, *others = bodies
    if not others:
        return first
    is_case = tree.Binary("==", name(CASE), tree.Number(number, HERE), HERE)
    return (tree.If(is_case, first, _cases(others, number + 1), HERE),)


def _body(body: Body, group: Group, blocks: Mapping[Body, Group]) -> tuple[tree.Statement, ...]:
    layout = group.layouts[body]
    lines = statements(body, blocks, layout.names, layout.leaves)
    outputs = body.outputs
    items = outputs if isinstance(outputs, tuple) and len(outputs) > 1 else (outputs,)
    values = tuple(_written(each, layout.names.called) for each in items)
    return (*lines, tree.Return(values, HERE))


def _written(value: Arg, called: Mapping[Value, str]) -> tree.Expr:
    if isinstance(value, tuple):
        return listed(_written(item, called) for item in value)
    assert isinstance(value, Value), "blocks return tensors and lists of them"
    return name(called[value])


def _results(body: Body, group: Group) -> tuple[tree.ListOf, ...]:
    """Return the shapes of the results; none where one is a list, or has a size without a name."""
    outputs = body.outputs if isinstance(body.outputs, tuple) else (body.outputs,)
    known = group.layouts[body].sizes.union(group.sizes)
    shapes = [each.shape for each in outputs if isinstance(each, Value)]
    is_flat = len(shapes) == len(outputs) and (body.outputs is not outputs or len(outputs) > 1)
    if not is_flat or any(not symbols(axis) <= known for shape in shapes for axis in shape):
        return ()
    return tuple(listed(map(size, shape)) for shape in shapes)
