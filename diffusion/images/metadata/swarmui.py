"""SwarmUI: a JSON text with "sui_image_params"."""

from collections.abc import Mapping

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

PARAMS = "sui_image_params"


def read(texts: Mapping[str, str]) -> Recipe | None:
    """Read the settings of SwarmUI."""
    found = find_json(texts, *COMMENTS)
    if PARAMS not in found:
        return None
    values = as_dict(found[PARAMS])
    if not values:
        raise UnreadableError("SwarmUI", PARAMS)
    settings = known(
        prompt=as_text(values.get("prompt")),
        negative_prompt=as_text(values.get("negativeprompt")),
        **numbers(values, "cfgscale"),
    )
    loras = values.get("loras")
    return Recipe(
        settings,
        as_text(values.get("model")),
        sampler_name(as_text(values.get("sampler")), as_text(values.get("scheduler"))),
        has_source="initimage" in values or "initimagecreativity" in values,
        loras=tuple(filter(None, map(as_text, as_list(loras) or as_text(loras).split(",")))),
        left_out=tuple(
            title
            for title, names in {
                "ControlNet": ("controlnetmodel", "controlnetstrength"),
                "Refiner": ("refinermodel", "refinermethod"),
                "Variation seed": ("variationseed",),
            }.items()
            if any(name in values for name in names)
        ),
    )
