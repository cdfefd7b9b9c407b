"""/edit: change a picture by words, with a model that sees it while it draws."""

from dataclasses import replace
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.linked import LINK_DESCRIPTION, Link, checked_picture
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.options import Options, Prompt, shared_options
from cogs.core.request.prompt import parse_prompt
from cogs.core.request.styles import NO_STYLE
from cogs.core.types import Interaction
from diffusion.request import ImageRequest

if TYPE_CHECKING:
    from bot import Darkroom


class EditCog(commands.Cog):
    """Changes pictures by words."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        prompt="What to change, such as: make it night", image="The picture to change", link=LINK_DESCRIPTION
    )
    @app_commands.autocomplete(link=suggest_creations)
    @shared_options("model", "size", "steps", "guidance", "seed", "count", "private", "spoiler")
    async def edit(
        self,
        interaction: Interaction,
        prompt: Prompt,
        options: Options,
        image: discord.Attachment | None = None,
        link: Link | None = None,
    ) -> None:
        """Change a picture by words."""
        parsed = parse_prompt(prompt)
        if "style" not in parsed.flags:
            options = replace(options, style=NO_STYLE)  # a preferred style would change the picture, too
        asked = Context.of(interaction)
        builder = self.service.builder.of(asked, parsed, options)
        given = await checked_picture(asked, image, link, lambda: builder.check(asked, parsed, options, is_edit=True))
        if given is None:
            return
        several = len(parsed.variants) > 1
        context = await confirm_variants(given.context, parsed, options.count) if several else given.context
        if context is None:
            return

        async def prepare() -> ImageRequest:
            picture = await fetch_image(given.file)
            size = builder.size_like(picture, context, parsed, options)
            return builder.build(context, parsed, options, image=picture, is_edit=True, **size)

        spoiler = hides_any(given.file) or options.spoiler
        await self.service.accept(context, prepare, private=options.private, spoiler=spoiler, origin=given.origin)
        if notes := builder.notes(parsed):
            await send_notes(context, notes)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(EditCog(bot.service))
