"""The parameters text of an image, in the form that A1111's tools read and write."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from diffusion.errors import InvalidImageError
from diffusion.images.decoding import decode_texts
from diffusion.lora.tags import find_tags, format_tags
from diffusion.request import DISTILLED, SAMPLER_NAMES, ImageRequest

MAX_SETTINGS: Final = 100_000  # characters of the settings line; resources of Civitai fill some thousands
MAX_NAME: Final = 60  # characters of the name of a setting
MAX_BROKEN_VALUES: Final = 3  # values in brackets that turn out not to be JSON; each may be searched to its end
DECODER: Final = json.JSONDecoder(strict=False)
NEGATIVE: Final = "Negative prompt:"
SETTINGS_LINE: Final = re.compile(r"Steps: *\d")
SCHEDULE_TYPES: Final = {"Karras": "Karras", "trailing": "SGM Uniform"}  # A1111's, by the last word of our samplers
TEMPLATE: Final = "Template:"  # sd-dynamic-prompts adds the prompt's template below the settings


def format_parameters(request: ImageRequest, seed: int, model: str) -> str:
    """Return the parameters text of an image of ``request``, which ``model`` drew or enlarged."""
    sampler, schedule = _split_schedule(SAMPLER_NAMES[request.sampler])
    settings = {
        "Steps": request.steps,
        "Sampler": sampler,
        **({"Schedule type": schedule} if schedule else {}),
        "CFG scale": f"{request.guidance_scale:g}",
        **({"Guidance interval": "{:g}-{:g}".format(*interval)} if (interval := request.guidance_interval) != (0, 1) else {}),
        **({"Guidance period": period} if (period := request.computes_guidance_every) > 1 else {}),
        "Seed": seed,
        "Size": f"{request.width}x{request.height}",
        **({} if request.by_upscaler else {"Model": model}),  # the model that drew the picture is not known here
        **(_start_settings(request) if request.image and not request.by_upscaler else {}),
        **{f"Branch at {step}": json.dumps(prompt, ensure_ascii=False) for step, prompt in request.branches},
        **(_morph_settings(request) if request.morph_to else {}),
        **({"Variety": request.variety} if request.variety or request.sampler == DISTILLED else {}),
        **({"Clip skip": request.clip_skip} if request.clip_skip > 1 else {}),
        **(_upscale_settings(request, model) if request.upscale > 1 else {}),
        **({"Steer": request.guide_label, "Steer scale": f"{request.label_scale:g}"} if request.guide_label else {}),
    }
    lines = [" ".join(filter(None, (request.prompt, format_tags(request.loras))))]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {value}" for name, value in settings.items()))
    return "\n".join(lines)


def _split_schedule(title: str) -> tuple[str, str]:
    """Split the name of a sampler into A1111's names of the sampler and of its schedule."""
    words, _, last = title.rpartition(" ")
    return (words, SCHEDULE_TYPES[last]) if last in SCHEDULE_TYPES else (title, "")


def _start_settings(request: ImageRequest) -> dict[str, Any]:
    if request.is_edit:
        return {"Edited picture": "the source"}
    strength = 1 - request.start_step / request.steps
    masked = {"Mask": "alpha of the source"} if request.mask else {}
    blended = {"Blend weights": ":".join(f"{weight:g}" for weight in request.blend)} if request.blend else {}
    return {"Denoising strength": f"{strength:.2f}", "Start step": request.start_step, **masked, **blended}


def _upscale_settings(request: ImageRequest, model: str) -> dict[str, Any]:
    if request.by_upscaler:
        return {"Postprocess upscale by": request.upscale, "Postprocess upscaler": model}
    return {"Hires upscale": request.upscale, "Hires upscaler": "Lanczos"}


def _morph_settings(request: ImageRequest) -> dict[str, Any]:
    return {"Morph to": json.dumps(request.morph_to, ensure_ascii=False), "Frames": request.count}


def read_text_chunks(data: bytes) -> dict[str, str]:
    """Return the texts of a file by the names of `DecodedImage.texts`.

    The comment that `encode_animation` writes is also named ``parameters``. Damaged files have no texts.
    """
    texts, _ = decode_texts(data)
    comment = texts.get("exif:UserComment") or texts.get("comment")
    return {"parameters": comment, **texts} if comment else texts


def read_parameters(data: bytes) -> dict[str, Any]:
    """Read the settings of `ImageRequest` in the ``parameters`` chunk of a PNG.

    Unknown settings are left out. Raises `InvalidImageError` if there is no such chunk.
    """
    head, values = split_parameters(read_text_chunks(data).get("parameters", ""))
    return parse_settings(head, values)


