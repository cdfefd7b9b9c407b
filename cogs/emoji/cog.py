"""/emoji: add a picture to the server as an emoji or sticker."""

import asyncio
from typing import Final

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.linked import LINK_DESCRIPTION, Link, check_one_picture, given_picture
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.i18n.catalogues import say
from cogs.core.messages.attachments import fetch_picture, fetched_names, hides_any
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.request.options import server_only
from cogs.core.types import Interaction
from cogs.emoji.draft import Draft, add_expression, draft_files
from cogs.emoji.expressions import EMOJI, STICKER, guess_tag, server_for
from diffusion.errors import Problems
from diffusion.images.cutout import cut_out
from diffusion.images.io import on_white
from diffusion.text import N_

FIRST_FRAME: Final = N_("The picture moves, and I cannot add moving ones, so this is its first frame.")


class EmojiCog(commands.Cog):
    """Adds pictures to a server as emojis and stickers."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @server_only
    @app_commands.describe(
        image="The picture to use",
        link=LINK_DESCRIPTION,
        name="What to call it; the file's name if left out",
        sticker="Make a sticker instead of an emoji",
        transparent="Remove the background, if that is plain",
    )
    @app_commands.autocomplete(link=suggest_creations)
    async def emoji(
        self,
        interaction: Interaction,
        image: discord.Attachment | None = None,
        link: Link | None = None,
        name: Range[str, 1, 32] | None = None,
        sticker: bool = False,
        transparent: bool = True,
    ) -> None:
        """Add a picture to this server as an emoji or sticker."""
        kind = STICKER if sticker else EMOJI
        server_for(interaction, kind)
        problems = Problems()
        with problems.collect():
            check_one_picture(image, link)
        with problems.collect():
            name = kind.validate_name(name) if name else None
        problems.report()
        given = await given_picture(Context.of(interaction), image, link)
        if given is None:
            return
        context = given.context
        if given.origin:
            await self.service.origin_rules.check(context, given.origin, private=True)
        made_here = given.origin.creation if given.origin else None
        name = name or (kind.guess_name(made_here.prompt) if made_here else kind.name_of_file(given.file.name))
        draft = Draft(kind, 0, 0, transparent, name, guess_tag(name.replace("_", " ")))
        interaction = context.interaction
        await interaction.response.defer(ephemeral=True, thinking=True)
        async with self.service.rules.charging_refused_attachment(context):
            with fetched_names() as names:
                picture = await fetch_picture(given.file)
        await self.service.origin_rules.check_files(context, names, private=True)
        cutout = await asyncio.to_thread(lambda: cut_out(on_white(picture.image)))
        text = await add_expression(interaction, draft, cutout)
        if picture.animated:
            text += f" {say(context.language, FIRST_FRAME)}"
        files = await draft_files(draft, cutout, context.language, spoiler=hides_any(given.file))
        await interaction.edit_original_response(content=text, attachments=files, allowed_mentions=NO_MENTIONS)
