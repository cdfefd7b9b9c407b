"""/outpaint: a picture continued beyond its edges."""

import asyncio
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.attachments import fetch_image
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
    offer_styles,
)
from diffusion.images.canvas import DIRECTIONS, extend_canvas, grow
from diffusion.request import ImageRequest, start_step_for

SHARE = 0.5
CONTINUITY = 0.3  # how much of the continued edges is kept: with less, subjects are cut off at the old border


class OutpaintCog(commands.Cog):
    """Pictures continued beyond their edges."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @describe("prompt", "style", "negative", "quality", "steps", "guidance", "seed", "count", "private", "spoiler")
    @app_commands.describe(
        image="The picture to continue",
        direction="Where it goes on",
        share="How much to add, as a share of the picture: 0.5 adds half",
    )
    @app_commands.choices(direction=[Choice(name=name, value=name) for name in DIRECTIONS])
    @app_commands.choices(quality=QUALITY_CHOICES)
    @app_commands.autocomplete(style=offer_styles)
    async def outpaint(
        self,
        interaction: discord.Interaction[Any],
        image: discord.Attachment,
        direction: str,
        prompt: Prompt,
        share: Range[float, 0.1, 1.0] = SHARE,
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
        """Continue a picture beyond its edges."""
        builder = self.service.builder

        async def compose(started: discord.Interaction[Any]) -> ImageRequest:
            picture = await fetch_image(image)
            width, height = builder.shaped(grow(picture.size, direction, share), self.service.rules.limits(interaction))
            cell = builder.model.latent_factor
            canvas, rest = await asyncio.to_thread(extend_canvas, picture, direction, share, width, height, cell)
            request = await self.service.request(
                started,
                prompt,
                style=style,
                negative_prompt=negative and clean(negative),
                image=canvas,
                mask=rest,
                width=width,
                height=height,
                quality=quality,
                steps=steps,
                guidance_scale=guidance,
                seed=seed,
                count=count,
            )
            return request.replace(start_step=start_step_for(CONTINUITY, request.steps))

        async def go(started: discord.Interaction[Any]) -> None:
            await self.service.make(started, lambda: compose(started), private=private, spoiler=spoiler)

        async with self.service.answering(interaction):
            await ask_first(self.service, interaction, prompt, count, go)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(OutpaintCog(bot.service))
