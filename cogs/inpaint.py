"""/inpaint: redraw a part of a picture."""

import asyncio
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.linked import LINK_DESCRIPTION, Link, check_one_picture, given_picture
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.messages.attachments import PostedFile, fetch_image, fetch_mask, fetch_masked, hides_any
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.options import Options, Prompt, matching_choices, shared_options
from cogs.core.request.prompt import parse_prompt
from cogs.core.request.regions import REGIONS, Region, parse_region, pixel_box
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.images.masks import box_mask, fit_and_fill
from diffusion.request import ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

NO_MASK = N_(
    "Nothing marks the part to redraw. Attach a mask that is white there, name a region,"
    " or attach a picture that is transparent there."
)
TWO_MASKS = N_("Please give a mask or a region, not both.")


class InpaintCog(commands.Cog):
    """Redraws parts of pictures."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        prompt="What the redrawn part should show",
        image="The picture; its transparent part is redrawn",
        link=LINK_DESCRIPTION,
        mask="Another picture, white where this one is redrawn",
        region="The part to redraw, such as left, or x,y,width,height in percent",
    )
    @app_commands.autocomplete(link=suggest_creations)
    @shared_options("model", "style", "negative", "quality", "steps", "guidance", "seed", "count", "lora", "private", "spoiler")
    async def inpaint(
        self,
        interaction: Interaction,
        prompt: Prompt,
        options: Options,
        image: discord.Attachment | None = None,
        link: Link | None = None,
        mask: discord.Attachment | None = None,
        region: Range[str, 1, 50] | None = None,
    ) -> None:
        """Redraw a part of a picture."""
        parsed = parse_prompt(prompt, options.negative)
        asked = Context.of(interaction)
        problems = Problems()
        with problems.collect():
            check_one_picture(image, link)
        with problems.collect():
            if mask and region:
                raise InvalidRequestError("mask", TWO_MASKS)
            box = parse_region(region) if region else None
        builder = self.service.builder.of(asked, parsed, options)
        with problems.collect():
            builder.check(asked, parsed, options)
        problems.report()
        given = await given_picture(asked, image, link)
        if given is None:
            return
        several = len(parsed.variants) > 1
        context = await confirm_variants(given.context, parsed, options.count) if several else given.context
        if context is None:
            return

        async def prepare() -> ImageRequest:
            picture, hole = await _fetch_with_mask(given.file, mask, box)
            width, height = builder.fit_aspect(picture.size, context.limits)
            picture, hole = await asyncio.to_thread(fit_and_fill, picture, hole, width, height)
            size = {"width": width, "height": height}
            return builder.build(context, parsed, options, image=picture, mask=hole, **size)

        spoiler = hides_any(given.file, mask) or options.spoiler
        await self.service.accept(context, prepare, private=options.private, spoiler=spoiler, origin=given.origin)
        if notes := builder.notes(parsed):
            await send_notes(context, notes)

    @inpaint.autocomplete("region")
    async def suggest_regions(self, interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Suggest regions by name."""
        return matching_choices(REGIONS, current)


async def _fetch_with_mask(
    image: PostedFile, mask: discord.Attachment | None, region: Region | None
) -> tuple[Image.Image, Image.Image]:
    """Return the picture and its mask, each of any size.

    Raises `DarkroomError` if neither a mask nor a region nor transparency marks the part.
    """
    if region:
        picture = await fetch_image(image)
        return picture, box_mask(picture.size, pixel_box(region, picture.size))
    if mask:
        return await fetch_image(image), await fetch_mask(mask)
    picture, hole = await fetch_masked(image)
    if hole is None:
        raise InvalidRequestError("mask", NO_MASK)
    return picture, hole


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(InpaintCog(bot.service))
