"""Gradients become updates: the train step is one graph."""

from __future__ import annotations

from dataclasses import replace

from convc.errors import IRError
from convc.ir.core import Graph, Role, Value, fresh_builder
from convc.ir.ops.count import NUMBER, Count
from convc.ir.ops.optim import SgdMomentum, Update
from convc.ir.types import TensorType, f32
from convc.passes.registry import register_pass


@register_pass
def apply_optimizer(graph: Graph, rule: Update | None = None) -> Graph:
    """return ..., %d_w -> return ...; update %w = rule(%w, %d_w, state, scalars)

    The last outputs must be the gradients of the parameters in order, as autodiff leaves them. State
    (such as %w.velocity) and scalars (such as %lr) become inputs with these roles, unless a scalar of that name
    is there already. A count of steps (such as %adam.step) is state of the rule, which the graph counts up itself.
    The default rule is SGD with momentum.
    """
    rule = rule or SgdMomentum()
    parameters, gradients = graph.inputs_of("parameter"), gradients_of(graph)
    b = fresh_builder(graph, "apply_optimizer")
    roles: dict[str, Role] = dict(graph.roles)
    new_inputs: list[Value] = []

    def add_input(name: str, t: TensorType, role: Role) -> Value:
        v = Value(b.fresh(name), t)
        roles[v.name] = role
        new_inputs.append(v)
        return v

    known = {v.name: v for v in graph.inputs_of("scalar")}
    updates: dict[str, Value] = dict(graph.updates)

    def number(name: str) -> Value:
        if name not in rule.counts:
            return known.get(name) or add_input(name, f32(), "scalar")
        steps = add_input(f"{rule.name}.{name}", NUMBER, "state")
        updates[steps.name] = b(Count(), steps, name=f"{steps.name}.new")
        return updates[steps.name]

    scalars = [number(name) for name in rule.scalars]
    for p, g in zip(parameters, gradients):
        b.path = p.name
        state = [add_input(f"{p.name}.{name}", p.type, "state") for name in rule.state]
        results = b.many(rule, p, g, *state, *scalars, names=[f"{v.name}.new" for v in (p, *state)])
        updates.update((v.name, new) for v, new in zip((p, *state), results))
    return replace(
        graph,
        inputs=(*graph.inputs, *new_inputs),
        nodes=(*graph.nodes, *b.nodes),
        outputs=graph.outputs[: -len(gradients)],
        roles=roles,
        updates=updates,
    )


def gradients_of(graph: Graph) -> tuple[Value, ...]:
    """The last outputs: one gradient for each parameter, in order. Raises IRError where they are none."""
    parameters = graph.inputs_of("parameter")
    kept = len(graph.outputs) - len(parameters)
    gradients = graph.outputs[kept:]
    if kept < 1 or not parameters or any(g.type != p.type for p, g in zip(parameters, gradients)):
        raise IRError(
            f"graph @{graph.name} must end with one gradient for each of its {len(parameters)} parameters"
            f" after at least one output, but it returns {len(graph.outputs)} values; run autodiff first"
        )
    return gradients
