"""The graph of ComfyUI: nodes, and the links between them.

A graph maps a node's id to its ``class_type`` and its ``inputs``. An input is a value or a link, ``[node id, number of its
output]``. The files are untrusted, so nothing in a graph is certain.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

MAX_LINKS: Final = 100  # along one way; forged graphs can be circular
VALUE_INPUTS: Final = ("value", "seed", "int", "float", "number", "Value", "noise_seed")  # of nodes that hold a number


class Node:
    """A node of the graph."""

    def __init__(self, id: str, kind: str, inputs: dict[str, Any]) -> None:
        self.id = id
        self.kind = kind
        self.inputs = inputs

    def get(self, *names: str) -> Any:
        """Return the first input of ``names`` that the node has, or None."""
        return next((self.inputs[name] for name in names if name in self.inputs), None)

    def has(self, *names: str) -> bool:
        """Whether the node has all inputs ``names``."""
        return all(name in self.inputs for name in names)


class Graph:
    """The valid nodes of a graph by their ids."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self.nodes = {
            str(id): Node(str(id), str(node.get("class_type")), node["inputs"])
            for id, node in graph.items()
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        }

    def follow(self, link: Any) -> Node | None:
        """Return the node at the end of ``link``, or None."""
        if isinstance(link, list) and len(link) == 2 and isinstance(link[0], (str, int)):
            return self.nodes.get(str(link[0])[:MAX_LINKS])
        return None

    def chain(self, link: Any, *through: str) -> Iterator[Node]:
        """Yield the nodes along ``link``, each followed by the first of the inputs ``through`` that it has."""
        for _ in range(MAX_LINKS):
            node = self.follow(link)
            if node is None:
                return
            yield node
            link = node.get(*through)

    def upstream(self, links: Iterable[Any]) -> Iterator[Node]:
        """Yield all nodes that ``links`` depend on, each once, the nearest first."""
        queue = deque(links)
        seen: set[str] = set()
        while queue:
            node = self.follow(queue.popleft())
            if node is not None and node.id not in seen:
                seen.add(node.id)
                yield node
                queue.extend(node.inputs.values())

    def value(self, node: Node, *names: str) -> Any:
        """Return the first input of ``names``, through links to its value."""
        value = node.get(*names)
        for _ in range(MAX_LINKS):
            target = self.follow(value)
            if target is None:
                return value
            value = target.get(*names, *VALUE_INPUTS)
        return None

    def number(self, kind: type, node: Node, *names: str) -> Any:
        """Return a finite number input as ``kind``, or None."""
        value = self.value(node, *names)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**64
        return kind(value) if is_number else None
