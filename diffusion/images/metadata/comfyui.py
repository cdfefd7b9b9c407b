"""Plain text-to-image graphs of ComfyUI, from the PNG chunk ``prompt``.

A graph maps a node's id to its ``class_type`` and its ``inputs``. An input is a value or a link, ``[node id, number of its
output]``. The files are untrusted, so nothing in a graph is certain.
"""

from collections.abc import Callable
from typing import Any, Final

from diffusion.errors import InvalidImageError

SAMPLER_NODES: Final = ("KSampler", "KSamplerAdvanced")
TEXT_INPUTS: Final = ("text", "text_g", "prompt")  # inputs of nodes that encode a prompt
MODEL_INPUTS: Final = ("ckpt_name", "unet_name")
VALUE_INPUTS: Final = ("value", "seed", "int", "float", "number", "text", "string")  # inputs of nodes that hold a value
MAX_LINKS: Final = 30  # forged graphs can be circular


class Node:
    """A node of the graph."""

    def __init__(self, kind: str, inputs: dict[str, Any]) -> None:
        self.kind = kind
        self.inputs = inputs

    def get(self, *names: str) -> Any:
        """Return the first input of ``names`` that the node has, or None."""
        return next((self.inputs[name] for name in names if name in self.inputs), None)


class Graph:
    """The valid nodes of a graph by their ids."""

    def __init__(self, graph: Any) -> None:
        self.nodes = {
            str(id): Node(str(node.get("class_type")), node["inputs"])
            for id, node in (graph.items() if isinstance(graph, dict) else ())
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        }

    def follow(self, link: Any) -> Node | None:
        """Return the node at the end of ``link``, or None."""
        return self.nodes.get(str(link[0])) if isinstance(link, list) and len(link) == 2 else None

    def find(self, link: Any, wanted: Callable[[Node], bool], *through: str) -> Node:
        """Return the first node along ``link`` that is ``wanted``, or an empty node.

        From any other node the search goes on by the first of the inputs ``through``.
        """
        for _ in range(MAX_LINKS):
            node = self.follow(link)
            if node is None:
                break
            if wanted(node):
                return node
            link = node.get(*through)
        return Node("", {})

    def value(self, node: Node, *names: str) -> Any:
        """Return the first input of ``names``, through links to its value."""
        value = node.get(*names)
        for _ in range(MAX_LINKS):
            target = self.follow(value)
            if target is None:
                return value
            value = target.get(*VALUE_INPUTS)
        return None

    def text(self, node: Node, *names: str) -> str:
        """Return a text input, or an empty text."""
        value = self.value(node, *names)
        return value if isinstance(value, str) else ""

    def number(self, kind: type, node: Node, *names: str) -> Any:
        """Return a finite number input as ``kind``, or None."""
        value = self.value(node, *names)
        sound = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**64
        return kind(value) if sound else None


def read_graph(prompt: Any) -> tuple[dict[str, Any], str, str]:
    """Return the settings of `ImageRequest`, the model and the sampler of a graph.

    If there are several samplers, the one that starts from an empty latent image counts. Raises `InvalidImageError` if there
    is none.
    """
    graph = Graph(prompt)
    samplers = [node for node in graph.nodes.values() if node.kind in SAMPLER_NODES]
    if not samplers:
        raise InvalidImageError("This picture contains no generation settings that I can read.")
    empties = {node: graph.find(node.get("latent_image"), _is_empty, "samples", "latent") for node in samplers}
    sampler = next((node for node, empty in empties.items() if empty.inputs), samplers[0])
    positive, negative = (
        graph.find(sampler.get(name), lambda node: node.get(*TEXT_INPUTS) is not None, "conditioning", "conditioning_1", name)
        for name in ("positive", "negative")
    )
    loader = graph.find(sampler.get("model"), lambda node: node.get(*MODEL_INPUTS) is not None, "model")
    found = {
        "prompt": graph.text(positive, *TEXT_INPUTS),
        "negative_prompt": graph.text(negative, *TEXT_INPUTS),
        "steps": graph.number(int, sampler, "steps"),
        "guidance_scale": graph.number(float, sampler, "cfg"),
        "seed": graph.number(int, sampler, "seed", "noise_seed"),
        "width": graph.number(int, empties[sampler], "width"),
        "height": graph.number(int, empties[sampler], "height"),
    }
    settings = {field: value for field, value in found.items() if value is not None}
    name = graph.text(sampler, "sampler_name")
    scheduler = graph.text(sampler, "scheduler")
    return settings, graph.text(loader, *MODEL_INPUTS), f"{name} karras" if scheduler == "karras" else name


def _is_empty(node: Node) -> bool:
    return node.kind.startswith("Empty") and "Latent" in node.kind
