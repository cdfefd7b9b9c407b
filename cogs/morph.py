"""/morph: an animation that leads from one text to another."""

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.request.options import (
    MAX_FRAMES,
    QUALITY_CHOICES,
    SAMPLER_CHOICES,
    Guidance,
    Prompt,
    Seed,
    Size,
    Steps,
    StyleName,
    clean,
    describe,
    offer_sizes,
    offer_styles,
    parse_size,
)
from diffusion.errors import InvalidRequestError
from diffusion.request import ANIMATION_NAMES

FRAMES = 12
ANIMATION_CHOICES = [Choice(name=title, value=name) for name, title in ANIMATION_NAMES.items()]


class MorphCog(commands.Cog):
    """Animations from text to text."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.rename(start="from", end="to", kind="format")
    @describe("style", "negative", "size", "quality", "steps", "guidance", "sampler", "seed", "private", "spoiler")
    @app_commands.describe(
        start="What it shows first",
        end="What that becomes",
        frames="How many pictures the way has: more is smoother and slower",
        kind="WebP is finer and smaller; GIF plays everywhere",
    )
    @app_commands.choices(quality=QUALITY_CHOICES, sampler=SAMPLER_CHOICES, kind=ANIMATION_CHOICES)
    @app_commands.autocomplete(style=offer_styles, size=offer_sizes)
    async def morph(
        self,
        interaction: discord.Interaction[Any],
        start: Prompt,
        end: Prompt,
        frames: Range[int, 2, MAX_FRAMES] | None = None,
        style: StyleName | None = None,
        negative: Prompt | None = None,
        size: Size | None = None,
        quality: str | None = None,
        steps: Steps | None = None,
        guidance: Guidance | None = None,
        sampler: str | None = None,
        seed: Seed | None = None,
        kind: str = "webp",
        private: bool | None = None,
        spoiler: bool | None = None,
    ) -> None:
        """Let one picture become another."""
        async with self.service.answering(interaction):
            if not clean(end):
                raise InvalidRequestError("morph_to", "The prompt is empty. Describe what the picture should become.")
            width, height = parse_size(size)
            first = await self.service.request(
                interaction,
                start,
                style=style,
                negative_prompt=negative and clean(negative),
                width=width,
                height=height,
                quality=quality,
                steps=steps,
                guidance_scale=guidance,
                sampler=sampler,
                seed=seed,
            )
            last = await self.service.request(interaction, end, style=style)
            if first.variants or last.variants:
                raise InvalidRequestError(
                    "morph_to", "A morph goes from one text to one other. Please choose, instead of {…|…}."
                )
            most = self.service.rules.limits(interaction).frames
            way = first.replace(morph_to=last.prompt, count=frames or min(FRAMES, most), animation=kind)
            await self.service.make_now(interaction, way, private=private, spoiler=spoiler)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(MorphCog(bot.service))
