"""Requests, progress and results as Discord shows them: text, pictures, nothing that talks to Discord."""

import math
from collections.abc import Iterable

import discord
from PIL import Image

from cogs.answer import Picture
from cogs.journal import Creation
from diffusion.image import fit, side_by_side, to_png
from diffusion.mask import fit_mask, with_mask
from diffusion.request import SAMPLER_NAMES, ImageRequest
from diffusion.result import Progress

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
PREVIEWS_SHOWN = 4


def harmless(text: str) -> str:
    """Give ``text`` with nothing in it that Discord would format, ping or unfurl."""
    # escape_mentions puts a zero-width space after each @, for clients and bots that ignore allowed_mentions.
    return discord.utils.escape_mentions(discord.utils.escape_markdown(text.replace("://", ":/\u200b/")))


def title(prompt: str, most: int = PROMPT_SHOWN) -> str:
    """Give up to ``most`` characters of the prompt in bold."""
    prompt = " ".join(prompt.split()) or "Similar picture"
    return f"**{harmless(prompt if len(prompt) <= most else f'{prompt[: most - 1]}…')}**"


def headline(request: ImageRequest) -> str:
    """Give what ``request`` shows in bold: its prompt, or the first and the last ones that it goes through."""
    later = request.later_prompts
    prompts = (request.prompt, *later) if len(later) < 3 else (request.prompt, "…", later[-1])
    return " → ".join(title(prompt, PROMPT_SHOWN // len(prompts)) for prompt in prompts)


def settings(request: ImageRequest, seeds: Iterable[int]) -> str:
    """Give the line under the pictures: what it takes to make them again."""
    parts = [
        f"seed {f'{request.seed} to {request.morph_seed}' if request.morph_to else ', '.join(map(str, dict.fromkeys(seeds)))}",
        *([f"{request.count} frames"] if request.morph_to else []),
        f"{request.width}x{request.height}" + (f" ×{request.upscale}" if request.upscale > 1 else ""),
        f"{request.steps} steps" + (f" from {request.start_step}" if request.image else ""),
        *(["a part redrawn"] if request.mask else []),
        *(f"branched at step {step}" for step, _ in request.branches[-3:]),
        f"guidance {request.guidance_scale:g}",
        SAMPLER_NAMES[request.sampler],
        *([f"steered to {request.steer} by {request.steer_scale:g}"] if request.steer else []),
    ]
    return f"-# {' · '.join(parts)}"


def info(request: ImageRequest, creation: Creation | None) -> str:
    """Tell all about finished pictures, with the prompts as they can be copied."""
    parts = ["**Prompt**", _block(request.prompt or " ")]
    for prompt in request.later_prompts[-3:]:  # all together fit into a message
        parts += ["**Then**", _block(prompt[:PROMPT_SHOWN])]
    if request.negative_prompt:
        parts += ["**What they should not show**", _block(request.negative_prompt)]
    parts.append(settings(request, request.seeds).removeprefix("-# "))
    if creation:
        if creation.model:
            parts.append(f"Model `{creation.model}`" + (f", {creation.seconds:.1f} s" if creation.seconds else ""))
        parts.append(f"Id `{creation.id}`" + (f", made from `{creation.parent_id}`" if creation.parent_id else ""))
        parts.append(f"For <@{creation.owner}>, {discord.utils.format_dt(creation.created)}")
        if creation.message_id and not creation.private:
            place = f"{creation.guild_id or '@me'}/{creation.channel_id}/{creation.message_id}"
            parts.append(f"[To the message](https://discord.com/channels/{place})")
    return "\n".join(parts)


def _block(text: str) -> str:
    """Show ``text`` as it is, and so that it can be copied."""
    text = text.replace("``", "`\u200b`")  # three would end the block
    return f"```\n{text}\n```"


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
    return f"{headline(request)}\n{state}"


def progress_pictures(request: ImageRequest, progress: Progress, spoiler: bool = False) -> tuple[Picture, ...]:
    """Give previews side by side as one small picture, hidden until clicked if a ``spoiler``; nothing before there is one.

    Encodes: call it in a thread.
    """
    if not progress.previews:
        return ()
    scale = min(request.upscale, PREVIEW_SIDE / max(request.width, request.height))
    size = round(request.width * scale), round(request.height * scale)
    previews = progress.previews[:: math.ceil(len(progress.previews) / PREVIEWS_SHOWN)]
    sheet = side_by_side([preview.resize(size, Image.Resampling.BICUBIC) for preview in previews])
    name = f"{SPOILER_PREFIX if spoiler else ''}preview.png"
    return (Picture(name, to_png(sheet), "How the picture looks so far"),)


def state_text(prompt: str, state: str) -> str:
    """Say what became of a request that has no pictures to show."""
    return f"{title(prompt)}\n{state}"


def source_png(request: ImageRequest) -> bytes | None:
    """Encode the picture that ``request`` starts from, if any, as the model sees it, transparent where it is to be redrawn.

    Call it in a thread.
    """
    if request.image is None:
        return None
    mask = fit_mask(request.mask, request.width, request.height) if request.mask else None
    return to_png(with_mask(fit(request.image, request.width, request.height), mask))


def result_pictures(request: ImageRequest, files: Iterable[bytes]) -> tuple[Picture, ...]:
    """Give finished pictures, each with an alt text: its prompts, after its number where there are several."""
    several, variants = request.count > 1 and not request.morph_to, bool(request.variants)
    pictures = []
    for index, file in enumerate(files):
        own = request.only(index)
        suffix = own.animation if own.morph_to else "png"
        name = f"{PICTURE_PREFIX}{own.seed}{f'-{index + 1}' if variants else ''}.{suffix}"  # those of other prompts share seeds
        kind = "Animation: " if own.morph_to else f"Picture {index + 1} of {request.count}: " if several else ""
        alt = f"{kind}{' → '.join(own.prompts).strip() or ALT_WITHOUT_PROMPT}"
        pictures.append(Picture(name, file, alt[:ALT_TEXT_LIMIT]))
    return tuple(pictures)


def source_picture(png: bytes) -> Picture:
    """Give the picture that others started from."""
    return Picture(f"{SOURCE_PREFIX}png", png, "The picture this was started from")
