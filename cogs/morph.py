"""/morph: draw an animation that leads from one text or picture to another."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.builder import RequestBuilder
from cogs.core.generation.linked import PICTURE_AND_LINK, Link, check_origins, given_pictures
from cogs.core.generation.service import GenerationService, Prepare
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.options import MAX_FRAMES, Options, Prompt, shared_options
from cogs.core.request.prompt import ParsedPrompt, clean, parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.images.io import fit, halves, hstack
from diffusion.lora.tags import join_loras
from diffusion.request import ANIMATION_NAMES, ImageRequest, start_step_for, validate_most

if TYPE_CHECKING:
    from bot import Darkroom

DEFAULT_FRAMES = 12
SIMILARITY: Final = 0.4  # to the pictures
ANY_TWO: Final = Image.new("RGB", (2, 1))  # stands for pictures that were not read yet
BLANK: Final = " "  # what a morph of pictures becomes where no text says so
Ends = tuple[tuple[discord.Attachment | None, str | None], ...]  # the pictures, each attached or named by a link
ANIMATION_CHOICES = [Choice(name=title, value=name) for name, title in ANIMATION_NAMES.items()]


class MorphCog(commands.Cog):
    """Draws animations that lead from text to text, or from picture to picture."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.rename(start="from", end="to", first="from_picture", last="to_picture", kind="format")
    @app_commands.rename(first_link="from_link", last_link="to_link")
    @app_commands.describe(
        start="What it shows first",
        end="What it becomes",
        first="The picture that it shows first; needs to_picture, too",
        last="The picture that it becomes; needs from_picture, too",
        first_link="A link to it on Discord, or its id, instead of from_picture",
        last_link="A link to it on Discord, or its id, instead of to_picture",
        frames="The number of frames: more is smoother and slower",
        kind="WebP is finer and smaller; GIF plays everywhere",
    )
    @app_commands.choices(kind=ANIMATION_CHOICES)
    @app_commands.autocomplete(first_link=suggest_creations, last_link=suggest_creations)
    @shared_options(
        "model",
        "style",
        "negative",
        "size",
        "quality",
        "steps",
        "guidance",
        "sampler",
        "seed",
        "lora",
        "private",
        "spoiler",
    )
    async def morph(
        self,
        interaction: Interaction,
        options: Options,
        start: Prompt | None = None,
        end: Prompt | None = None,
        first: discord.Attachment | None = None,
        last: discord.Attachment | None = None,
        first_link: Link | None = None,
        last_link: Link | None = None,
        frames: Range[int, 2, MAX_FRAMES] | None = None,
        kind: str = "webp",
    ) -> None:
        """Turn one picture into another, as an animation."""
        context = Context.of(interaction)
        ends = (first, first_link), (last, last_link)
        _check_ends(start, end, ends)
        of_pictures = any(ends[0])
        texts = (start or end or "", end or start or "")
        prompts = parse_prompt(texts[0], options.negative), parse_prompt(texts[1])
        if any(len(prompt.variants) > 1 for prompt in prompts):
            raise InvalidRequestError("morph_to", "A morph needs two plain prompts. Please choose instead of {…|…}.")
        builder = self.service.builder.of(context, prompts[0], options)
        if of_pictures and options.sampler is None:
            options = replace(options, sampler=builder.model.even_sampler)
        count = frames or min(DEFAULT_FRAMES, context.limits.frames)
        changes = {"count": count, "animation": kind}
        problems = Problems()
        with problems.collect():
            validate_most("frames", count, context.limits.frames)
        with problems.collect():
            request = _between(builder, context, prompts, options, ANY_TWO if of_pictures else None)
        problems.report()
        wanted: ImageRequest | Prepare = request.replace(**changes)
        spoiler, origin = options.spoiler, None
        if of_pictures:
            given = await given_pictures(context, ends)
            if given is None:
                return
            origin = await check_origins(given, options.private)
            context = given[-1].context
            files = [each.file for each in given]
            spoiler = hides_any(*files) or spoiler

            async def prepare() -> ImageRequest:
                pictures = [await fetch_image(file) for file in files]
                both = await asyncio.to_thread(_side_by_side, *pictures)
                return _between(builder, context, prompts, options, both).replace(**changes)

            wanted = prepare
        await self.service.accept(context, wanted, private=options.private, spoiler=spoiler, origin=origin)
        if notes := builder.notes(*prompts):
            await send_notes(context, notes)


def _check_ends(start: str | None, end: str | None, ends: Ends) -> None:
    """Raise `InvalidRequestError` unless there are two texts or two pictures."""
    first, last = map(any, ends)
    if any(map(all, ends)):
        raise InvalidRequestError("image", PICTURE_AND_LINK)
    if first != last:
        missing = "to_picture" if first else "from_picture"
        raise InvalidRequestError(
            "morph_to",
            "A morph goes from text to text or from picture to picture. Attach `{missing}`, too, or leave out the other one.",
            missing=missing,
        )
    if not first and start is None:
        raise InvalidRequestError("morph_to", "Say what it shows first, as `from`, or attach two pictures.")
    if not first and not clean(end or ""):
        raise InvalidRequestError("morph_to", "The second prompt is empty. Please say what the picture should become.")


def _between(
    builder: RequestBuilder,
    context: Context,
    prompts: tuple[ParsedPrompt, ParsedPrompt],
    options: Options,
    both: Image.Image | None,
) -> ImageRequest:
    """Return the request for a morph of two frames; ``both`` are its two pictures side by side, if it has any.

    Raises `InvalidRequestError` for all that is wrong.
    """
    first, last = prompts
    fields: dict[str, Any] = {}
    if both:
        fields = {"image": both} | builder.size_like(halves(both)[0], context, first, options)
    problems = Problems()
    with problems.collect():
        request = builder.build(context, first, options, **fields)
    with problems.collect():
        target = builder.build(context, last, Options(style=options.style), **fields)
    problems.report()
    start_step = start_step_for(SIMILARITY, request.steps) if both else 0
    loras = join_loras(request.loras, target.loras)
    return request.replace(morph_to=target.prompt or BLANK, count=2, loras=loras, start_step=start_step)


def _side_by_side(first: Image.Image, last: Image.Image) -> Image.Image:
    return hstack([first, fit(last, *first.size)])


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(MorphCog(bot.service))
