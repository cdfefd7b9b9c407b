"""/outpaint: continue a picture beyond its edges."""

import asyncio
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.linked import LINK_DESCRIPTION, Link, checked_picture
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.extension import Extension, extended
from cogs.core.request.options import Options, Prompt, shared_options
from cogs.core.request.prompt import parse_prompt
from cogs.core.types import Interaction
from diffusion.images.canvas import DIRECTIONS
from diffusion.request import ImageRequest

if TYPE_CHECKING:
    from bot import Darkroom

DEFAULT_SHARE = 0.5


class OutpaintCog(commands.Cog):
    """Continues pictures beyond their edges."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        direction="The side on which to continue it",
        prompt="What the whole picture should show",
        image="The picture to continue",
        link=LINK_DESCRIPTION,
        share="How much to add, as a share of the picture: 0.5 adds half",
    )
    @app_commands.choices(direction=[Choice(name=name, value=name) for name in DIRECTIONS])
    @app_commands.autocomplete(link=suggest_creations)
    @shared_options("model", "style", "negative", "quality", "steps", "guidance", "seed", "count", "lora", "private", "spoiler")
    async def outpaint(
        self,
        interaction: Interaction,
        direction: str,
        prompt: Prompt,
        options: Options,
        image: discord.Attachment | None = None,
        link: Link | None = None,
        share: Range[float, 0.1, 1.0] = DEFAULT_SHARE,
    ) -> None:
        """Continue a picture beyond its edges."""
        extension = Extension(direction, share)
        parsed = parse_prompt(prompt, options.negative)
        asked = Context.of(interaction)
        builder = self.service.builder.of(asked, parsed, options)
        given = await checked_picture(asked, image, link, lambda: builder.check(asked, parsed, options))
        if given is None:
            return
        several = len(parsed.variants) > 1
        context = await confirm_variants(given.context, parsed, options.count) if several else given.context
        if context is None:
            return

        async def prepare() -> ImageRequest:
            picture = await fetch_image(given.file)
            size = builder.fit_aspect(extension.grow(picture.size), context.limits)
            request = builder.build(context, parsed, options, image=picture, width=size[0], height=size[1])
            return await asyncio.to_thread(extended, request, picture, extension, size=size, cell=builder.model.latent_factor)

        spoiler = hides_any(given.file) or options.spoiler
        await self.service.accept(context, prepare, private=options.private, spoiler=spoiler, origin=given.origin)
        if notes := builder.notes(parsed):
            await send_notes(context, notes)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(OutpaintCog(bot.service))
