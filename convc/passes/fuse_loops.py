"""Loop nests that pass a tensor from one to the next become one kernel: the tensor is never stored.

Two directions. A producer that maps points (or only renames them, as a reshape does) is substituted into
the loads of its readers. A reader that maps points is applied where its producer stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from convc.ir.core import Graph, Node, Value
from convc.ir.index import Axis, Bound, IndexLike
from convc.ir.kernels import Gemm, KernelOp, Loops
from convc.ir.loop_nest import Map, Stage
from convc.ir.scalar import Const, Load, Next, RowCount, Scalar, Store, load, loads, rewrite, substitute_axes, walk
from convc.passes.compose import compact, kernel_loads, map_kernel, moderate, pointwise_stores, renumber
from convc.passes.eliminate_dead import eliminate_dead
from convc.passes.fusion_graph import FusionGraph
from convc.passes.registry import register_pass


@register_pass
def fuse_loops(graph: Graph) -> Graph:
    """loops: a[i] = f(x[i]); loops: b[j] = g(a[j]) -> loops: b[j] = g(f(x[j])); the same through reindexing"""
    work = FusionGraph(eliminate_dead(graph))
    joined = work.run(lambda reader: _inline_into(work, reader), lambda reader: _extend_by(work, reader))
    return work.result() if joined else graph


def _inline_into(work: FusionGraph, reader: Node) -> bool:
    """One producer into the reader's loads."""
    if not isinstance(reader.op, KernelOp):
        return False
    for v in dict.fromkeys(reader.inputs):
        producer = work.producers.get(v)
        stores = pointwise_stores(producer) if producer and len(producer.outputs) == 1 else None
        if not producer or not stores or _changes_layout(producer):
            continue
        value = stores[0].value
        if not _pays(value, v, reader, len(work.users[v])) or not _allowed(value, v, reader):
            continue
        new = _inlined(producer, value, reader)
        if _moderate(new):
            work.exchange((reader,), new)
            return True
    return False


def _moderate(node: Node) -> bool:
    assert isinstance(node.op, KernelOp)
    return all(map(moderate, node.op.roots()))


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


def _extend_by(work: FusionGraph, reader: Node) -> bool:
    """The reader applied where one of its producers stores."""
    stores = pointwise_stores(reader)
    if stores is None:
        return False
    for v in dict.fromkeys(reader.inputs):
        producer = work.producers.get(v)
        if not producer or not isinstance(producer.op, Loops) or v in work.returned or len(work.users[v]) != 1:
            continue
        shared = _stored_together(producer, reader, v)
        if shared is None:
            continue
        kept = [o for o in producer.outputs if o in work.returned or any(n is not reader for n in work.users[o])]
        behind = work.between(kept, reader)
        if behind is None:
            continue
        new = _extended(producer, reader, stores, shared, kept)
        if _moderate(new):
            work.exchange((producer, reader), new, behind)
            return True
    return False


def _reads_point(reader: Node, v: Value) -> bool:
    """Whether the reader loads v at its own point and nowhere else, and has a point for each of v's elements."""
    assert isinstance(reader.op, Loops)
    if tuple(a.extent for a in reader.op.nest.axes) != v.type.shape:
        return False
    point = tuple(load(0, *reader.op.nest.axes).coords)
    hits = [e for e in kernel_loads(reader.op) if reader.inputs[e.operand] is v]
    return all(e.coords == point and not e.guards for e in hits)


def _stored_together(producer: Node, reader: Node, v: Value) -> dict[Value, Store] | None:
    """The stores of the producer's results that the reader reads, v's first, if a point of the reader needs one point
    of the producer alone: each result is read at the reader's point, and stored where v is, once."""
    assert isinstance(producer.op, Loops)
    read = dict.fromkeys((v, *(o for o in producer.outputs if o in reader.inputs)))
    if not all(_reads_point(reader, o) for o in read):
        return None
    found: dict[Value, Store] = {}
    stages: dict[int, None] = {}
    for o in read:
        number = producer.outputs.index(o)
        at = [(i, s) for i, stage in enumerate(producer.op.nest.stages) if isinstance(stage, Map)
              for s in stage.stores if s.output == number]  # fmt: skip
        if len(at) != 1 or isinstance(at[0][1].value, Next):  # a count is exact in its i32 and nowhere else
            return None
        stages[at[0][0]] = None
        found[o] = at[0][1]
    alike = len(stages) == 1 and all(s.coords == found[v].coords for s in found.values())
    return found if alike else None


def _extended(
    producer: Node, reader: Node, stores: tuple[Store, ...], shared: dict[Value, Store], kept: Sequence[Value]
) -> Node:
    """The producer that also stores what the reader does, beside the first of the `shared` stores."""
    assert isinstance(producer.op, Loops)
    assert isinstance(reader.op, Loops)
    first = next(iter(shared.values()))
    offset = len(producer.inputs)
    outputs = (*kept, *reader.outputs)
    place = {o: i for i, o in enumerate(outputs)}
    values = {o: s.value for o, s in shared.items()}
    at: dict[Axis, IndexLike] = dict(zip(reader.op.nest.axes, first.coords))

    def applied(s: Store) -> list[Store]:
        result = [replace(s, output=place[o])] if (o := producer.outputs[s.output]) in place else []
        if s is not first:
            return result
        for r in stores:
            value = _with_operands(substitute_axes(_shift(r.value, offset), at), offset, reader, values)
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


def _with_operands(value: Scalar, offset: int, reader: Node, stored: Mapping[Value, Scalar]) -> Scalar:
    def change(e: Scalar) -> Scalar:
        if not isinstance(e, Load) or e.operand < offset:
            return e
        return stored.get(reader.inputs[e.operand - offset], e)

    # a stored value is spliced in whole: its own loads are numbered below `offset`
    return rewrite(value, change)
