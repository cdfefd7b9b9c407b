"""/imagine: a picture from a text."""

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.asking import ask_first
from cogs.options import (
    MAX_COUNT,
    PROMPT_LIMIT,
    SAMPLER_CHOICES,
    STYLE_LIMIT,
    UPSCALE_CHOICES,
    clean,
    describe,
    matching_choices,
    parse_size,
    size_choices,
)
from cogs.studio import Studio
from diffusion.request import MAX_SEED


class Imagine(commands.Cog):
    """Pictures from a text."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    @app_commands.command()
    @describe(
        "prompt",
        "style",
        "negative",
        "size",
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
    @app_commands.choices(sampler=SAMPLER_CHOICES)
    @app_commands.choices(upscale=UPSCALE_CHOICES)
    async def imagine(
        self,
        interaction: discord.Interaction[Any],
        prompt: Range[str, 1, PROMPT_LIMIT],
        style: Range[str, 1, STYLE_LIMIT] | None = None,
        negative: Range[str, 1, PROMPT_LIMIT] | None = None,
        size: Range[str, 1, 11] | None = None,
        steps: Range[int, 1, 150] | None = None,
        guidance: Range[float, 0, 30] | None = None,
        sampler: str | None = None,
        steer: Range[str, 1, 50] | None = None,
        steer_strength: Range[float, 0, 50] | None = None,
        seed: Range[int, 0, MAX_SEED] | None = None,
        count: Range[int, 1, MAX_COUNT] | None = None,
        upscale: int | None = None,
        private: bool | None = None,
        spoiler: bool | None = None,
    ) -> None:
        """Develop a picture from a text."""

        async def go(started: discord.Interaction[Any]) -> None:
            width, height = parse_size(size)
            request = await self.studio.request(
                started,
                prompt,
                style=style,
                negative_prompt=negative and clean(negative),
                width=width,
                height=height,
                steps=steps,
                guidance_scale=guidance,
                sampler=sampler,
                steer=steer.strip().lower() if steer else None,
                steer_scale=steer_strength,
                seed=seed,
                count=count,
                upscale=upscale,
            )
            await self.studio.make_now(started, request, private=private, spoiler=spoiler)

        async with self.studio.answering(interaction):
            await ask_first(self.studio, interaction, prompt, count, go)

    @imagine.autocomplete("style")
    async def styles(self, interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
        """Offer styles by name."""
        return matching_choices(self.studio.composer.styles, current)

    @imagine.autocomplete("size")
    async def sizes(self, interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
        """Offer sizes that suit the model."""
        return size_choices(self.studio.engine.model.sample_side, current)

    @imagine.autocomplete("steer")
    async def labels(self, interaction: discord.Interaction[Any], current: str) -> list[app_commands.Choice[str]]:
        """Offer what the model's classifier tells apart."""
        return matching_choices(self.studio.engine.model.steerable, current)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(Imagine(bot.studio))
