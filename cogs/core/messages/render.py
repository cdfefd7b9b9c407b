"""Requests, progress and results as text and pictures.

Nothing here talks to Discord.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.message import LAYOUT_LIMIT, PictureFile, fit_text, fit_together
from cogs.core.storage.creations import Creation
from diffusion.images.io import grid, smooth, to_png, to_webp
from diffusion.images.masks import fit_mask, mask_to_alpha
from diffusion.images.source import fit_source
from diffusion.request import SAMPLER_NAMES, ImageRequest
from diffusion.result import Progress
from diffusion.text import N_, plural

BAR_CELLS = 12
RESUMING = N_("Resuming after a restart…")
RESTARTING = N_("I am being restarted; this goes on afterwards.")
CANCELLED = N_("Cancelled.")
ALT_TEXT_LIMIT = 1024  # Discord's limit on an attachment's description
ALT_WITHOUT_PROMPT = N_("A picture similar to the attached one")
FRAME_COUNT = plural("{count} frame", "{count} frames")
STEP_COUNT = plural("{count} step", "{count} steps")
STEP_COUNT_FROM = plural("{count} step from {start}", "{count} steps from {start}")
BLENDED = plural("blended from {count} picture, {weights}", "blended from {count} pictures, {weights}")
QUEUE_AHEAD = plural("In the queue, {count} picture before yours…", "In the queue, {count} pictures before yours…")
PICTURE_PREFIX = "darkroom-"  # of the file names of finished pictures
STEPS_FILE: Final = "steps.webp"  # the thumbnails of the steps below an animation
SOURCE_PREFIX = "source."  # of the file name of the picture that they started from
SPOILER_PREFIX = "SPOILER_"  # Discord hides files with such a name until they are clicked
PROMPT_LENGTH = 300
ZERO_WIDTH_SPACE: Final = "\u200b"
BROKEN_BY_SPACE: Final = ("@", ".", ":/")  # clients and bots may look for mentions and addresses behind a backslash
_MARKUP: Final = re.compile(
    r"[\\*_~|`<>#\[\]]"  # formats, headings, masked links, and <t:0:R>, <#1>, <:name:1>, </command:1>, <id:home>
    r"|:(?=[\w~+-]{1,64}:)"  # :emoji:
    r"|@(?=[\w!&])"
    r"|(?<=\w)\.(?=[^\W\d])"  # discord.gg
    r"|:/(?=/)"
    r"|^[^\S\n]{0,9}(?:[-+]|\d{1,9}[.)])(?=\s)",  # lists
    re.MULTILINE,
)
PREVIEW_SIDE = 512  # pixels at most: messages show pictures hardly larger


def escape(text: str) -> str:
    """Return ``text`` so that Discord formats, links, pings and embeds nothing in it."""
    return _MARKUP.sub(_escaped, text)


def _escaped(markup: "re.Match[str]") -> str:
    found = markup[0]
    if found in BROKEN_BY_SPACE:
        return f"{found}{ZERO_WIDTH_SPACE}"
    return f"{found[:-1]}\\{found[-1]}"


def title(prompt: str, most: int = PROMPT_LENGTH, language: str = ENGLISH) -> str:
    """Return the prompt in bold, cut to ``most`` characters after it was escaped."""
    prompt = " ".join(prompt.split()) or say(language, "Similar picture")
    return f"**{fit_text(prompt, most, escape)}**"


def headline(request: ImageRequest, language: str = ENGLISH) -> str:
    """Return the prompt of ``request`` in bold, or the first and last of several."""
    if request.by_upscaler and not request.prompt:
        return title(say(language, "Enlarged picture"))
    later = request.later_prompts
    prompts = (request.prompt, *later) if len(later) < 3 else (request.prompt, "…", later[-1])
    return " → ".join(title(prompt, PROMPT_LENGTH // len(prompts), language) for prompt in prompts)


def settings_line(request: ImageRequest, seeds: Iterable[int], language: str = ENGLISH) -> str:
    """Return the line under the pictures: the settings that reproduce them."""
    parts = [f"{request.width}x{request.height}" + (f" ×{request.upscale}" if request.upscale > 1 else "")]
    if request.morph_to:
        parts.insert(0, say(language, "seed {first} to {last}", first=request.seed, last=request.morph_seed))
        parts.insert(1, say(language, FRAME_COUNT, count=request.count))
    else:
        parts.insert(0, say(language, "seed {seeds}", seeds=", ".join(map(str, dict.fromkeys(seeds)))))
    if request.by_upscaler:
        return f"-# {' · '.join([*parts, say(language, 'enlarged by an upscaler')])}"
    if request.image and not request.is_edit:
        parts.append(say(language, STEP_COUNT_FROM, count=request.steps, start=request.start_step))
    else:
        parts.append(say(language, STEP_COUNT, count=request.steps))
    if request.blend:
        weights = ":".join(f"{weight:g}" for weight in request.blend)
        parts.append(say(language, BLENDED, count=len(request.blend), weights=weights))
    if request.mask:
        parts.append(say(language, "a part redrawn"))
    if request.is_edit:
        parts.append(say(language, "edited by words"))
    parts += [say(language, "branched at step {step}", step=step) for step, _ in request.branches[-3:]]
    parts += [say(language, "guidance {scale}", scale=f"{request.guidance_scale:g}"), SAMPLER_NAMES[request.sampler]]
    parts += [say(language, "LoRA {name} {weight}", name=escape(name), weight=f"{weight:g}") for name, weight in request.loras]
    if request.model:
        parts.append(say(language, "model {name}", name=escape(request.model)))
    if request.variety:
        parts.append(say(language, "variety {percent}", percent=request.variety))
    if request.styles:
        styles = ", ".join(escape(style) or say(language, "plain") for style in request.styles)
        parts.append(say(language, "styles in turn: {styles}", styles=styles))
    if request.clip_skip > 1:
        parts.append(say(language, "clip skip {layers}", layers=request.clip_skip))
    if request.guide_label:
        parts.append(
            say(language, "steered to {label} by {scale}", label=escape(request.guide_label), scale=f"{request.label_scale:g}")
        )
    return f"-# {' · '.join(parts)}"


def info_text(request: ImageRequest, creation: Creation | None, language: str = ENGLISH, parent: Creation | None = None) -> str:
    """Return everything known about finished pictures and their ``parent``, with copyable prompts.

    Prompts that are too long together are cut.
    """
    first = [(say(language, "Prompt"), request.prompt or " ")]
    later = [(say(language, "Then"), prompt) for prompt in request.later_prompts[-3:]]
    negative = [(say(language, "What they should not show"), request.negative_prompt)] if request.negative_prompt else []
    headed = [*first, *later, *negative]
    end = [settings_line(request, request.seeds, language).removeprefix("-# ")]
    end += _origin(creation, parent, language) if creation else []
    heads = [f"**{head}**" for head, _ in headed]
    room = LAYOUT_LIMIT - sum(len(line) + 1 for line in (*heads, *end))
    blocks = fit_together([prompt for _, prompt in headed], room - len(headed) * (len(fenced("")) + 1), unfenced)
    parts = [part for head, block in zip(heads, blocks, strict=True) for part in (head, fenced(block))]
    return "\n".join([*parts, *end])


def _origin(creation: Creation, parent: Creation | None, language: str) -> Iterator[str]:
    if creation.model:
        model = say(language, "Model {name}", name=f"`{creation.model}`")
        yield f"{model}, {creation.seconds:.1f} s" if creation.seconds else model
    number = f"`{creation.short_id}`"
    if parent:
        yield say(language, "Id {number}, made from {parent}", number=number, parent=f"`{parent.short_id}`")
    else:
        yield say(language, "Id {number}", number=number)
    when = discord.utils.format_dt(creation.created)
    yield say(language, "For {member}, {when}", member=f"<@{creation.owner}>", when=when)
    if creation.message_id and not creation.private:
        link = message_link(creation.guild_id, creation.channel_id, creation.message_id)
        yield f"[{say(language, 'To the message')}]({link})"


def message_link(guild_id: int | None, channel_id: int, message_id: int | None) -> str:
    """Return the address of a message; direct messages are in no guild."""
    return f"https://discord.com/channels/{guild_id or '@me'}/{channel_id}/{message_id}"


def unfenced(text: str) -> str:
    """Return ``text`` so that it ends no block."""
    return text.replace("``", f"`{ZERO_WIDTH_SPACE}`")  # three would


def fenced(text: str) -> str:
    """Return ``text`` unformatted, in a block from which it can be copied."""
    return f"```\n{text}\n```"


def progress_text(request: ImageRequest, progress: Progress, language: str = ENGLISH) -> str:
    """Return the progress of a job: its place in the queue, or its step."""
    if progress.resuming:
        state = say(language, RESUMING)
    elif progress.place == 0:
        state = say(language, "Next in line…")
    elif progress.place is not None:
        state = say(language, QUEUE_AHEAD, count=progress.place)
    else:
        each = progress.total // request.count
        step = min(each, progress.completed // request.count + 1)
        filled = BAR_CELLS * progress.completed // progress.total if progress.total else 0
        bar = "▰" * filled + "▱" * (BAR_CELLS - filled)
        state = f"{bar} {say(language, 'step {step} of {steps}', step=step, steps=each)}"
    return f"{headline(request, language)}\n{state}"


def progress_pictures(
    request: ImageRequest, progress: Progress, spoiler: bool = False, language: str = ENGLISH
) -> tuple[PictureFile, ...]:
    """Return the previews as one picture, if there are any: as large as the finished one, or in a grid.

    A ``spoiler`` is hidden until clicked. Encodes: call it in a thread.
    """
    previews = progress.previews
    if not previews:
        return ()
    columns = math.ceil(math.sqrt(len(previews)))
    scale = min(request.upscale, PREVIEW_SIDE / columns / max(request.width, request.height))
    size = round(request.width * scale), round(request.height * scale)
    sheet = grid([smooth(preview, size) for preview in previews])
    name = f"{SPOILER_PREFIX if spoiler else ''}preview.webp"
    return (PictureFile(name, to_webp(sheet), say(language, "How the picture looks so far")),)


def state_text(prompt: str, state: str, language: str = ENGLISH) -> str:
    """Return the text of a request that has no pictures to show."""
    return f"{title(prompt, language=language)}\n{state}"


def encode_source(request: ImageRequest) -> bytes | None:
    """Encode the picture that ``request`` starts from, if any.

    It is scaled as the model sees it, and transparent where it is to be redrawn. Call it in a thread.
    """
    fitted = fit_source(request)
    if fitted.image is None:
        return None
    mask = fit_mask(fitted.mask, request.width, request.height) if fitted.mask else None
    return to_png(mask_to_alpha(fitted.image, mask))


def result_pictures(request: ImageRequest, files: Iterable[bytes], language: str = ENGLISH) -> tuple[PictureFile, ...]:
    """Return finished pictures; the alt text has their number and prompts."""
    is_numbered = request.count > 1 and not request.morph_to
    pictures = []
    for index, file in enumerate(files):
        own = request.single(index)
        suffix = own.animation if own.morph_to else "png"
        number = f"-{index + 1}" if request.variants else ""  # the pictures of all variants have the same seeds
        name = f"{PICTURE_PREFIX}{own.seed}{number}.{suffix}"
        alt = " → ".join(own.prompts).strip() or say(language, ALT_WITHOUT_PROMPT)
        if own.morph_to:
            alt = say(language, "Animation: {prompt}", prompt=alt)
        elif is_numbered:
            alt = say(language, "Picture {number} of {count}: {prompt}", number=index + 1, count=request.count, prompt=alt)
        pictures.append(PictureFile(name, file, alt[:ALT_TEXT_LIMIT]))
    return tuple(pictures)


def source_picture(png: bytes, language: str = ENGLISH) -> PictureFile:
    """Return the attachment of the picture that others started from."""
    return PictureFile(f"{SOURCE_PREFIX}png", png, say(language, "The picture this was started from"))
