"""Requests, progress and results as Discord shows them: text, pictures, nothing that talks to Discord."""

import math
from collections.abc import Iterable

import discord
from PIL import Image

from cogs.answer import Picture
from diffusion.image import enlarge, fit, parameters, to_png
from diffusion.mask import fit_mask, with_mask
from diffusion.request import SAMPLER_NAMES, ImageRequest
from diffusion.result import ImageResult, Progress

BAR_CELLS = 12
RESUMING = "Resuming after a restart…"
PAUSED = "I am being restarted; this goes on afterwards."
CANCELLED = "Cancelled."
TOKEN_MINUTES = 14  # of the 15 that an interaction's token lives
TOKEN_NOTE = f"-# Here I can answer for {TOKEN_MINUTES} minutes only; what takes longer is dropped."
ALT_TEXT_LIMIT = 1024  # Discord's limit on an attachment's description
ALT_WITHOUT_PROMPT = "A picture similar to the attached one"
PICTURE_PREFIX, SOURCE_PREFIX = "darkroom-", "source."  # of the names of files, by which they are told apart in a message
SPOILER_PREFIX = "SPOILER_"  # of the names of files that Discord hides until they are clicked
PROMPT_SHOWN = 300
PREVIEW_SIDE = 256  # at most: large pictures form as small ones


def harmless(text: str) -> str:
    """Give ``text`` with nothing in it that Discord would format, ping or unfurl."""
    # escape_mentions puts a zero-width space after each @, for clients and bots that ignore allowed_mentions.
    return discord.utils.escape_mentions(discord.utils.escape_markdown(text.replace("://", ":/\u200b/")))


def title(prompt: str, most: int = PROMPT_SHOWN) -> str:
    """Give up to ``most`` characters of the prompt in bold."""
    prompt = " ".join(prompt.split()) or "Similar picture"
    return f"**{harmless(prompt if len(prompt) <= most else f'{prompt[: most - 1]}…')}**"


def settings(request: ImageRequest, seeds: Iterable[int]) -> str:
    """Give the line under the pictures: what it takes to make them again."""
    parts = [
        f"seed {', '.join(map(str, dict.fromkeys(seeds)))}",
        f"{request.width}x{request.height}" + (f" ×{request.upscale}" if request.upscale > 1 else ""),
        f"{request.steps} steps" + (f" from {request.start_step}" if request.image else ""),
        *(["a part redrawn"] if request.mask else []),
        f"guidance {request.guidance_scale:g}",
        SAMPLER_NAMES[request.sampler],
        *([f"steered to {request.steer} by {request.steer_scale:g}"] if request.steer else []),
    ]
    return f"-# {' · '.join(parts)}"


def progress_bar(completed: int, total: int) -> str:
    """Draw how far ``completed`` of ``total`` is."""
    filled = BAR_CELLS * completed // total if total else 0
    return "▰" * filled + "▱" * (BAR_CELLS - filled)


def progress_text(request: ImageRequest, progress: Progress) -> str:
    """Say where a job stands: its place in the queue, or the step of its pictures."""
    if progress.place is not None:
        ahead = progress.place
        state = "Next in line…" if ahead == 0 else f"In the queue, {ahead} picture{'s' * (ahead > 1)} before yours…"
    else:
        each = progress.total // request.count
        step = min(each, progress.completed // request.count + 1)
        state = f"{progress_bar(progress.completed, progress.total)} step {step}/{each}"
    return f"{title(request.prompt)}\n{state}"


def progress_pictures(request: ImageRequest, progress: Progress, spoiler: bool = False) -> tuple[Picture, ...]:
    """Give the previews side by side as one small picture, hidden until clicked if a ``spoiler``; nothing before there are any.

    Encodes: call it in a thread.
    """
    if not progress.previews:
        return ()
    scale = min(request.upscale, PREVIEW_SIDE / max(request.width, request.height))
    size = round(request.width * scale), round(request.height * scale)
    sides = [preview.resize(size, Image.Resampling.BICUBIC) for preview in progress.previews]
    sheet = Image.new("RGB", (sum(side.width for side in sides), max(side.height for side in sides)), "white")
    left = 0
    for side in sides:
        sheet.paste(side, (left, 0))
        left += side.width
    name = f"{SPOILER_PREFIX if spoiler else ''}preview.png"
    return (Picture(name, to_png(sheet), "How the picture looks so far"),)


def state_text(prompt: str, state: str) -> str:
    """Say what became of a request that has no pictures to show."""
    return f"{title(prompt)}\n{state}"


def duration(seconds: float) -> str:
    """Word an estimate roughly."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds / 10)) * 10} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


def result_pngs(result: ImageResult) -> list[bytes]:
    """Encode finished pictures, upscaled as asked, as PNG files that say how they were made. Call it in a thread."""
    request = result.request
    return [
        to_png(enlarge(image, request.upscale), parameters(request.only(index), seed, result.model))
        for index, (image, seed) in enumerate(zip(result.images, result.seeds, strict=True))
    ]


def source_png(request: ImageRequest) -> bytes | None:
    """Encode the picture that ``request`` starts from, if any, as the model sees it, transparent where it is to be redrawn.

    Call it in a thread.
    """
    if request.image is None:
        return None
    mask = fit_mask(request.mask, request.width, request.height) if request.mask else None
    return to_png(with_mask(fit(request.image, request.width, request.height), mask))


def result_pictures(request: ImageRequest, pngs: Iterable[bytes]) -> tuple[Picture, ...]:
    """Give finished pictures, each with an alt text: its prompt, after its number where there are several."""
    several, variants = request.count > 1, bool(request.variants)
    pictures = []
    for index, png in enumerate(pngs):
        own = request.only(index)
        name = f"{PICTURE_PREFIX}{own.seed}{f'-{index + 1}' if variants else ''}.png"  # those of other prompts share seeds
        alt = f"{f'Picture {index + 1} of {request.count}: ' if several else ''}{own.prompt.strip() or ALT_WITHOUT_PROMPT}"
        pictures.append(Picture(name, png, alt[:ALT_TEXT_LIMIT]))
    return tuple(pictures)


def source_picture(png: bytes) -> Picture:
    """Give the picture that others started from."""
    return Picture(f"{SOURCE_PREFIX}png", png, "The picture this was started from")
