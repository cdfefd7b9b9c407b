"""From a graph of ComfyUI to a recipe: find the sampler that drew the picture, and follow its links."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from diffusion.images.metadata.comfyui.graph import Graph, Node
from diffusion.images.metadata.comfyui.texts import Prompts
from diffusion.images.metadata.recipe import Recipe, UnreadableError, find_json, known, parse_json, sampler_name

TOOL: Final = "ComfyUI"
MODEL_INPUTS: Final = ("ckpt_name", "unet_name", "base_ckpt_name", "model_name")
LORA_INPUTS: Final = ("lora_name", *(f"lora_{number:02}" for number in range(1, 6)))
SIZE_INPUTS: Final = (("width", "height"), ("empty_latent_width", "empty_latent_height"))
LATENT_INPUTS: Final = ("latent_image", "latent", "samples", "optional_latent", "image", "upscaled_image")
PIPES: Final = ("pipe", "sdxl_tuple", "basic_pipe", "context", "ctx", "settings")  # one link for many values
OUTPUTS: Final = ("SaveImage", "PreviewImage")
SOURCES: Final = ("LoadImage", "VAEEncode", "LoadLatent", "ImageLoad")
# Nodes on the way to a model that change nothing in the picture, or that the sampler's settings tell.
PLAIN_NODES: Final = (
    "Loader",
    "Reroute",
    "ModelSampling",
    "Lora",
    "LoRA",
    "CheckpointLoader",
    "Eff.",
    "Primitive",
    "Torch",
    "Compile",
)
MAX_PARTS: Final = 20


def read(texts: Mapping[str, str]) -> Recipe | None:
    """Read the graph of ComfyUI. Raises `UnreadableError` if no sampler is in it."""
    prompt = texts.get("prompt", "")
    found = parse_json(prompt)
    if not isinstance(found, dict):
        found = find_json(texts, "exif:UserComment", "comment")
    graph = Graph(found)
    if not graph.nodes:
        for name, text in (("prompt", prompt), ("workflow", texts.get("workflow", ""))):
            if text.lstrip().startswith(("{", "[")):
                raise UnreadableError(TOOL, name)
        return None
    samplers = list(_samplers(graph))
    if not samplers:
        raise UnreadableError(TOOL, "graph")
    *later, first = samplers
    return _Reading(graph, first, later).recipe()


class _Reading:
    """What the links of ``sampler`` lead to. ``later`` samplers change its picture."""

    def __init__(self, graph: Graph, sampler: Node, later: list[Node]) -> None:
        self.graph = graph
        self.sampler = sampler
        self.later = later
        self.guider = graph.follow(sampler.get("guider"))
        self.sigmas = list(graph.chain(sampler.get("sigmas"), "sigmas"))
        pipes = graph.chain(sampler.get(*PIPES), *PIPES)
        # A value is looked for in these nodes, in this order.
        linked = (graph.follow(sampler.get(name)) for name in ("noise", "sampler"))
        self.nodes = [node for node in (sampler, self.guider, *linked, *self.sigmas, *pipes) if node is not None]
        self.prompts = Prompts(graph)

    def recipe(self) -> Recipe:
        """Return the recipe."""
        latents = list(_latents(self.graph, self.sampler)) or self.nodes
        size = next(filter(None, (_size(self.graph, node) for node in latents)), (None, None))
        positive, negative = self._prompts()
        settings = known(
            prompt=positive,
            negative_prompt=negative,
            steps=self._number(int, "steps"),
            guidance_scale=self._number(float, "cfg", "cfg_conds"),
            seed=self._number(int, "seed", "noise_seed"),
            width=size[0],
            height=size[1],
        )
        models = list(self._models())
        changing = [node.kind for node in (*models, *self.later) if not _is_plain(node)]
        return Recipe(
            settings,
            next(filter(None, (self._text(node, *MODEL_INPUTS) for node in models)), ""),
            sampler_name(self._sampler(), self._first_text("scheduler")),
            has_source=any(node.kind.startswith(SOURCES) for node in latents),
            loras=tuple(lora for node in models for lora in _loras(node))[:MAX_PARTS],
            left_out=(*self.prompts.left_out, *changing)[:MAX_PARTS],
            unread=tuple(self.prompts.unread)[:MAX_PARTS],
        )

    def _prompts(self) -> tuple[str, str]:
        for node in self.nodes:
            if "positive" in node.inputs:
                return self._prompt(node, "positive"), self._prompt(node, "negative")
            if "cond1" in node.inputs:  # of two prompts that guide each other
                self.prompts.left_out.append(node.kind)
                return self.prompts.conditioning(node.inputs["cond1"], "positive"), self._prompt(node, "negative")
            if "conditioning" in node.inputs:
                return self.prompts.conditioning(node.inputs["conditioning"], "positive"), ""
        return "", ""

    def _prompt(self, node: Node, role: str) -> str:
        value = node.get(role)
        return self.prompts.text(value) if isinstance(value, str) else self.prompts.conditioning(value, role)

    def _models(self) -> Iterator[Node]:
        """Yield the nodes from the sampler to the loader of its model."""
        for node in self.nodes:
            if "model" in node.inputs:
                yield from self.graph.chain(node.inputs["model"], "model", "model1", *PIPES)
                return
        yield from (node for node in self.nodes if node.get(*MODEL_INPUTS) is not None)

    def _sampler(self) -> str:
        if name := self._first_text("sampler_name"):
            return name
        chosen = self.graph.follow(self.sampler.get("sampler"))
        return chosen.kind.removeprefix("Sampler") if chosen else ""

    def _first_text(self, *names: str) -> str:
        found = (self._text(node, *names) for node in self.nodes)
        if text := next(filter(None, found), ""):
            return text
        kind = next((node.kind for node in self.sigmas if node.kind.endswith("Scheduler")), "")
        return kind.removesuffix("Scheduler").lower() if names == ("scheduler",) else ""

    def _text(self, node: Node, *names: str) -> str:
        value = self.graph.value(node, *names)
        return value if isinstance(value, str) else ""

    def _number(self, kind: type, *names: str) -> Any:
        found = (self.graph.number(kind, node, *names) for node in self.nodes)
        return next((number for number in found if number is not None), None)


def _is_sampler(node: Node) -> bool:
    """Whether ``node`` samples, by its inputs: extensions call theirs by many names."""
    if node.get(*MODEL_INPUTS) is not None or "Select" in node.kind:
        return False
    has_settings = node.has("guider", "sigmas") or node.has("sampler", "sigmas") or node.has("steps", "cfg", "sampler_name")
    has_prompt = any(name in node.inputs for name in ("positive", "guider", *PIPES))
    return (has_settings and has_prompt) or "ksampler" in node.kind.lower()


def _samplers(graph: Graph) -> Iterator[Node]:
    """Yield the samplers of the saved picture, from the last to the one that drew it from the start.

    A sampler can begin where another one ended, such as after enlarging.
    """
    outputs = [node for node in graph.nodes.values() if node.kind.startswith(OUTPUTS)]
    reached = graph.upstream(value for node in outputs for value in node.inputs.values())
    sampler = next((node for node in reached if _is_sampler(node)), None)
    if sampler is None:
        samplers = [node for node in graph.nodes.values() if _is_sampler(node)]
        drawing = (node for node in samplers if any(map(_is_empty, _latents(graph, node))))
        sampler = next(drawing, None) or next(iter(samplers), None)
    seen: set[str] = set()
    while sampler is not None and sampler.id not in seen:
        yield sampler
        seen.add(sampler.id)
        sampler = next((node for node in _latents(graph, sampler) if _is_sampler(node)), None)


def _latents(graph: Graph, sampler: Node) -> Iterator[Node]:
    """Yield the nodes that the start of ``sampler`` depends on, up to an earlier sampler."""
    for node in graph.upstream([sampler.get(*LATENT_INPUTS)]):
        yield node
        if _is_sampler(node):
            return


def _is_empty(node: Node) -> bool:
    return node.kind.startswith("Empty") and "Latent" in node.kind


def _size(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Return the width and height that a node sets, if any."""
    for names in SIZE_INPUTS:
        width, height = (graph.number(int, node, name) for name in names)
        if width and height:
            return width, height
    return None


def _loras(node: Node) -> Iterator[str]:
    for name in LORA_INPUTS:
        if isinstance(lora := node.inputs.get(name), str) and lora != "None":
            yield lora
    for value in node.inputs.values():  # several in one node
        if isinstance(value, dict) and isinstance(value.get("lora"), str) and value.get("on", True):
            yield value["lora"]


def _is_plain(node: Node) -> bool:
    return any(word in node.kind for word in PLAIN_NODES) or node.get(*MODEL_INPUTS) is not None
