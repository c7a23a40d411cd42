"""A graph while nodes of it are joined: who reads what, and which nodes are to be looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from convc.ir.core import Graph, Node, Value

Place = tuple[int, ...]
"""Where a node stands: places compare as the nodes are ordered, and there is room behind each."""
Step = Callable[[Node], bool]
"""Tries to join a node with another one; whether it did."""


class FusionGraph:
    """The nodes of a graph, in topological order, with their readers; `exchange` keeps all tables up to date.

    `steps` take turns, each at the first node in order that it can join, until none of them finds another. What did
    not fit is tried again only after something near it has changed.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.returned = frozenset(graph.results)
        self.users: dict[Value, dict[Node, None]] = {v: {} for v in graph.values()}
        self.producers: dict[Value, Node] = {}
        self._places: dict[Node, Place] = {}
        self._queues: list[Queue] = []
        self._turns = 0
        for i, node in enumerate(graph.nodes):
            self._link(node, (i,))

    def run(self, *steps: Step) -> bool:
        """Whether any step joined anything."""
        self._queues = [Queue(self._places) for _ in steps]
        self._look_at(list(self._places))
        any_joined, joined = False, True
        while joined:
            found = [queue.first(step) for queue, step in zip(self._queues, steps)]
            joined = any(found)
            any_joined |= joined
        return any_joined

    def result(self) -> Graph:
        """The graph as it is now."""
        return self.graph.with_nodes(sorted(self._places, key=self._places.__getitem__))

    def readers(self, v: Value) -> Sequence[Node]:
        """The nodes that read the value, in no order."""
        return tuple(self.users[v])

    def exchange(self, old: Sequence[Node], new: Node, behind: Iterable[Node] = ()) -> None:
        """`new` takes the place of the last of the old nodes, and `behind` go right behind it, as they are ordered.

        Nodes that are then read by nobody go, too.
        """
        place = self._places[old[-1]]
        for node in old:
            self._unlink(node)
        self._link(new, place)
        self._turns += 1
        for i, node in enumerate(sorted(behind, key=self._places.__getitem__)):
            self._places[node] = (*place, -self._turns, i)
            self._look_at([node])
        self._look_at([new, *(n for v in new.outputs for n in self.users[v])])
        for v in dict.fromkeys(v for node in old for v in node.inputs):
            self._fewer_readers(v)

    def between(self, starts: Iterable[Value], end: Node) -> list[Node] | None:
        """The nodes before `end` that depend on the values; None where `end` depends on one of these nodes."""
        found: dict[Node, None] = {}
        left = [n for v in starts for n in self.users[v] if n is not end]
        while left:
            node = left.pop()
            if node in found or self._places[node] > self._places[end]:
                continue
            found[node] = None
            readers = [n for v in node.outputs for n in self.users[v]]
            if end in readers:
                return None
            left += readers
        return list(found)

    def _look_at(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            for queue in self._queues:
                queue.put(node)

    def _fewer_readers(self, v: Value) -> None:
        left = [v]
        while left:
            v = left.pop()
            readers, producer = self.users[v], self.producers.get(v)
            if len(readers) == 1:
                self._look_at(readers)
            elif not readers and producer and not any(self.users[o] or o in self.returned for o in producer.outputs):
                self._unlink(producer)
                left += dict.fromkeys(producer.inputs)

    def _link(self, node: Node, place: Place) -> None:
        self._places[node] = place
        for v in node.outputs:
            self.producers[v] = node
            self.users.setdefault(v, {})
        for v in node.inputs:
            self.users[v][node] = None

    def _unlink(self, node: Node) -> None:
        del self._places[node]
        for v in node.outputs:
            del self.producers[v]
        for v in dict.fromkeys(node.inputs):
            del self.users[v][node]


class Queue:
    """Nodes to be looked at, the first in order first, each once; `places` says where a node stands now."""

    def __init__(self, places: dict[Node, Place]) -> None:
        self._places = places
        self._heap: list[tuple[Place, int, Node]] = []
        self._waiting: dict[Node, Place] = {}
        self._count = 0

    def put(self, node: Node) -> None:
        place = self._places[node]
        if self._waiting.get(node) == place:
            return
        self._waiting[node] = place
        self._count += 1  # places of different nodes differ, but a node may stand twice in the heap
        heappush(self._heap, (place, self._count, node))

    def first(self, step: Step) -> bool:
        """Try the nodes in order until the step joins one; those that it does not are done with."""
        while self._heap:
            place, _, node = heappop(self._heap)
            if self._waiting.get(node) != place:
                continue
            del self._waiting[node]
            if self._places.get(node) == place and step(node):
                return True
        return False
