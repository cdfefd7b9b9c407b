"""/imagine: a picture from a text."""

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.confirm import ask_first
from cogs.core.request.options import (
    QUALITY_CHOICES,
    SAMPLER_CHOICES,
    UPSCALE_CHOICES,
    Count,
    Guidance,
    Prompt,
    Seed,
    Size,
    Steps,
    StyleName,
    clean,
    describe,
    matching_choices,
    offer_sizes,
    offer_styles,
    parse_size,
)


class ImagineCog(commands.Cog):
    """Pictures from a text."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @describe(
        "prompt",
        "style",
        "negative",
        "size",
        "quality",
        "steps",
        "guidance",
        "sampler",
        "steer",
        "steer_strength",
        "seed",
        "count",
        "upscale",
        "private",
        "spoiler",
    )
    @app_commands.choices(quality=QUALITY_CHOICES, sampler=SAMPLER_CHOICES, upscale=UPSCALE_CHOICES)
    @app_commands.autocomplete(style=offer_styles, size=offer_sizes)
    async def imagine(
        self,
        interaction: discord.Interaction[Any],
        prompt: Prompt,
        style: StyleName | None = None,
        negative: Prompt | None = None,
        size: Size | None = None,
        quality: str | None = None,
        steps: Steps | None = None,
        guidance: Guidance | None = None,
        sampler: str | None = None,
        steer: Range[str, 1, 50] | None = None,
        steer_strength: Range[float, 0, 50] | None = None,
        seed: Seed | None = None,
        count: Count | None = None,
        upscale: int | None = None,
        private: bool | None = None,
        spoiler: bool | None = None,
    ) -> None:
        """Develop a picture from a text."""

        async def go(started: discord.Interaction[Any]) -> None:
            width, height = parse_size(size)
            request = await self.service.request(
                started,
                prompt,
                style=style,
                negative_prompt=negative and clean(negative),
                width=width,
                height=height,
                quality=quality,
                steps=steps,
                guidance_scale=guidance,
                sampler=sampler,
                guide_label=steer.strip().lower() if steer else None,
                label_scale=steer_strength,
                seed=seed,
                count=count,
                upscale=upscale,
            )
            await self.service.make_now(started, request, private=private, spoiler=spoiler)

        async with self.service.answering(interaction):
            await ask_first(self.service, interaction, prompt, count, go)

    @imagine.autocomplete("steer")
    async def labels(self, interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
        """Offer what the model's classifier tells apart."""
        return matching_choices(self.service.engine.model.guide_labels, current)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(ImagineCog(bot.service))
