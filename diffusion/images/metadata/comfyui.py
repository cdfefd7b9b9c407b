"""The graph that ComfyUI writes into a PNG's chunk ``prompt``, as far as it is a plain text-to-image one.

It maps a node's id to its ``class_type`` and its ``inputs``; an input is a value or a link, ``[id of a node, number of its
output]``. Files come from anywhere, so nothing of this is relied on.
"""

from collections.abc import Callable
from typing import Any, Final

from diffusion.errors import InvalidImageError

SAMPLERS: Final = ("KSampler", "KSamplerAdvanced")
TEXTS: Final = ("text", "text_g", "prompt")  # inputs of nodes that encode a prompt
MODELS: Final = ("ckpt_name", "unet_name")
VALUES: Final = ("value", "seed", "int", "float", "number", "text", "string")  # inputs of nodes that only hold a value
DEPTH: Final = 30  # of links: made-up graphs may run in circles


class Node:
    """A node of the graph."""

    def __init__(self, kind: str, inputs: dict[str, Any]) -> None:
        self.kind, self.inputs = kind, inputs

    def first(self, *names: str) -> Any:
        """Give that of the inputs ``names`` which it has."""
        return next((self.inputs[name] for name in names if name in self.inputs), None)


class Graph:
    """The nodes by their ids; what is none is left out."""

    def __init__(self, graph: Any) -> None:
        self.nodes = {
            str(id): Node(str(node.get("class_type")), node["inputs"])
            for id, node in (graph.items() if isinstance(graph, dict) else ())
            if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
        }

    def target(self, link: Any) -> Node | None:
        """Give the node that ``link`` leads to."""
        return self.nodes.get(str(link[0])) if isinstance(link, list) and len(link) == 2 else None

    def find(self, link: Any, wanted: Callable[[Node], bool], *through: str) -> Node:
        """Give the first node that is ``wanted`` along ``link`` and on by the inputs ``through``, or an empty one."""
        for _ in range(DEPTH):
            node = self.target(link)
            if node is None:
                break
            if wanted(node):
                return node
            link = node.first(*through)
        return Node("", {})

    def value(self, node: Node, *names: str) -> Any:
        """Give the input ``names`` of ``node``, from the node that holds it where it is a link."""
        value = node.first(*names)
        for _ in range(DEPTH):
            target = self.target(value)
            if target is None:
                return value
            value = target.first(*VALUES)
        return None

    def text(self, node: Node, *names: str) -> str:
        """Give an input that is a text, or an empty one."""
        value = self.value(node, *names)
        return value if isinstance(value, str) else ""

    def number(self, kind: type, node: Node, *names: str) -> Any:
        """Give an input that is a number of a size that means something, or None."""
        value = self.value(node, *names)
        sound = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**64
        return kind(value) if sound else None


def read_graph(prompt: Any) -> tuple[dict[str, Any], str, str]:
    """Give the settings of `ImageRequest`, the model and the sampler; raises `InvalidImageError` where there is no sampler.

    Of several samplers, that which begins with an empty latent image counts; the others refine what it made.
    """
    graph = Graph(prompt)
    samplers = [node for node in graph.nodes.values() if node.kind in SAMPLERS]
    if not samplers:
        raise InvalidImageError("This picture does not say how it was made, or not in a way that I can read.")
    empties = {node: graph.find(node.first("latent_image"), _is_empty, "samples", "latent") for node in samplers}
    sampler = next((node for node, empty in empties.items() if empty.inputs), samplers[0])
    positive, negative = (
        graph.find(sampler.first(name), lambda node: node.first(*TEXTS) is not None, "conditioning", "conditioning_1", name)
        for name in ("positive", "negative")
    )
    loader = graph.find(sampler.first("model"), lambda node: node.first(*MODELS) is not None, "model")
    found = {
        "prompt": graph.text(positive, *TEXTS),
        "negative_prompt": graph.text(negative, *TEXTS),
        "steps": graph.number(int, sampler, "steps"),
        "guidance_scale": graph.number(float, sampler, "cfg"),
        "seed": graph.number(int, sampler, "seed", "noise_seed"),
        "width": graph.number(int, empties[sampler], "width"),
        "height": graph.number(int, empties[sampler], "height"),
    }
    settings = {field: value for field, value in found.items() if value is not None}
    name, scheduler = graph.text(sampler, "sampler_name"), graph.text(sampler, "scheduler")
    return settings, graph.text(loader, *MODELS), f"{name} karras" if scheduler == "karras" else name


def _is_empty(node: Node) -> bool:
    return node.kind.startswith("Empty") and "Latent" in node.kind
