"""/similar: pictures that start from another picture."""

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.attachments import fetch_image
from cogs.core.messages.confirm import ask_first
from cogs.core.request.options import Count, Guidance, Prompt, Seed, Steps, StyleName, describe, offer_styles
from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest, start_step_for

SIMILARITY = 0.4


class SimilarCog(commands.Cog):
    """Pictures from a picture."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @describe(
        "image", "prompt", "style", "similarity", "start_step", "steps", "guidance", "seed", "count", "private", "spoiler"
    )
    @app_commands.autocomplete(style=offer_styles)
    async def similar(
        self,
        interaction: discord.Interaction[Any],
        image: discord.Attachment,
        prompt: Prompt | None = None,
        style: StyleName | None = None,
        similarity: Range[float, 0, 1] | None = None,
        start_step: Range[int, 0, 149] | None = None,
        steps: Steps | None = None,
        guidance: Guidance | None = None,
        seed: Seed | None = None,
        count: Count | None = None,
        private: bool | None = None,
        spoiler: bool | None = None,
    ) -> None:
        """Develop pictures similar to an attached one."""

        async def compose(started: discord.Interaction[Any]) -> ImageRequest:
            if similarity is not None and start_step is not None:
                raise InvalidRequestError("start_step", "Please give a similarity or a start step, not both.")
            request = await self.service.request(
                started,
                prompt or "",
                style=style,
                image=await fetch_image(image),
                steps=steps,
                guidance_scale=guidance,
                sampler="ddim",
                seed=seed,
                count=count,
            )
            kept = SIMILARITY if similarity is None else similarity
            return request.replace(start_step=start_step_for(kept, request.steps) if start_step is None else start_step)

        async def go(started: discord.Interaction[Any]) -> None:
            await self.service.make(started, lambda: compose(started), private=private, spoiler=spoiler)

        async with self.service.answering(interaction):
            await ask_first(self.service, interaction, prompt or "", count, go)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(SimilarCog(bot.service))
