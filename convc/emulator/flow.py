"""The order in which blocks of instructions are laid out, so that lanes that took different ways meet again.

The engine runs, of the lanes of a warp, those that are furthest behind. They meet after a branch where every block
comes after all those that lead to it, and the blocks of a loop stay together. PTX text keeps neither rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import networkx as nx

from convc.emulator.ptx import Instruction, Kernel

_LEAVES = ("ret", "exit", "trap")


def blocks_in_order(kernel: Kernel) -> list[range]:
    """The basic blocks, as ranges of instruction numbers, the first one first."""
    count = len(kernel.instructions)
    starts = {0, *(at for at in kernel.labels.values() if at < count)}
    starts |= {k + 1 for k, i in enumerate(kernel.instructions) if _ends_block(i) and k + 1 < count}
    bounds = [*sorted(starts), count]
    blocks = {start: range(start, end) for start, end in pairwise(bounds) if end > start}
    graph = nx.DiGraph()
    graph.add_nodes_from(blocks)
    for start, block in blocks.items():
        last = kernel.instructions[block[-1]]
        graph.add_edges_from((start, to) for to in targets(kernel, last) if to < count)
        if falls_through(last) and block.stop < count:
            graph.add_edge(start, block.stop)
    return [blocks[start] for start in _ordered(graph, 0)]


def targets(kernel: Kernel, instruction: Instruction) -> list[int]:
    """The numbers of the instructions that a branch may lead to."""
    word = instruction.opcode.split(".")[0]
    if word == "bra":
        names: tuple[str, ...] = instruction.operands
    elif word == "brx":
        names = kernel.tables.get(instruction.operands[-1], ())
    else:
        return []
    return [at for name in names if (at := kernel.find_label(name, instruction)) is not None]


def falls_through(instruction: Instruction) -> bool:
    """Whether the next instruction may come next."""
    return bool(instruction.guard) or instruction.opcode.split(".")[0] not in ("bra", "brx", *_LEAVES)


def _ends_block(instruction: Instruction) -> bool:
    return instruction.opcode.split(".")[0] in ("bra", "brx", *_LEAVES)


def _ordered(graph: nx.DiGraph, entry: int) -> Iterator[int]:
    """Topological but for loops, whose blocks follow one another, and else in the order of the text."""
    parts = nx.condensation(graph)
    first = {part: min(members) for part, members in parts.nodes(data="members")}
    first[parts.graph["mapping"].get(entry, -1)] = -1
    for part in nx.lexicographical_topological_sort(parts, key=first.__getitem__):
        members = parts.nodes[part]["members"]
        if len(members) == 1:
            yield from members
            continue
        entered = [node for node in members if node == entry or any(p not in members for p in graph.predecessors(node))]
        header = entry if entry in members else min(entered or members)
        loop = nx.DiGraph(graph.subgraph(members))
        loop.remove_edges_from(list(loop.in_edges(header)))
        yield from _ordered(loop, header)
