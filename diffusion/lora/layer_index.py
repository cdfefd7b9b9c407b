"""Which layers of which network a LoRA file changes, by the names and shapes of its tensors.

kohya's tools and diffusers write the same numbers under other names. Names of layers are compared with all dots as underscores,
as kohya's tools write them; the map comes from the model itself, so nothing has to be guessed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from diffusion.lora.header import DAMAGED, Header, LoraError
from diffusion.lora.kinds import family_of, foreign_kind
from diffusion.lora.original_names import original_layers, original_name
from diffusion.text import N_, Text

UNET: Final = "unet"
TRANSFORMER: Final = "transformer"
DENOISERS: Final = (UNET, TRANSFORMER)
TEXT_ENCODERS: Final = ("text_encoder", "text_encoder_2")
# Each network's prefixes; those with an underscore at the end are kohya's. "unet" stands for any denoiser.
PREFIXES: Final = {
    "lora_unet_": UNET,
    "unet.": UNET,
    "transformer.": UNET,
    "diffusion_model.": UNET,
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
PART: Final = re.compile(
    r"\.(?:(?P<down>lora_down\.weight|lora_A(?:\.\w+)?\.weight|lora(?:_linear_layer)?\.down\.weight)"
    r"|(?P<up>lora_up\.weight|lora_B(?:\.\w+)?\.weight|lora(?:_linear_layer)?\.up\.weight)"
    r"|(?P<mid>lora_mid\.weight)|(?P<alpha>alpha))$"
)
# Names of diffusers before 0.18: the LoRA is a part of the attention's processor.
OLD_UNET: Final = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight$")
OLD_TEXT: Final = re.compile(r"\.self_attn\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
TEXT_MODEL: Final = "text_model_"  # some versions of transformers have a module of this name around the others

FOREIGN_KIND: Final = N_("The LoRA {name} is of the kind {kind}, which I cannot use. Choose another one.")
OTHER_FAMILY: Final = N_("The LoRA {name} is for {other}, and this model is {family}. Choose another one.")
OTHER_MODEL: Final = N_("The LoRA {name} is for another model: {layer} is not in this one. Choose another one.")
OTHER_SHAPE: Final = N_("The LoRA {name} is for another model: {layer} has another size in this one. Choose another one.")
NO_LORAS: Final = N_("I cannot use LoRAs with {family} yet. Leave out {name}.")
NO_LORA: Final = N_("The file {name} is no LoRA. Choose another one.")

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]  # of weights, by network and module


@dataclass(frozen=True)
class LayerFile:
    """The tensors of one layer in a file, by name, and its ``rank``.

    ``module`` of ``network`` is the layer. ``mid`` and ``alpha`` may be empty. Where one layer of the file stands for several,
    the outputs of this one are those from ``first`` to before ``end``.
    """

    network: str
    module: str
    down: str
    up: str
    rank: int
    mid: str = ""
    alpha: str = ""
    first: int = 0
    end: int | None = None


class LayerIndex:
    """Finds the layers of a model, of ``family``, by their names in files.

    ``shapes`` are those of the weights that a LoRA may change.
    """

    def __init__(self, family: str, shapes: Shapes, layers_per_block: int = 2) -> None:
        self.family = family
        self.shapes = shapes
        self._denoiser = next((network for network in DENOISERS if network in shapes), UNET)
        self._modules: dict[tuple[str, str], tuple[str, ...]] = {}
        for network, modules in shapes.items():
            for module in modules:
                for alias in _aliases(network, module, layers_per_block):
                    self._modules[network, alias] = (module,)
            if network == TRANSFORMER:
                originals = original_layers(modules).items()
                self._modules |= {(network, name.replace(".", "_")): joined for name, joined in originals}

    def match(self, name: str, header: Header) -> list[LayerFile]:
        """Return the layers of the LoRA ``name``, by its header.

        Raises `LoraError` for a LoRA that this model cannot use as a whole.
        """
        if not self.shapes:
            raise LoraError(Text(NO_LORAS, name=name, family=self.family))
        if kind := foreign_kind(header):
            raise LoraError(Text(FOREIGN_KIND, name=name, kind=kind))
        found: dict[tuple[str, str], dict[str, str]] = {}
        for tensor in header.shapes:
            network, layer, part = _split(tensor, name)
            if found.setdefault((network, layer), {}).setdefault(part, tensor) != tensor:
                raise LoraError(Text(DAMAGED, name=name))
        layers = [layer for key, parts in found.items() for layer in self._layers(name, header, key, parts)]
        if not layers:
            raise LoraError(Text(NO_LORA, name=name))
        if len({(layer.network, layer.module) for layer in layers}) < len(layers):  # a layer under two names
            raise LoraError(Text(DAMAGED, name=name))
        return layers

    def _layers(self, name: str, header: Header, key: tuple[str, str], parts: Mapping[str, str]) -> Iterable[LayerFile]:
        network, layer = self._denoiser if key[0] == UNET else key[0], key[1]
        modules = self._modules.get((network, layer.removeprefix(TEXT_MODEL)))
        if modules is None:
            raise LoraError(self._other_family(name, header) or Text(OTHER_MODEL, name=name, layer=f"`{layer[:60]}`"))
        if "down" not in parts or "up" not in parts:
            raise LoraError(Text(DAMAGED, name=name))
        down, up = header.shapes[parts["down"]], header.shapes[parts["up"]]
        mid = header.shapes[parts["mid"]] if "mid" in parts else None
        if len(down) < 2 or len(up) < 2 or min(*down, *up) < 1:
            raise LoraError(Text(DAMAGED, name=name))
        rank = up[1]
        read = _trimmed(down[1:]) if mid is None else (down[1], *_trimmed(mid[2:]))
        ranks_fit = rank == down[0] if mid is None else mid[:2] == (rank, down[0]) and len(mid) == 4
        shapes = [self.shapes[network][module] for module in modules]
        if not ranks_fit or _trimmed(up[2:]):
            raise LoraError(Text(DAMAGED, name=name))
        if up[0] != sum(shape[0] for shape in shapes) or any(read != _trimmed(shape[1:]) for shape in shapes):
            raise LoraError(self._other_family(name, header) or Text(OTHER_SHAPE, name=name, layer=f"`{layer[:60]}`"))
        tensors = parts["down"], parts["up"], rank, parts.get("mid", ""), parts.get("alpha", "")
        first = 0
        for module, shape in zip(modules, shapes, strict=True):
            yield LayerFile(network, module, *tensors, first, first + shape[0])
            first += shape[0]

    def _other_family(self, name: str, header: Header) -> Text | None:
        other = family_of(header)
        if not other or self.family.startswith(other):  # of FLUX.2, klein is one kind
            return None
        return Text(OTHER_FAMILY, name=name, other=other, family=self.family)


def _split(tensor: str, name: str) -> tuple[str, str, str]:
    """Return the network, the layer with underscores, and the part that ``tensor`` is."""
    if old := OLD_UNET.search(tensor):
        layer, part = f"{tensor[: old.start()]}.{old[1]}" + (".0" if old[1] == "to_out" else ""), old[2]
    elif old := OLD_TEXT.search(tensor):
        layer, part = f"{tensor[: old.start()]}.self_attn.{old[1]}_proj", old[2]
    elif found := PART.search(tensor):
        layer, part = tensor[: found.start()], str(found.lastgroup)
    else:
        raise LoraError(Text(NO_LORA, name=name))
    prefix = next((prefix for prefix in PREFIXES if layer.startswith(prefix)), "")
    return PREFIXES.get(prefix, UNET), layer.removeprefix(prefix).replace(".", "_"), part


def _trimmed(sides: tuple[int, ...]) -> tuple[int, ...]:
    """Return ``sides`` without those of a kernel of 1x1."""
    while sides and sides[-1] == 1 and len(sides) != 1:
        sides = sides[:-1]
    return () if sides == (1,) else sides


def _aliases(network: str, module: str, layers_per_block: int) -> Iterable[str]:
    """Yield the names of ``module`` in files, without their prefix and with underscores."""
    flat = module.replace(".", "_")
    if network in TEXT_ENCODERS:
        yield flat.removeprefix(TEXT_MODEL)
        return
    yield flat
    if network == UNET and (original := original_name(module, layers_per_block)):
        yield original.replace(".", "_")
