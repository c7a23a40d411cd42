"""Loop nests that pass a tensor from one to the next become one kernel: the tensor is never stored.

Two directions. A producer that maps points (or only renames them, as a reshape does) is substituted into
the loads of its readers. A reader that maps points is applied where its producer stores.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from convc.ir.core import Graph, Node, Value
from convc.ir.index import Axis, Bound, IndexLike
from convc.ir.kernels import Gemm, KernelOp, Loops
from convc.ir.loop_nest import Map, Stage
from convc.ir.scalar import Const, Load, RowCount, Scalar, Store, load, loads, rewrite, substitute_axes, walk
from convc.passes.compose import compact, kernel_loads, map_kernel, pointwise_stores, renumber, sort_nodes
from convc.passes.eliminate_dead import eliminate_dead
from convc.passes.registry import register_pass


@register_pass
def fuse_loops(graph: Graph) -> Graph:
    """loops: a[i] = f(x[i]); loops: b[j] = g(a[j]) -> loops: b[j] = g(f(x[j])); the same through reindexing"""
    changed = True
    while changed:
        changed = False
        for step in (_inline_one, _extend_one):
            fused = step(graph)
            if fused is not None:
                graph = eliminate_dead(fused)
                changed = True
    return graph


def _inline_one(graph: Graph) -> Graph | None:
    users = graph.users()
    producers = graph.producers()
    for reader in graph.nodes:
        for v in dict.fromkeys(reader.inputs):
            producer = producers.get(v)
            stores = pointwise_stores(producer) if producer and len(producer.outputs) == 1 else None
            if not producer or not stores or not isinstance(reader.op, KernelOp):
                continue
            value = stores[0].value
            if _changes_layout(producer):
                continue
            if not _pays(value, v, reader, len(users[v])) or not _allowed(value, v, reader):
                continue
            return graph.with_nodes(_inlined(producer, value, n) if n is reader else n for n in graph.nodes)
    return None


def _changes_layout(producer: Node) -> bool:
    """A relayout is there so that its readers find the layout they want: it stays a kernel of its own."""
    return any(
        v.type.layout != producer.out.type.layout for v in producer.inputs if v.type.rank == producer.out.type.rank
    )


def _trivial(value: Scalar) -> bool:
    """An expression of constants and n alone, or one load: nothing is lost by computing it again."""
    return isinstance(value, Load) or all(isinstance(e, Const | RowCount) or e.children() for e in walk(value))


def _pays(value: Scalar, v: Value, reader: Node, readers: int) -> bool:
    if _trivial(value):
        return True
    if readers != 1 or not isinstance(reader.op, Loops):
        return False
    nest = reader.op.nest
    outer = prod(int(a.extent) for a in nest.axes)
    found = []
    for stage in nest.stages:
        hits = [e for e in loads(*stage.roots) if reader.inputs[e.operand] is v]
        found += [outer * prod(int(a.extent) for a in stage.axes)] * len(hits)
    return len(found) == 1 and found[0] <= v.type.elements


def _allowed(value: Scalar, v: Value, reader: Node) -> bool:
    """A GEMM's factors stay plain gathers; a guarded load can only become another guarded load."""
    op = reader.op
    assert isinstance(op, KernelOp)
    if isinstance(op, Gemm) and not isinstance(value, Load):
        factors = [e for view in op.phases for f in (view.a, view.b) for e in loads(f)]
        if any(reader.inputs[e.operand] is v for e in factors):
            return False
    guarded = [e for e in kernel_loads(op) if reader.inputs[e.operand] is v and (e.guards or not _inside(e, v))]
    return not guarded or (isinstance(value, Load) and all(value.fill == e.fill for e in guarded))


def _inside(e: Load, v: Value) -> bool:
    return all(c.within(0, int(extent)) for c, extent in zip(e.coords, v.type.shape))


