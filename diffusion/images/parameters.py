"""How an image was made, as the text that A1111's tools write into PNG files: written and read."""

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.animation import read_comment
from diffusion.images.io import MAX_PIXELS
from diffusion.request import SAMPLER_NAMES, ImageRequest

MAX_TEXT: Final = 2_000_000  # characters of a text chunk, as many as the largest graphs of ComfyUI have
MAX_SETTINGS: Final = 20_000  # characters of the settings in a chunk ``parameters``


def format_parameters(request: ImageRequest, seed: int, model: str) -> str:
    """Word how a picture was made, in the form that A1111's tools write and read in the PNG chunk ``parameters``."""
    sampler, karras, schedule = SAMPLER_NAMES[request.sampler].partition(" Karras")
    settings = {
        "Steps": request.steps,
        "Sampler": sampler,
        **({"Schedule type": schedule or "Karras"} if karras else {}),
        "CFG scale": f"{request.guidance_scale:g}",
        **({"Guidance interval": "{:g}-{:g}".format(*interval)} if (interval := request.guidance_interval) != (0, 1) else {}),
        "Seed": seed,
        "Size": f"{request.width}x{request.height}",
        "Model": model,
        **(_start(request) if request.image else {}),
        **{f"Branch at {step}": json.dumps(prompt, ensure_ascii=False) for step, prompt in request.branches},
        **(_morph(request) if request.morph_to else {}),
        **({"Hires upscale": request.upscale, "Hires upscaler": "Lanczos"} if request.upscale > 1 else {}),
        **({"Steer": request.guide_label, "Steer scale": f"{request.label_scale:g}"} if request.guide_label else {}),
    }
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _start(request: ImageRequest) -> dict[str, Any]:
    strength = 1 - request.start_step / request.steps
    masked = {"Mask": "alpha of the source"} if request.mask else {}
    return {"Denoising strength": f"{strength:.2f}", "Start step": request.start_step, **masked}


def _morph(request: ImageRequest) -> dict[str, Any]:
    return {"Morph to": json.dumps(request.morph_to, ensure_ascii=False), "Frames": request.count}


def read_text_chunks(data: bytes) -> dict[str, str]:
    """Read the text chunks of a PNG, or as ``parameters`` the comment of a WebP or GIF.

    Nothing where there is none, or where the file is damaged, too large or of another kind.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                return {}
            comment = read_comment(image)
            texts = {**({"parameters": comment} if comment else {}), **getattr(image, "text", {})}
            return {name: text for name, text in texts.items() if len(text) <= MAX_TEXT}
    except Exception:  # Pillow's decoders raise almost anything on damaged files
        return {}


def read_parameters(data: bytes) -> dict[str, Any]:
    """Read the settings of `ImageRequest` that a PNG's ``parameters`` chunk tells; those it does not know are left out.

    Raises `InvalidImageError` where there is no such chunk.
    """
    head, values = split_parameters(read_text_chunks(data).get("parameters", ""))
    return parse_settings(head, values)


def split_parameters(text: str) -> tuple[str, dict[str, str]]:
    """Split what `parameters` or A1111's tools have written into its prompts and its named values.

    Raises `InvalidImageError` where it is nothing of that kind.
    """
    head, _, last = text.strip().rpartition("\n")
    # Names are short and their number is bounded, or made-up ones would keep the regular expression busy for minutes.
    known = r'([A-Z][\w ]{0,40}): ("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)'
    values = dict(re.findall(known, last)) if len(last) <= MAX_SETTINGS else {}
    if "Steps" not in values:
        raise InvalidImageError("This picture does not say how it was made.")
    return head, values


def parse_settings(head: str, values: dict[str, str]) -> dict[str, Any]:
    """Give the settings of `ImageRequest` that stand in what `split_parameters` gave."""
    prompt, _, negative = f"\n{head}".partition("\nNegative prompt: ")
    sampler = " ".join(filter(None, (values.get("Sampler"), values.get("Schedule type"))))
    width, _, height = values.get("Size", "").partition("x")
    names = {title: name for name, title in SAMPLER_NAMES.items()}
    found = {
        "prompt": prompt.removeprefix("\n"),
        "negative_prompt": negative,
        "steps": _number(int, values["Steps"]),
        "sampler": names.get(sampler),
        "guidance_scale": _number(float, values.get("CFG scale")),
        "guidance_interval": _interval(values.get("Guidance interval")),
        "seed": _number(int, values.get("Seed")),
        "width": _number(int, width),
        "height": _number(int, height),
        "start_step": _number(int, values.get("Start step")),
        "upscale": _number(int, values.get("Hires upscale")),
        "branches": tuple(_branches(values)) or None,
        "morph_to": _quoted(values.get("Morph to")),
        "count": _number(int, values.get("Frames")),
        "guide_label": values.get("Steer"),
        "label_scale": _number(float, values.get("Steer scale")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _branches(values: dict[str, str]) -> Iterator[tuple[int, str]]:
    for name, value in values.items():
        step, prompt = _number(int, name.removeprefix("Branch at ")), _quoted(value)
        if step is not None and prompt:
            yield step, prompt


def _interval(text: str | None) -> tuple[float, float] | None:
    first, end = (_number(float, part) for part in (text or "").partition("-")[::2])
    return None if first is None or end is None else (first, end)


def _quoted(text: str | None) -> str | None:
    try:
        return json.loads(text) if text and text.startswith('"') else None
    except ValueError:
        return None


def _number(kind: Callable[[str], Any], text: str | None) -> Any:
    try:
        value = kind(text or "")
    except ValueError:
        return None
    return value if abs(value) < 2**64 else None  # larger ones mean nothing, and nan is none at all