def split_parameters(text: str) -> tuple[str, dict[str, str]]:
    """Split a parameters text into its prompts and its named values.

    Lines below the settings are left out. Takes time linear in the text. Raises `InvalidImageError` for any other text.
    """
    lines = text.replace("\r\n", "\n").strip().split("\n")
    number = _settings_line(lines)
    values = scan_settings(lines[number]) if len(lines[number]) <= MAX_SETTINGS else {}
    if parse_number(int, values.get("Steps")) is None:
        raise InvalidImageError("This picture contains no generation settings.")
    return "\n".join(lines[:number]), values


def _settings_line(lines: list[str]) -> int:
    """Return the number of the line that holds the settings, mostly the last."""
    found: int | None = None
    for number, line in enumerate(lines):
        if SETTINGS_LINE.match(line):
            found = number
        elif found is not None and line.startswith(TEMPLATE):
            break
    return len(lines) - 1 if found is None else found


def scan_settings(line: str) -> dict[str, str]:
    """Return the values of a line such as ``Steps: 20, Model: "a, b"`` by name.

    A value is JSON (a text in quotes, a list, an object) or goes up to the next comma. Of equal names the first counts.
    """
    values: dict[str, str] = {}
    broken = 0
    start = 0
    while start < len(line):
        comma = line.find(",", start)
        end = len(line) if comma < 0 else comma
        colon = line.find(":", start, min(end, start + MAX_NAME))
        if colon >= 0:
            name = line[start:colon].strip()
            value = _scan_json(line, colon + 1) if broken < MAX_BROKEN_VALUES else None
            if value is not None:
                text, end = value
            else:
                text = line[colon + 1 : end].strip()
                broken += text[:1] in ("[", "{")
            values.setdefault(name, text)
        start = end + 1
    return values


def _scan_json(line: str, start: int) -> tuple[str, int] | None:
    """Return the JSON value at ``start`` and where the comma behind it stands.

    A text comes without its quotes. Returns None if there is no JSON value that ends at a comma or with the line.
    """
    start = _skip_spaces(line, start)
    if line[start : start + 1] not in tuple('"[{'):
        return None
    try:
        value, end = DECODER.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    text = value if isinstance(value, str) else line[start:end]
    end = _skip_spaces(line, end)
    return (text, end) if line[end : end + 1] in ("", ",") else None


def _skip_spaces(line: str, start: int) -> int:
    while line[start : start + 1] == " ":
        start += 1
    return start


def split_prompts(head: str) -> tuple[str, str]:
    """Split the prompts of `split_parameters` into the prompt and the negative one."""
    prompt, _, negative = f"\n{head}".partition(f"\n{NEGATIVE}")
    return prompt.removeprefix("\n"), negative.removeprefix(" ")


def parse_settings(head: str, values: dict[str, str]) -> dict[str, Any]:
    """Return the settings of `ImageRequest` in the parts of `split_parameters`."""
    prompt, negative = split_prompts(head)
    prompt, loras = find_tags(prompt)
    sampler = " ".join(filter(None, (values.get("Sampler"), values.get("Schedule type"))))
    for ours, theirs in SCHEDULE_TYPES.items():
        sampler = sampler.replace(f" {theirs}", f" {ours}")
    width, _, height = values.get("Size", "").partition("x")
    names = {title: name for name, title in SAMPLER_NAMES.items()}
    found = {
        "prompt": prompt,
        "negative_prompt": negative,
        "steps": parse_number(int, values["Steps"]),
        "sampler": names.get(sampler),
        "guidance_scale": parse_number(float, values.get("CFG scale")),
        "guidance_interval": _parse_interval(values.get("Guidance interval")),
        "guidance_period": parse_number(int, values.get("Guidance period")),
        "seed": parse_number(int, values.get("Seed")),
        "width": parse_number(int, width),
        "height": parse_number(int, height),
        "start_step": parse_number(int, values.get("Start step")),
        "upscale": parse_number(int, values.get("Hires upscale")),
        "variety": parse_number(int, values.get("Variety")),
        "clip_skip": parse_number(int, values.get("Clip skip")),
        "branches": tuple(_parse_branches(values)) or None,
        "morph_to": values.get("Morph to"),
        "count": parse_number(int, values.get("Frames")),
        "guide_label": values.get("Steer"),
        "label_scale": parse_number(float, values.get("Steer scale")),
        "loras": loras or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _parse_branches(values: dict[str, str]) -> Iterator[tuple[int, str]]:
    for name, prompt in values.items():
        step = parse_number(int, name.removeprefix("Branch at ")) if name.startswith("Branch at ") else None
        if step is not None and prompt:
            yield step, prompt


def _parse_interval(text: str | None) -> tuple[float, float] | None:
    first, end = (parse_number(float, part) for part in (text or "").partition("-")[::2])
    return None if first is None or end is None else (first, end)


def parse_number(kind: Callable[[str], Any], text: str | None) -> Any:
    """Return the number in ``text`` as ``kind``, or None."""
    try:
        value = kind(text or "")
    except ValueError:
        return None
    return value if abs(value) < 2**64 else None  # larger values are meaningless; nan fails the comparison
