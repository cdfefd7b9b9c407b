"""InvokeAI: the chunk "invokeai_metadata" of versions from 3 on, "sd-metadata" of version 2."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from diffusion.images.metadata.recipe import (
    Recipe,
    UnreadableError,
    as_dict,
    as_list,
    as_text,
    find_json,
    known,
    numbers,
)

CHUNK: Final = "invokeai_metadata"
OLD_CHUNK: Final = "sd-metadata"
LISTS: Final = {"controlnets": "ControlNet", "ipAdapters": "IP-Adapter", "t2iAdapters": "T2I-Adapter"}
OBJECTS: Final = {"refiner_model": "Refiner", "ref_images": "Reference images"}
MAX_LORAS: Final = 20


def read(texts: Mapping[str, str]) -> Recipe | None:
    """Read the settings of InvokeAI."""
    chunk = next((name for name in (CHUNK, OLD_CHUNK) if name in texts), None)
    if chunk is None:
        return None
    values = find_json(texts, chunk)
    if not values:
        raise UnreadableError("InvokeAI", chunk)
    return _read_old(values) if chunk == OLD_CHUNK else _read_new(values)


def _read_new(values: dict[str, Any]) -> Recipe:
    model = as_dict(values.get("model"))
    return Recipe(
        _settings(values, as_text(values.get("positive_prompt"))),
        as_text(model.get("name"), model.get("model_name"), values.get("model")),
        as_text(values.get("scheduler")),
        has_source=as_text(values.get("generation_mode")).partition("_")[2] in ("img2img", "inpaint", "outpaint")
        or as_text(values.get("generation_mode")) in ("img2img", "inpaint", "outpaint")
        or bool(values.get("init_image")),
        loras=tuple(_loras(values)),
        left_out=tuple(title for name, title in (LISTS | OBJECTS).items() if values.get(name)),
    )


def _read_old(values: dict[str, Any]) -> Recipe:
    image = as_dict(values.get("image"))
    prompts = image.get("prompt")
    if isinstance(prompts, list):
        prompts = ", ".join(as_text(as_dict(each).get("prompt")) for each in prompts)
    return Recipe(
        _settings(image, as_text(prompts)),
        as_text(values.get("model_weights")),
        as_text(image.get("sampler")),
        has_source=image.get("type") == "img2img",
    )


def _settings(values: dict[str, Any], prompt: str) -> dict[str, Any]:
    return known(
        prompt=prompt,
        negative_prompt=as_text(values.get("negative_prompt")),
        **numbers(values, "cfg_scale"),
    )


def _loras(values: dict[str, Any]) -> Iterator[str]:
    for each in as_list(values.get("loras"))[:MAX_LORAS]:
        lora = as_dict(as_dict(each).get("model") or as_dict(each).get("lora"))
        yield as_text(lora.get("name"), lora.get("model_name"), "LoRA")
