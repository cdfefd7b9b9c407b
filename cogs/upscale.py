"""/upscale: enlarge a picture by the operator's upscaler."""

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.app_commands import Choice
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.policy.context import Context
from cogs.core.request.options import UPSCALE_CHOICES, Options, shared_options
from cogs.core.types import Interaction
from diffusion.request import ImageRequest

if TYPE_CHECKING:
    from bot import Darkroom

SIZES: list[Choice[int]] = [choice for choice in UPSCALE_CHOICES if choice.value > 1]


class UpscaleCog(commands.Cog):
    """Enlarges attached pictures."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(image="The picture to enlarge", factor="How many times as large it becomes, 2 by default")
    @app_commands.choices(factor=SIZES)
    @shared_options("private", "spoiler")
    async def upscale(
        self, interaction: Interaction, image: discord.Attachment, options: Options, factor: int = SIZES[0].value
    ) -> None:
        """Enlarge a picture without drawing it again."""
        model = self.service.engine.model
        model.validate_upscale(factor)

        async def prepare() -> ImageRequest:
            picture = await fetch_image(image)
            return model.request("", image=picture, upscale=1).enlarged_by_upscaler(picture, factor)

        context = Context.of(interaction)
        await self.service.accept(context, prepare, private=options.private, spoiler=hides_any(image) or options.spoiler)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(UpscaleCog(bot.service))
