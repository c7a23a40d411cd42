"""One factor of a GEMM on its way into shared memory: who takes which element, and what is worked out only once.

The address and the guards of an element have a part that depends on its line (a row of A, a column of B), which
stays the same for the whole sum, and a part that depends on its place along K. The first is worked out before the
walk along K begins, so that a step costs an addition for the address and one for each guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from convc.codegen.cuda.dims import Dim, merged, variables
from convc.codegen.cuda.walk import DEPTH, SLICE, Walk
from convc.codegen.terms import Condition, Placed, Scope, Term
from convc.errors import IRError
from convc.ir.index import Axis, Index, IndexLike
from convc.ir.kernels import BlockTile
from convc.ir.scalar import Load, Scalar
from convc.passes.block_tile import SPAN, takes_k

QUAD = 4
"""Elements of a 16-byte copy."""
PAD = 4
"""Floats behind each row of a tile whose factor is gathered along K: `SPAN` places of four lines, which a warp copies,
then lie in 32 different banks."""


@dataclass(frozen=True)
class Gather:
    """Everything the template of one factor needs.

    `lines` x `depth` elements of a slice, `copy` neighbouring lines at a time; consecutive threads take
    consecutive elements along the lines, or where `along_k` along K, `span` of them. The address is `base`, the
    line's part, plus `step`, of which `depth_stride` times the place in the slice is known before, too. `guards` are
    (name of a hoisted part or "", condition on the rest); `hoisted` are these parts; `line_guards` depend on the
    line alone.
    Nothing is hoisted where `entangled`.
    """

    name: str
    line: Dim
    lines: int
    depth: int
    threads: int
    along_k: bool
    copy: int
    pointer: str
    line_lets: tuple[tuple[str, Index], ...]
    element_lets: tuple[tuple[str, Index], ...]
    base: Index
    step: Index
    depth_stride: int
    hoisted: tuple[tuple[str, Index], ...]
    guards: tuple[tuple[str, Condition], ...]
    line_guards: tuple[Condition, ...]
    entangled: bool

    @property
    def units(self) -> int:
        """Copies of a slice."""
        return self.lines * self.depth // self.copy

    @property
    def each(self) -> int:
        """Copies of a thread."""
        return -(-self.units // self.threads)

    @property
    def ragged(self) -> bool:
        """Whether some threads have one copy less."""
        return self.units % self.threads != 0

    @property
    def across(self) -> int:
        """Copies side by side along the lines."""
        return self.lines // self.copy

    @property
    def span(self) -> int:
        """Places along K that neighbouring threads take."""
        return SPAN if self.depth % SPAN == 0 else self.depth

    @property
    def at_once(self) -> int:
        """Threads that take the first `span` places of every line."""
        return self.lines * self.span

    @property
    def pad(self) -> int:
        """Floats behind each row of lines in shared memory, so that what a warp copies lies in different banks."""
        return PAD if self.along_k else 0

    @property
    def even(self) -> bool:
        """Whether a thread's copies lie evenly apart in the tile."""
        if self.along_k:
            return self.at_once % self.threads == 0 or self.threads % self.at_once == 0
        return self.threads % self.across == 0

    @property
    def lines_each(self) -> int:
        """Different lines of a thread's copies, which it takes one after the other."""
        if not self.even:
            return self.each
        return max(1, self.at_once // self.threads) if self.along_k else 1

    @property
    def lines_apart(self) -> int:
        """Lines between them."""
        return self.threads // self.span if self.along_k else 0

    @property
    def depths_apart(self) -> int:
        """Places in the slice between a thread's copies on one line."""
        return self.span * max(1, self.threads // self.at_once) if self.along_k else self.threads // self.across

    @property
    def line_stride(self) -> int | None:
        """Elements of memory from line to line, where that is the same for all lines."""
        return self.base.coefficient(self.line.flat) if self.line.flat in self.base.axes() else None

    @property
    def regular(self) -> bool:
        """Whether a thread's copies also lie evenly apart in memory, so that one address does for all."""
        return self.even and (self.lines_each == 1 or self.line_stride is not None)

    @property
    def one_line(self) -> bool:
        """Whether one address and one set of guards do for all copies of a thread."""
        return self.regular and (self.lines_each == 1 or not (self.line_guards or self.hoisted))

    @property
    def counts_k(self) -> bool:
        """Whether it needs `gemm_k`."""
        terms = (self.step, *(c.index for _, c in self.guards), *(e for _, e in self.element_lets))
        return any(a.name == "gemm_k" for e in terms for a in e.axes())


def plan_gather(
    name: str, factor: Scalar, line: Dim, walk: Walk, lines: int, tile: BlockTile,
    groups: Mapping[Axis, IndexLike], inputs: Sequence[Placed],
) -> Gather:  # fmt: skip
    """The plan of one factor; raises IRError where it is no plain load."""
    if not isinstance(factor, Load):
        raise IRError("a GEMM's factor must be a load; lower the prologue to a kernel of its own")
    term = _shortest(factor, line, walk, groups, inputs)
    own = {line.flat.name, *_names(line.named()), *_names(groups)}
    base, step = split(term.index, own)
    limit = Condition(Index.of(line.flat), 0, f"{line.name.removeprefix('gemm_')}_extent", False, False)
    line_guards = [limit] if line.rows or line.extent % lines else []
    guards: list[tuple[str, Condition]] = [("", c) for c in walk.guards]
    parts: dict[Index, str] = {}
    for c in term.conditions:
        of_line, of_k = split(c.index, own)
        if of_line is None:
            guards.append(("", c))
        elif not of_k.terms:
            line_guards.append(c)
        elif not of_line.terms:
            guards.append(("", c))
        else:
            part = parts.setdefault(of_line, f"{name}_at{len(parts)}")
            guards.append((part, replace(c, index=of_k)))
    entangled = base is None or any(split(c.index, own)[0] is None for c in term.conditions)
    if entangled:
        base, step, parts = Index(), term.index, {}
        guards = [("", c) for c in (*line_guards, *walk.guards, *term.conditions)]
        line_guards = []
    assert base is not None
    step, depth_stride = _depth_apart(step, walk)
    offset = inputs[factor.operand].type.offset(factor.coords)
    used = variables((replace(term, conditions=(*term.conditions, *line_guards, *walk.guards)),))
    plan = Gather(
        name=name, line=line, lines=lines, depth=tile.block_k, threads=tile.threads,
        along_k=takes_k(offset, line.axes, lines, walk.inner, tile.block_k), copy=1, pointer=term.name,
        line_lets=line.lets(used), element_lets=walk.element_lets(used),
        base=base, step=step, depth_stride=depth_stride, hoisted=tuple((n, e) for e, n in parts.items()),
        guards=tuple(guards), line_guards=tuple(line_guards), entangled=entangled,
    )  # fmt: skip
    fits = tile.stages > 1 and not plan.along_k and not entangled and lines % QUAD == 0
    return replace(plan, copy=QUAD) if fits and whole(term, line, line_guards) else plan


def _depth_apart(step: Index, walk: Walk) -> tuple[Index, int]:
    """The step without what is proportional to the place in the slice, and that factor; 0 where it is no factor."""
    place = Axis(DEPTH, walk.depth)
    if walk.counter is None and (factor := step.coefficient(walk.k.flat)):
        step = step - Index.of(walk.k.flat) * factor + (Index.of(SLICE) * walk.depth + place) * factor
    stride = step.coefficient(place)
    return (step - Index.of(place) * stride, stride) if stride else (step, 0)


def split(index: Index, own: set[str]) -> tuple[Index | None, Index]:
    """The terms of the variables `own`, and the rest with the constant; None where a division mixes the two."""
    mine, rest = Index(), Index((), index.const)
    for atom, c in index.terms:
        names = {atom.name} if isinstance(atom, Axis) else {a.name for a in atom.of.axes()}
        if names <= own:
            mine = mine + Index(((atom, c),))
        elif names & own:
            return None, index
        else:
            rest = rest + Index(((atom, c),))
    return mine, rest


def whole(term: Term, line: Dim, allowed: Sequence[Condition] = (), size: int = QUAD) -> bool:
    """Whether `size` neighbouring lines are an aligned vector that lies inside the tensor as a whole or not at all."""
    flat = line.flat
    inner = flat if flat in term.index.axes() else _inner(line)
    if inner is None or term.index.coefficient(inner) != 1 or term.fn != "f32":
        return False
    width = int(inner.extent) if inner is not flat else line.rest
    others = term.index - Index.of(inner)
    tested = [c for c in term.conditions if c not in allowed and {inner, flat} & set(c.index.axes())]
    if tested or width % size or (line.rest if line.rows else line.extent) % size:
        return False
    return others.const % size == 0 and all(c % size == 0 for _, c in others.terms)


def _inner(line: Dim) -> Axis | None:
    """The variable of the line's innermost axis."""
    named = line.named()
    axis = next((a for a in reversed(line.axes) if a.extent > 1), None)
    return Index.of(named[axis]).axes()[0] if axis else None


def _names(values: Mapping[Axis, IndexLike]) -> set[str]:
    return {a.name for e in values.values() for a in Index.of(e).axes()}


def _shortest(
    factor: Load, line: Dim, walk: Walk, groups: Mapping[Axis, IndexLike], inputs: Sequence[Placed]
) -> Term:  # fmt: skip
    """The load with a whole side as its flat variable where the address is linear in it, else with its axes."""
    flat = (line, walk.k) if walk.counter is None else (line,)
    for sides in (flat, (line,), flat[1:]):
        along_line = line.counted() if line in sides else line.named()
        along_k = walk.k.counted() if walk.k in sides else walk.values
        term = Scope(inputs, (), merged(groups, along_line, along_k)).load(factor)
        offset = term.index.linear()
        tested = {a for c in term.conditions for a in c.index.axes()}
        if sides and all(offset.coefficient(d.flat) is not None and d.flat not in tested for d in sides):
            return replace(term, index=offset)
    return Scope(inputs, (), merged(groups, line.named(), walk.values)).load(factor)
