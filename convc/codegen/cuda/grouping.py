"""Which kernels share a launch: each launch costs a wait for the one before, and small kernels leave a device idle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from convc.codegen.storage import Place, meet
from convc.ir.core import Node, Value
from convc.ir.kernels import Loops
from convc.passes.target import BLOCK_SHARED_BYTES, Target

MOST_POINTERS = 400
"""Pointers that one launch may take: 4 KiB of arguments, with room to spare."""
FAR = 64
"""Launches before and behind its own in which a kernel looks for room."""
RESIDENT = 1024
"""Threads of a multiprocessor that surely are resident at once: each may have 64 registers."""


class Grouped(Protocol):
    """What it has to know of a kernel."""

    @property
    def node(self) -> Node: ...
    @property
    def threads(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def shared(self) -> tuple[int, int]: ...
    @property
    def parameters(self) -> Sequence[object]: ...


K = TypeVar("K", bound=Grouped)


def grouped(kernels: Sequence[K], places: Mapping[Value, Place], target: Target) -> list[list[K]]:
    """The kernels of each launch, in order. Neighbours that need nothing of each other share one, if they fit together.

    Then goes every launch whose kernels all fit into others. None passes a kernel that it has to wait for.
    """
    groups: list[list[K]] = []
    for k in kernels:
        if groups and not _waits(k, groups[-1], places) and _fits([*groups[-1], k], target):
            groups[-1].append(k)
        else:
            groups.append([k])
    at = 0
    while at < len(groups):
        if _emptied(groups, at, places, target):
            del groups[at]
            at = max(0, at - 1)
        else:
            at += 1
    return groups


def _waits(k: Grouped, group: Sequence[Grouped], places: Mapping[Value, Place]) -> bool:
    return any(meet(k.node, other.node, places) for other in group)


def _fits(group: Sequence[Grouped], target: Target) -> bool:
    """Whether they may share a launch: loop nests, and whatever is resident at once."""
    same = len({k.threads for k in group}) == 1
    return (
        same
        and sum(len(k.parameters) for k in group) <= MOST_POINTERS
        and (all(isinstance(k.node.op, Loops) for k in group) or _at_once(group, target))
    )


def _at_once(group: Sequence[Grouped], target: Target) -> bool:
    blocks = sum(k.blocks for k in group) / target.multiprocessors
    shared = 4 * sum(map(max, zip(*(k.shared for k in group))))
    return blocks * group[0].threads <= RESIDENT and blocks * shared <= BLOCK_SHARED_BYTES


def _emptied(groups: list[list[K]], at: int, places: Mapping[Value, Place], target: Target) -> bool:
    """Moves the kernels of that group into the nearest others with room; where one finds none, all stay."""
    homes: list[list[K]] = []
    for k in groups[at]:
        home = next((g for g in _reachable(k, groups, at, places) if _fits([*g, k], target)), None)
        if home is None:
            for full in reversed(homes):
                full.pop()
            return False
        home.append(k)
        homes.append(home)
    return True


def _reachable(k: K, groups: list[list[K]], at: int, places: Mapping[Value, Place]) -> Iterator[list[K]]:
    """The groups before and behind that one which the kernel can be moved to, passing none that it waits for.

    The nearest come first, and none is far: to look at all groups for each would take as long as their number squared.
    """
    for side in (range(at - 1, max(at - 1 - FAR, -1), -1), range(at + 1, min(at + 1 + FAR, len(groups)))):
        for i in side:
            if _waits(k, groups[i], places):
                break
            yield groups[i]
