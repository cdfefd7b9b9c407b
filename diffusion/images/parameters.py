"""The parameters text of an image, in the form that A1111's tools read and write."""

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

MAX_TEXT: Final = 2_000_000  # characters of a text chunk; the largest graphs of ComfyUI have as many
MAX_SETTINGS: Final = 20_000  # characters of the settings line


def format_parameters(request: ImageRequest, seed: int, model: str) -> str:
    """Return the parameters text of an image of ``request``."""
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
        **(_start_settings(request) if request.image else {}),
        **{f"Branch at {step}": json.dumps(prompt, ensure_ascii=False) for step, prompt in request.branches},
        **(_morph_settings(request) if request.morph_to else {}),
        **({"Hires upscale": request.upscale, "Hires upscaler": "Lanczos"} if request.upscale > 1 else {}),
        **({"Steer": request.guide_label, "Steer scale": f"{request.label_scale:g}"} if request.guide_label else {}),
    }
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _start_settings(request: ImageRequest) -> dict[str, Any]:
    strength = 1 - request.start_step / request.steps
    masked = {"Mask": "alpha of the source"} if request.mask else {}
    return {"Denoising strength": f"{strength:.2f}", "Start step": request.start_step, **masked}


def _morph_settings(request: ImageRequest) -> dict[str, Any]:
    return {"Morph to": json.dumps(request.morph_to, ensure_ascii=False), "Frames": request.count}


def read_text_chunks(data: bytes) -> dict[str, str]:
    """Read the text chunks of a PNG, or the comment of a WebP or GIF.

    The comment is named ``parameters``. Returns nothing for files that are damaged, too large or of another kind.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                return {}
            comment = read_comment(image)
            texts = {**({"parameters": comment} if comment else {}), **getattr(image, "text", {})}
            return {name: text for name, text in texts.items() if len(text) <= MAX_TEXT}
    except Exception:  # Pillow's decoders raise many kinds of errors for damaged files
        return {}


def read_parameters(data: bytes) -> dict[str, Any]:
    """Read the settings of `ImageRequest` in the ``parameters`` chunk of a PNG.

    Unknown settings are left out. Raises `InvalidImageError` if there is no such chunk.
    """
    head, values = split_parameters(read_text_chunks(data).get("parameters", ""))
    return parse_settings(head, values)


def split_parameters(text: str) -> tuple[str, dict[str, str]]:
    """Split a parameters text into its prompts and its named values.

    Raises `InvalidImageError` for any other text.
    """
    head, _, last = text.strip().rpartition("\n")
    # Bounded names and lengths: otherwise a forged text keeps the regular expression busy for minutes.
    known = r'([A-Z][\w ]{0,40}): ("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)'
    values = dict(re.findall(known, last)) if len(last) <= MAX_SETTINGS else {}
    if "Steps" not in values:
        raise InvalidImageError("This picture contains no generation settings.")
    return head, values


def parse_settings(head: str, values: dict[str, str]) -> dict[str, Any]:
    """Return the settings of `ImageRequest` in the parts of `split_parameters`."""
    prompt, _, negative = f"\n{head}".partition("\nNegative prompt: ")
    sampler = " ".join(filter(None, (values.get("Sampler"), values.get("Schedule type"))))
    width, _, height = values.get("Size", "").partition("x")
    names = {title: name for name, title in SAMPLER_NAMES.items()}
    found = {
        "prompt": prompt.removeprefix("\n"),
        "negative_prompt": negative,
        "steps": _parse_number(int, values["Steps"]),
        "sampler": names.get(sampler),
        "guidance_scale": _parse_number(float, values.get("CFG scale")),
        "guidance_interval": _parse_interval(values.get("Guidance interval")),
        "seed": _parse_number(int, values.get("Seed")),
        "width": _parse_number(int, width),
        "height": _parse_number(int, height),
        "start_step": _parse_number(int, values.get("Start step")),
        "upscale": _parse_number(int, values.get("Hires upscale")),
        "branches": tuple(_parse_branches(values)) or None,
        "morph_to": _parse_quoted(values.get("Morph to")),
        "count": _parse_number(int, values.get("Frames")),
        "guide_label": values.get("Steer"),
        "label_scale": _parse_number(float, values.get("Steer scale")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _parse_branches(values: dict[str, str]) -> Iterator[tuple[int, str]]:
    for name, value in values.items():
        step = _parse_number(int, name.removeprefix("Branch at "))
        prompt = _parse_quoted(value)
        if step is not None and prompt:
            yield step, prompt


def _parse_interval(text: str | None) -> tuple[float, float] | None:
    first, end = (_parse_number(float, part) for part in (text or "").partition("-")[::2])
    return None if first is None or end is None else (first, end)


def _parse_quoted(text: str | None) -> str | None:
    try:
        return json.loads(text) if text and text.startswith('"') else None
    except ValueError:
        return None


def _parse_number(kind: Callable[[str], Any], text: str | None) -> Any:
    try:
        value = kind(text or "")
    except ValueError:
        return None
    return value if abs(value) < 2**64 else None  # larger values are meaningless; nan fails the comparison
