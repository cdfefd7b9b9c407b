"""/history: a member's own pictures, page by page."""

from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands, ui
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.components import PersistentButton
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.pages import (
    PICTURES_DELETED,
    PROMPT_LENGTH,
    SEARCH_LIMIT,
    Direction,
    add_entries,
    add_turn_buttons,
    turn_button,
)
from cogs.core.policy.context import Context
from cogs.core.request.prompt import clean
from cogs.core.storage.creations import Creation
from cogs.core.storage.gallery import Page
from cogs.core.types import Interaction
from cogs.lineage import ShowSelect
from diffusion.text import plural

if TYPE_CHECKING:
    from bot import Darkroom

FRAME_COUNT: Final = plural("{count} frame", "{count} frames")
PICTURE_COUNT: Final = plural("{count} picture", "{count} pictures")


class HistoryPageButton(PersistentButton, name="history"):
    """Shows the page before or after the creation at the edge of this one."""

    direction: Direction
    creation_id: int
    search: str

    def __init__(self, direction: Direction, creation_id: int, search: str, language: str = ENGLISH) -> None:
        super().__init__(turn_button(direction, language), direction=direction, creation_id=creation_id, search=search)

    async def run(self, interaction: Interaction) -> None:
        """Show the next page in the same message."""
        gallery = interaction.client.service.stores.gallery
        await interaction.response.defer()
        edge = {"after" if self.direction == "newer" else "before": self.creation_id}
        page = await gallery.page(interaction.user.id, self.search, **edge)
        if not page.creations:  # deleted meanwhile
            page = await gallery.page(interaction.user.id, self.search)
        view, files = await _layout(interaction, page, self.search)
        await interaction.edit_original_response(view=view, attachments=files, allowed_mentions=NO_MENTIONS)


class HistoryCog(commands.Cog):
    """Lists the pictures of a member."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(search="Only pictures whose prompt contains this")
    async def history(self, interaction: Interaction, search: Range[str, 1, SEARCH_LIMIT] | None = None) -> None:
        """Browse the pictures that you have made."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        wanted = clean(search or "")
        language = Context.of(interaction).language
        page = await self.service.stores.gallery.page(interaction.user.id, wanted)
        if not page.creations:
            none = say(language, "You have no pictures yet.")
            if wanted:
                quoted = render.escape(wanted)
                none = say(language, "You have no pictures with “{search}” in their prompt yet.", search=quoted)
            await interaction.followup.send(none, ephemeral=True, allowed_mentions=NO_MENTIONS)
            return
        view, files = await _layout(interaction, page, wanted)
        await interaction.followup.send(view=view, files=files, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def _layout(interaction: Interaction, page: Page, search: str) -> tuple[ui.LayoutView, list[discord.File]]:
    """Return ``page`` as a layout, and the thumbnails that it shows as files."""
    context = Context.of(interaction)
    language = context.language
    view = ui.LayoutView(timeout=None)
    files = await add_entries(context, view, page.creations, lambda creation, gone: entry_text(creation, language, gone=gone))
    if page.creations:
        view.add_item(ui.ActionRow(ShowSelect(page.creations, language)))
    add_turn_buttons(view, page, lambda direction, edge: HistoryPageButton(direction, edge, search, language))
    return view, files


def entry_text(creation: Creation, language: str, gone: bool) -> str:
    """Return one entry of a page."""
    request = creation.request or {}
    count = request.get("count", 1)
    link = render.message_link(creation.guild_id, creation.channel_id, creation.message_id)
    parts = [
        discord.utils.format_dt(creation.created, "R"),
        say(language, "seed {seeds}", seeds=request.get("seed")),
        *([say(language, FRAME_COUNT if request.get("morph_to") else PICTURE_COUNT, count=count)] if count > 1 else []),
        *([say(language, "model {name}", name=render.escape(request["model"]))] if request.get("model") else []),
        *(
            say(language, "LoRA {name} {weight}", name=render.escape(name), weight=f"{weight:g}")
            for name, weight in request.get("loras", ())
        ),
        *([say(language, "private")] if creation.private else []),
        *([f"[{say(language, 'message')}]({link})"] if creation.message_id and not creation.private else []),
        *([say(language, PICTURES_DELETED)] if gone else []),
    ]
    title = render.title(creation.prompt, PROMPT_LENGTH, language)
    return f"{title}\n-# {' · '.join(parts)}\n-# id `{creation.short_id}`"


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(HistoryCog(bot.service))