def _inlined(producer: Node, value: Scalar, reader: Node) -> Node:
    assert isinstance(producer.op, Loops)
    assert isinstance(reader.op, KernelOp)
    v = producer.out
    axes = producer.op.nest.axes
    offset = len(reader.inputs)
    shifted = _shift(value, offset)

    def change(e: Scalar) -> Scalar:
        if not isinstance(e, Load) or e.operand >= offset or reader.inputs[e.operand] is not v:
            return e
        inner = substitute_axes(shifted, dict(zip(axes, e.coords)))
        if isinstance(inner, Load):
            limits = [Bound(c, 0, int(extent)) for c, extent in zip(e.coords, v.type.shape)]
            return load(inner.operand, *inner.coords, guards=(*inner.guards, *e.guards, *limits), fill=e.fill)
        return inner

    title = reader.op.title if _trivial(value) else f"{producer.op.title}_{reader.op.title}"
    joined = replace(
        reader,
        op=replace(map_kernel(reader.op, change), title=title),
        inputs=(*reader.inputs, *producer.inputs),
        path=reader.path or producer.path,
        passes=_joined(producer, reader),
    )
    return compact(joined)


def _shift(value: Scalar, by: int) -> Scalar:
    return rewrite(value, renumber(range(by, by + 1 + max((e.operand for e in loads(value)), default=0))))


def _joined(*nodes: Node) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(p for n in nodes for p in n.passes), "fuse_loops")))


def _extend_one(graph: Graph) -> Graph | None:
    users = graph.users()
    producers = graph.producers()
    returned = set(graph.results)
    for reader in graph.nodes:
        stores = pointwise_stores(reader)
        if stores is None:
            continue
        for v in dict.fromkeys(reader.inputs):
            producer = producers.get(v)
            if not producer or not isinstance(producer.op, Loops) or v in returned or len(users[v]) != 1:
                continue
            if not _reads_point(reader, v) or not _single_store(producer, v):
                continue
            merged = _extended(producer, reader, v, stores)
            nodes = [merged if n is reader else n for n in graph.nodes if n is not producer]
            if (result := sort_nodes(graph, nodes)) is not None:
                return result
    return None


def _reads_point(reader: Node, v: Value) -> bool:
    """Whether the reader loads v at its own point and nowhere else."""
    assert isinstance(reader.op, Loops)
    point = tuple(load(0, *reader.op.nest.axes).coords)
    hits = [e for e in kernel_loads(reader.op) if reader.inputs[e.operand] is v]
    return all(e.coords == point and not e.guards for e in hits)


def _single_store(producer: Node, v: Value) -> bool:
    assert isinstance(producer.op, Loops)
    number = producer.outputs.index(v)
    return sum(s.output == number for s in producer.op.nest.stores) == 1


def _extended(producer: Node, reader: Node, v: Value, stores: tuple[Store, ...]) -> Node:
    assert isinstance(producer.op, Loops)
    assert isinstance(reader.op, Loops)
    number = producer.outputs.index(v)
    offset = len(producer.inputs)
    outputs = (*(o for o in producer.outputs if o is not v), *reader.outputs)
    place = {o: i for i, o in enumerate(outputs)}
    axes = reader.op.nest.axes

    def applied(s: Store) -> list[Store]:
        if s.output != number:
            return [replace(s, output=place[producer.outputs[s.output]])]
        at: dict[Axis, IndexLike] = dict(zip(axes, s.coords))
        result = []
        for r in stores:
            value = _with_operand(substitute_axes(_shift(r.value, offset), at), offset, reader, v, s.value)
            coords = tuple(c.substitute(at) for c in r.coords)
            result.append(Store(place[reader.outputs[r.output]], coords, value))
        return result

    def stage(old: Stage) -> Stage:
        return Map(old.axes, tuple(x for s in old.stores for x in applied(s))) if isinstance(old, Map) else old

    nest = replace(producer.op.nest, stages=tuple(stage(s) for s in producer.op.nest.stages))
    title = f"{producer.op.title}_{reader.op.title}"
    op = Loops(nest, results=tuple(o.type for o in outputs), title=title)
    inputs = (*producer.inputs, *reader.inputs)
    path = producer.path or reader.path
    return compact(Node(op, inputs, outputs, path, _joined(producer, reader)))


def _with_operand(value: Scalar, offset: int, reader: Node, v: Value, stored: Scalar) -> Scalar:
    def change(e: Scalar) -> Scalar:
        hit = isinstance(e, Load) and e.operand >= offset and reader.inputs[e.operand - offset] is v
        return stored if hit else e

    # the stored value is spliced in whole: its own loads are numbered below `offset`
    return rewrite(value, change)
