"""The texts and prompts of a graph: what its nodes for strings and for conditioning make of them."""

import re
from collections.abc import Callable
from typing import Any, Final

from diffusion.images.metadata.comfyui.graph import Graph, Node

MAX_DEPTH: Final = 60  # of links that one text is made of
MAX_TEXT: Final = 20_000  # characters of a text on its way; a prompt has less
MAX_NODES: Final = 10_000  # that are read for one picture
PARTS: Final = re.compile(r"(?:text|string|str|prompt)_?(?:[a-h]|[0-9]{1,2})")
SEPARATORS: Final = ("delimiter", "separator", "sep")
STRINGS: Final = ("value", "text", "string", "String", "prompt", "Text", "wildcard_text", "populated_text", "text_0")
JOINED: Final = ("string_a", "text_a", "text1", "string1", "text_1", "string_1")
ENCODED: Final = ("text", "prompt", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "bert", "mt5xl", "llama")
TO_FROM: Final = ("conditioning_to", "conditioning_from")


class Prompts:
    """Reads the prompts of ``graph``, each node once. ``unread`` names the kinds of nodes that it cannot read."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.unread: list[str] = []
        self.left_out: list[str] = []
        self._known: dict[tuple[str, str], str] = {}

    def conditioning(self, link: Any, role: str, depth: int = 0) -> str:
        """Return the prompt of the conditioning at ``link``.

        ``role`` is "positive" or "negative": what the one who asks wants it for.
        """
        return self._once(link, f"{role} {_slot(link)}", lambda node: self._prompt(node, link, role, depth), depth)

    def text(self, value: Any, depth: int = 0) -> str:
        """Return a text, or the text at a link."""
        if isinstance(value, str):
            return value[:MAX_TEXT]
        return self._once(value, "text", lambda node: self._string(node, depth), depth)

    def _once(self, link: Any, what: str, read: Callable[[Node], str], depth: int) -> str:
        node = self.graph.follow(link)
        if node is None:
            return ""
        key = (node.id, what)
        if key not in self._known:
            if depth > MAX_DEPTH or len(self._known) > MAX_NODES:
                self._miss(node)
                return ""
            self._known[key] = ""  # for a node that depends on itself
            self._known[key] = read(node)[:MAX_TEXT]
        return self._known[key]

    def _prompt(self, node: Node, link: Any, role: str, depth: int) -> str:
        depth += 1
        kind = node.kind.lower()
        if "zeroout" in kind:
            return ""
        if "controlnet" in kind or "control_net" in node.inputs:
            self.left_out.append("ControlNet")
        if node.has(*TO_FROM):
            return self._to_and_from(node, role, depth)
        if parts := [name for name in node.inputs if re.fullmatch(r"conditioning_?\d{1,2}", name)]:
            return _join(self.conditioning(node.inputs[name], role, depth) for name in sorted(parts, key=_number))
        if node.has("positive", "negative"):
            role = _role_of_slot(node, link, role)
            return self._either(node.inputs[role], role, depth)
        if "conditioning" in node.inputs:
            return self.conditioning(node.inputs["conditioning"], role, depth)
        if texts := [name for name in ENCODED if name in node.inputs]:
            return _join(self.text(node.inputs[name], depth) for name in texts)
        for name in (role, "positive", "cond", "conds", "any", "anything", "value", "input"):
            if name in node.inputs:
                return self._either(node.inputs[name], role, depth)
        self._miss(node)
        return ""

    def _to_and_from(self, node: Node, role: str, depth: int) -> str:
        """Read a Concat, or an Average in which the strength is the share of ``conditioning_to``."""
        share = self.graph.number(float, node, "conditioning_to_strength")
        names = TO_FROM[:1] if share == 1 else TO_FROM[1:] if share == 0 else TO_FROM
        if share is not None and len(names) == 2:
            self.left_out.append(node.kind)
        return _join(self.conditioning(node.inputs[name], role, depth) for name in names)

    def _either(self, value: Any, role: str, depth: int) -> str:
        """Read an input that can be a text, a link to a text, or a link to conditioning."""
        target = self.graph.follow(value)
        if target is None or _is_string(target):
            return self.text(value, depth)
        return self.conditioning(value, role, depth)

    def _string(self, node: Node, depth: int) -> str:
        depth += 1
        if node.has("string", "find", "replace"):
            return self._replaced(node, depth)
        parts = sorted((name for name in node.inputs if PARTS.fullmatch(name)), key=_part)
        if len(parts) > 1 and "text_0" not in parts:
            separator = self.text(node.get(*SEPARATORS), depth).replace("\\n", "\n")
            texts = (self.text(node.inputs[name], depth) for name in parts)
            return separator.join(filter(None, texts))[:MAX_TEXT]
        for name in (*STRINGS, "positive", *parts):
            if isinstance(value := node.inputs.get(name), (str, list)):
                return self.text(value, depth)
        for name in ("any", "anything", "input", "source", "a"):
            if self.graph.follow(node.inputs.get(name)):
                return self.text(node.inputs[name], depth)
        self._miss(node)
        return ""

    def _replaced(self, node: Node, depth: int) -> str:
        text, find, replacement = (self.text(node.inputs[name], depth) for name in ("string", "find", "replace"))
        count = text.count(find) if find else 0
        if not count or len(text) + count * len(replacement) > MAX_TEXT:
            return text
        return text.replace(find, replacement)

    def _miss(self, node: Node) -> None:
        self.unread.append(node.kind)


def _slot(link: Any) -> str:
    return str(link[1])[:3] if isinstance(link, list) and len(link) == 2 else ""


def _role_of_slot(node: Node, link: Any, role: str) -> str:
    """Return which of its two prompts a node gives at ``link``, by the number of its output."""
    first = 1 if "model" not in node.inputs and "ckpt_name" in node.inputs else 0  # loaders give the model first
    return {str(first): "positive", str(first + 1): "negative"}.get(_slot(link), role)


def _is_string(node: Node) -> bool:
    return not node.has("clip") and any(name in node.inputs for name in (*STRINGS, *JOINED))


def _join(texts: Any) -> str:
    return ", ".join(dict.fromkeys(filter(None, (text.strip().rstrip(",") for text in texts))))[:MAX_TEXT]


def _number(name: str) -> int:
    return int(name.removeprefix("conditioning").removeprefix("_"))


def _part(name: str) -> tuple[int, str]:
    return len(name), name
