"""/inpaint: a part of a picture drawn anew."""

import asyncio
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.service import GenerationService
from cogs.core.messages.attachments import fetch_image, fetch_mask, fetch_masked
from cogs.core.messages.confirm import ask_first
from cogs.core.request.options import (
    QUALITY_CHOICES,
    Count,
    Guidance,
    Prompt,
    Seed,
    Steps,
    StyleName,
    clean,
    describe,
    matching_choices,
    offer_styles,
)
from cogs.core.request.regions import REGIONS, parse_region, pixels
from diffusion.errors import InvalidRequestError
from diffusion.images.masks import box_mask, fit_and_fill
from diffusion.request import ImageRequest
from diffusion.text import N_

NO_MASK = N_(
    "Please say what to draw anew: attach a mask that is white there, name a region,"
    " or attach a picture that is transparent there."
)
ONE_MASK = N_("Please give a mask or a region, not both.")


class InpaintCog(commands.Cog):
    """Pictures of which a part is drawn anew."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @describe("prompt", "style", "negative", "quality", "steps", "guidance", "seed", "count", "private", "spoiler")
    @app_commands.describe(
        image="The picture; what is transparent in it is drawn anew",
        mask="Another picture, white where this one is drawn anew",
        region="The part to draw anew, such as left, or x,y,width,height in percent",
    )
    @app_commands.choices(quality=QUALITY_CHOICES)
    @app_commands.autocomplete(style=offer_styles)
    async def inpaint(
        self,
        interaction: discord.Interaction[Any],
        image: discord.Attachment,
        prompt: Prompt,
        mask: discord.Attachment | None = None,
        region: Range[str, 1, 50] | None = None,
        style: StyleName | None = None,
        negative: Prompt | None = None,
        quality: str | None = None,
        steps: Steps | None = None,
        guidance: Guidance | None = None,
        seed: Seed | None = None,
        count: Count | None = None,
        private: bool | None = None,
        spoiler: bool | None = None,
    ) -> None:
        """Draw a part of a picture anew."""

        async def compose(started: discord.Interaction[Any]) -> ImageRequest:
            picture, hole = await _what_to_draw(image, mask, region)
            width, height = self.service.builder.shaped(picture.size, self.service.rules.limits(interaction))
            picture, hole = await asyncio.to_thread(fit_and_fill, picture, hole, width, height)
            return await self.service.request(
                started,
                prompt,
                style=style,
                negative_prompt=negative and clean(negative),
                image=picture,
                mask=hole,
                width=width,
                height=height,
                quality=quality,
                steps=steps,
                guidance_scale=guidance,
                seed=seed,
                count=count,
            )

        async def go(started: discord.Interaction[Any]) -> None:
            await self.service.make(started, lambda: compose(started), private=private, spoiler=spoiler)

        async with self.service.answering(interaction):
            await ask_first(self.service, interaction, prompt, count, go)

    @inpaint.autocomplete("region")
    async def regions(self, interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
        """Offer regions by name."""
        return matching_choices(REGIONS, current)


async def _what_to_draw(
    image: discord.Attachment, mask: discord.Attachment | None, region: str | None
) -> tuple[Image.Image, Image.Image]:
    """Give the picture and its mask, of whatever size; raises `DarkroomError` where the member did not say what to draw."""
    if mask and region:
        raise InvalidRequestError("mask", ONE_MASK)
    if region:
        box = parse_region(region)
        picture = await fetch_image(image)
        return picture, box_mask(picture.size, pixels(box, picture.size))
    if mask:
        return await fetch_image(image), await fetch_mask(mask)
    picture, hole = await fetch_masked(image)
    if hole is None:
        raise InvalidRequestError("mask", NO_MASK)
    return picture, hole


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(InpaintCog(bot.service))
