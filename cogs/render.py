"""Requests, progress and results as Discord shows them: text, files, nothing that talks to Discord."""

import io
from collections.abc import Iterable

import discord
from PIL import Image

from diffusion.image import enlarge, fit, parameters, to_png
from diffusion.request import SAMPLER_NAMES, ImageRequest
from diffusion.result import ImageResult, Progress

BAR_CELLS = 12
ALT_TEXT_LIMIT = 1024  # Discord's limit on an attachment's description
ALT_WITHOUT_PROMPT = "A picture similar to the attached one"
PROMPT_SHOWN = 300
PREVIEW_SIDE = 256  # at most: large pictures form as small ones
SOURCE_NAME = "source.png"
QUIET = discord.AllowedMentions.none()


def title(request: ImageRequest) -> str:
    """Give the prompt in bold, with nothing in it that Discord would format or ping."""
    prompt = " ".join(request.prompt.split()) or "Similar picture"
    shortened = prompt if len(prompt) <= PROMPT_SHOWN else f"{prompt[: PROMPT_SHOWN - 1]}…"
    # escape_mentions puts a zero-width space after each @, for clients and bots that ignore allowed_mentions.
    return f"**{discord.utils.escape_mentions(discord.utils.escape_markdown(shortened))}**"


def settings(request: ImageRequest, seeds: Iterable[int]) -> str:
    """Give the line under the pictures: what it takes to make them again."""
    parts = [
        f"seed {', '.join(map(str, seeds))}",
        f"{request.width}x{request.height}" + (f" ×{request.upscale}" if request.upscale > 1 else ""),
        f"{request.steps} steps" + (f" from {request.start_step}" if request.image else ""),
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
    return f"{title(request)}\n{state}"


def progress_files(request: ImageRequest, progress: Progress) -> list[discord.File]:
    """Give the previews side by side as one small picture, or nothing before there are any. Encodes: call it in a thread."""
    if not progress.previews:
        return []
    scale = min(request.upscale, PREVIEW_SIDE / max(request.width, request.height))
    size = round(request.width * scale), round(request.height * scale)
    sides = [preview.resize(size, Image.Resampling.BICUBIC) for preview in progress.previews]
    sheet = Image.new("RGB", (sum(side.width for side in sides), max(side.height for side in sides)), "white")
    left = 0
    for side in sides:
        sheet.paste(side, (left, 0))
        left += side.width
    return [discord.File(io.BytesIO(to_png(sheet)), "preview.png", description="How the picture looks so far")]


def result_text(result: ImageResult) -> str:
    """Give the text above finished pictures."""
    return f"{title(result.request)}\n{settings(result.request, result.seeds)}"


def prompt_of(message: discord.Message) -> str:
    """Read the whole prompt from a result's alt text, which is at hand without a download."""
    description = message.attachments[0].description or ""
    return "" if description == ALT_WITHOUT_PROMPT else description


def result_files(result: ImageResult) -> list[discord.File]:
    """Give finished pictures as PNG files that say how they were made, then the picture they started from, if any.

    Each is upscaled as asked and carries the prompt as its alt text. Encodes: call it in a thread.
    """
    request = result.request
    alt = (request.prompt.strip() or ALT_WITHOUT_PROMPT)[:ALT_TEXT_LIMIT]
    files = []
    for image, seed in zip(result.images, result.seeds, strict=True):
        png = to_png(enlarge(image, request.upscale), parameters(request, seed, result.model))
        files.append(discord.File(io.BytesIO(png), f"darkroom-{seed}.png", description=alt))
    if request.image is not None:
        source = to_png(fit(request.image, request.width, request.height))
        files.append(discord.File(io.BytesIO(source), SOURCE_NAME, description="The picture this was started from"))
    return files
