"""/upscale: enlarge a picture by the operator's upscaler."""

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.app_commands import Choice
from discord.ext import commands

from cogs.core.generation.linked import LINK_DESCRIPTION, Link, checked_picture
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.policy.context import Context
from cogs.core.request.options import UPSCALE_CHOICES, Options, shared_options
from cogs.core.types import Interaction
from diffusion.request import ImageRequest

if TYPE_CHECKING:
    from bot import Darkroom

SIZES: list[Choice[int]] = [choice for choice in UPSCALE_CHOICES if choice.value > 1]


class UpscaleCog(commands.Cog):
    """Enlarges pictures."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        image="The picture to enlarge", link=LINK_DESCRIPTION, factor="How many times as large it becomes, 2 by default"
    )
    @app_commands.autocomplete(link=suggest_creations)
    @app_commands.choices(factor=SIZES)
    @shared_options("private", "spoiler")
    async def upscale(
        self,
        interaction: Interaction,
        options: Options,
        image: discord.Attachment | None = None,
        link: Link | None = None,
        factor: int = SIZES[0].value,
    ) -> None:
        """Enlarge a picture without drawing it again."""
        model = self.service.engine.model
        given = await checked_picture(Context.of(interaction), image, link, lambda: model.validate_upscale(factor))
        if given is None:
            return

        async def prepare() -> ImageRequest:
            picture = await fetch_image(given.file)
            return model.request("", image=picture, upscale=1).enlarged_by_upscaler(picture, factor)

        spoiler = hides_any(given.file) or options.spoiler
        await self.service.accept(given.context, prepare, private=options.private, spoiler=spoiler, origin=given.origin)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(UpscaleCog(bot.service))
