"""What becomes of a block tile's sums: results that lie in line are counted in line, and stored several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from convc.codegen.cuda.dims import Dim, dim, merged, variables
from convc.codegen.cuda.gather import whole
from convc.codegen.cuda.nest import Lanes
from convc.codegen.terms import Block, Placed, Scope, Term
from convc.ir.gemm_view import GemmView
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import BlockTile
from convc.ir.scalar import Store, loads, substitute_axes
from convc.ir.types import Rows


@dataclass(frozen=True)
class Epilogue:
    """The stores of a phase, (place, value) each; `lets` are values that several of them share.

    Results are stored `wide` neighbours along N at a time; `loaded` is what is then loaded as many of at once. Of the
    variables, `place_lets` are for what is stored and loaded at once, `value_lets` for what differs between neighbours.
    """

    lets: tuple[tuple[str, Term], ...]
    stores: tuple[tuple[Term, Term], ...]
    wide: int
    loaded: tuple[Lanes, ...]
    place_lets: tuple[tuple[str, Index], ...]
    value_lets: tuple[tuple[str, Index], ...]

    @property
    def computed(self) -> tuple[int, ...]:
        """The numbers of the values that are not just the sums."""
        return tuple(
            i for i, (_, value) in enumerate(self.stores) if value.kind != "local" or value.name != "acc_value"
        )

    @property
    def terms(self) -> tuple[Term, ...]:
        """All expressions in it."""
        shared = (*(t for _, t in self.lets), *(x.term for x in self.loaded))
        return (*(t for pair in self.stores for t in pair), *shared)


def plan_epilogue(
    view: GemmView,
    tile: BlockTile,
    groups: Mapping[Axis, IndexLike],
    inputs: Sequence[Placed],
    outputs: Sequence[Placed],
) -> Epilogue:
    """The epilogue of `view`, whose batch axes are `groups`."""
    m_axes, stores = _in_line(view.m, view.stores, inputs, outputs)
    n_axes, stores = _in_line(view.n, stores, inputs, outputs)
    m, n = dim("gemm_m", m_axes), dim("gemm_n", n_axes)
    scope = Scope(inputs, outputs, merged(groups, m.named(), n.named()))
    block = Block(scope)
    values = block.terms([s.value for s in stores])
    targets = [scope.target(s) for s in stores]
    sizes = [size for size in (4, 2) if tile.stages > 1 and tile.thread_n % size == 0]
    wide = next((size for size in sizes if all(whole(t, n, size=size) for t in targets)), 1)
    lets, values, loaded = _at_once(block.lets, values, n, wide)
    places = variables((*targets, *(x.term for x in loaded)))
    others = variables((*values, *(t for _, t in lets)))
    apart = wide > 1
    return Epilogue(
        lets, tuple(zip(targets, values)), wide, loaded,
        place_lets=(*m.lets({*places, *others}), *n.lets(places if apart else {*places, *others})),
        value_lets=n.lets(others) if apart else (),
    )  # fmt: skip


def _in_line(
    axes: tuple[Axis, ...], stores: Sequence[Store], inputs: Sequence[Placed], outputs: Sequence[Placed]
) -> tuple[tuple[Axis, ...], Sequence[Store]]:
    """Neighbouring axes as one where all that is stored or loaded lies in line: their divisions cancel."""
    at = 0
    while at + 1 < len(axes):
        outer, inner = axes[at : at + 2]
        one = Axis(outer.name + inner.name, int(outer.extent) * int(inner.extent))
        values: dict[Axis, IndexLike] = {
            outer: Index.of(one) // int(inner.extent),
            inner: Index.of(one) % int(inner.extent),
        }
        joined = [
            Store(s.output, tuple(c.substitute(values) for c in s.coords), substitute_axes(s.value, values))
            for s in stores
        ]
        several = isinstance(outer.extent, Rows) or isinstance(inner.extent, Rows)
        if several or any(a.name == one.name for a in axes) or not _linear(one, joined, inputs, outputs):
            at += 1
        else:
            axes, stores = (*axes[:at], one, *axes[at + 2 :]), joined
    return axes, stores


def _linear(axis: Axis, stores: Sequence[Store], inputs: Sequence[Placed], outputs: Sequence[Placed]) -> bool:
    """Whether each store and each load is a multiple of the axis and the rest, and no guard asks for the axis."""
    read = [(e, inputs[e.operand].type) for s in stores for e in loads(s.value)]
    guards = [g.index for e, _ in read for g in e.guards]
    guards += [c for e, t in read for c, extent in zip(e.coords, t.shape) if not c.within(0, int(extent))]
    offsets = [*(t.offset(e.coords) for e, t in read), *(outputs[s.output].type.offset(s.coords) for s in stores)]
    return not any(axis in g.axes() for g in guards) and all(o.coefficient(axis) is not None for o in offsets)


def _at_once(
    lets: Sequence[tuple[str, Term]], values: Sequence[Term], n: Dim, wide: int
) -> tuple[tuple[tuple[str, Term], ...], list[Term], tuple[Lanes, ...]]:
    """The same with loads of `wide` neighbours along N as arrays, of which `part` is an element."""
    found: dict[Term, Lanes] = {}
    part = Index.of(Axis("part", max(wide, 2)))

    def change(t: Term) -> Term:
        if wide > 1 and t.kind == "load" and whole(t, n, size=wide):
            stem = t.name.removesuffix("_ptr")
            found.setdefault(t, Lanes(f"{stem}_parts{len(found) or ''}", wide, t))
            return Term("lane", False, name=found[t].name, index=part)
        return replace(t, args=tuple(map(change, t.args)))

    return tuple((name, change(t)) for name, t in lets), list(map(change, values)), tuple(found.values())
