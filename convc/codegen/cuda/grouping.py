"""Which kernels share a launch: each launch costs a wait for the one before, and small kernels leave a device idle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from convc.codegen.storage import Place, meet
from convc.ir.core import Node, Value
from convc.ir.kernels import Loops
from convc.passes.target import BLOCK_SHARED_BYTES, Target

MOST_POINTERS = 400
"""Pointers that one launch may take: 4 KiB of arguments, with room to spare."""
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
        fewer = _without(groups, at, places, target)
        groups, at = (fewer, max(0, at - 1)) if fewer else (groups, at + 1)
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


def _without(groups: list[list[K]], at: int, places: Mapping[Value, Place], target: Target) -> list[list[K]] | None:
    """The groups without that one, whose kernels have found room in the nearest others; None where one has not."""
    rest = [list(g) if i != at else [] for i, g in enumerate(groups)]
    for k in groups[at]:
        home = next((g for g in _reachable(k, rest, at, places) if _fits([*g, k], target)), None)
        if home is None:
            return None
        home.append(k)
    return [g for i, g in enumerate(rest) if i != at]


def _reachable(k: K, groups: list[list[K]], at: int, places: Mapping[Value, Place]) -> list[list[K]]:
    """The groups before and behind that one which the kernel can be moved to, passing none that it waits for."""
    found: list[list[K]] = []
    for side in (groups[:at][::-1], groups[at + 1 :]):
        for group in side:
            if _waits(k, group, places):
                break
            found.append(group)
    return found
