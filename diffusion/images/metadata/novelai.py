"""NovelAI: the prompt in "Description", the settings as JSON in "Comment"."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from diffusion.images.metadata.recipe import (
    COMMENTS,
    Recipe,
    UnreadableError,
    as_dict,
    as_list,
    as_text,
    find_json,
    known,
    numbers,
    sampler_name,
)

NAME: Final = "NovelAI"
SOURCE_REQUESTS: Final = ("Img2ImgRequest", "NativeInfillingRequest")
MAX_CHARACTERS: Final = 20
EMPHASIS: Final = str.maketrans("", "", "{}[]")  # more and less of what stands in them


def read(texts: Mapping[str, str]) -> Recipe | None:
    """Read the settings of NovelAI; WebP files have the same names as JSON in a comment."""
    if texts.get("Software") != NAME:
        texts = {name: as_text(value) for name, value in find_json(texts, *COMMENTS).items()}
    if texts.get("Software") != NAME:
        return None
    values = find_json(texts, "Comment")
    if not values:
        raise UnreadableError(NAME, "Comment")
    settings = known(
        prompt=_prompt(values, "v4_prompt") or as_text(values.get("prompt"), texts.get("Description")).translate(EMPHASIS),
        negative_prompt=_prompt(values, "v4_negative_prompt") or as_text(values.get("uc")).translate(EMPHASIS),
        **numbers(values, "scale"),
    )
    return Recipe(
        settings,
        as_text(texts.get("Source")) or NAME,
        sampler_name(as_text(values.get("sampler")), as_text(values.get("noise_schedule"))),
        has_source=values.get("request_type") in SOURCE_REQUESTS,
        left_out=tuple(_left_out(values)),
    )


def _prompt(values: dict[str, Any], name: str) -> str:
    """Return the prompt of version 4, which has one part for the picture and one for each character."""
    caption = as_dict(as_dict(values.get(name)).get("caption"))
    characters = as_list(caption.get("char_captions"))[:MAX_CHARACTERS]
    parts = [as_text(caption.get("base_caption")), *(as_text(as_dict(each).get("char_caption")) for each in characters)]
    return ", ".join(filter(None, parts)).translate(EMPHASIS)


def _left_out(values: dict[str, Any]) -> Iterator[str]:
    if values.get("controlnet_model"):
        yield "ControlNet"
    if values.get("reference_strength_multiple") or values.get("reference_image_multiple"):
        yield "Vibe transfer"
