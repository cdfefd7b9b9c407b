"""/show and /tree: show a picture again, and what it is related to."""

import asyncio
import io
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands, ui
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.generation.source import UNKNOWN_ID, visible_creation
from cogs.core.generation.suggestions import creation_label, suggest_creations
from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages import render
from cogs.core.messages.components import PersistentButton, PersistentSelect, view_of
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.lineage import Relative, tree_rows, tree_text
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.messages.thumbnails import stored_thumbnail
from cogs.core.messages.tree_picture import MAX_ROWS, draw_tree
from cogs.core.messages.uploads import send_followup
from cogs.core.policy.context import Context
from cogs.core.policy.permissions import fits_channel, is_here, may_see
from cogs.core.request.options import MAX_CHOICES
from cogs.core.storage.creations import Creation
from cogs.core.storage.gallery import PastCreationRow
from cogs.core.storage.images import ImageMissingError
from cogs.core.types import Interaction
from cogs.replay import ReplayButton
from diffusion.errors import DarkroomError

if TYPE_CHECKING:
    from bot import Darkroom

MESSAGE_LOOKUP_SECONDS: Final = 1.5  # the first answer must come within 3 s
MAX_TREE_LENGTH: Final = 3800  # of the 4,000 characters that a layout may have


class TreeButton(PersistentButton, name="tree"):
    """Shows the relatives of a picture."""

    creation_id: int

    def __init__(self, creation_id: int, language: str = ENGLISH) -> None:
        super().__init__(ui.Button(label=say(language, "Tree"), emoji="🌳"), creation_id=creation_id)

    async def run(self, interaction: Interaction) -> None:
        """Show the relatives."""
        await show_tree(interaction, str(self.creation_id))


class ShowSelect(PersistentSelect, name="show"):
    """Offers pictures that can be shown again."""

    def __init__(self, creations: list[Creation], language: str = ENGLISH) -> None:
        select: ui.Select[Any] = ui.Select(placeholder=say(language, "Show one…"))
        for creation in creations[:MAX_CHOICES]:
            label = creation_label(creation, language)
            select.add_option(label=label, value=creation.short_id, description=creation.short_id)
        super().__init__(select)

    async def run(self, interaction: Interaction) -> None:
        """Show the chosen picture to the member."""
        await show_again(interaction, self.values[0], private=True)


class LineageCog(commands.Cog):
    """Shows earlier pictures and how they are related."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(id="The picture: choose one, or paste an id", private="Show the pictures to you only")
    async def show(self, interaction: Interaction, id: str, private: bool = False) -> None:
        """Show a picture again."""
        await show_again(interaction, id, private)

    @app_commands.command()
    @app_commands.describe(id="The picture: choose one, or paste an id")
    async def tree(self, interaction: Interaction, id: str) -> None:
        """See where a picture came from and what became of it."""
        await show_tree(interaction, id)

    @show.autocomplete("id")
    @tree.autocomplete("id")
    async def suggest_ids(self, interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Suggest pictures by their ids and prompts."""
        return await suggest_creations(interaction, current)


async def show_again(interaction: Interaction, creation_id: str, private: bool) -> None:
    """Show a picture again.

    Everyone sees it if it was public, belongs to this server and its message exists. Otherwise only its owner does.
    """
    context = Context.of(interaction)
    creation = await visible_creation(context, creation_id)
    may_be_public = not creation.private and is_here(context, creation) and fits_channel(context, creation)
    is_public = may_be_public and await _has_message(interaction, creation)
    if not is_public and creation.owner != context.member_id:
        raise DarkroomError(UNKNOWN_ID)
    ephemeral = private or not is_public
    await interaction.response.defer(ephemeral=ephemeral, thinking=True)
    answer = await _result_answer(interaction, creation, context.language_for(ephemeral))
    await send_followup(interaction, answer, ephemeral=ephemeral)


async def show_tree(interaction: Interaction, creation_id: str) -> None:
    """Show the member the relatives of a picture."""
    context = Context.of(interaction)
    language = context.language
    creation = await visible_creation(context, creation_id)
    await interaction.response.defer(ephemeral=True, thinking=True)
    family = await interaction.client.service.stores.gallery.family(creation)
    visible = {one.id: one for one in family if isinstance(one, Creation) and may_see(context, one)}
    relatives = [_relative(one, is_visible=one.id in visible) for one in family]
    rows = tree_rows(relatives, creation.id, language)
    shown = [visible[row.relative.id] for row in rows[:MAX_ROWS] if row.relative.id in visible]
    thumbnails = await _thumbnails(context, shown)
    picture = await asyncio.to_thread(draw_tree, rows, thumbnails, creation.id)
    alt = say(language, "The pictures that came from each other, as below in words")
    hides = any(one.spoiler for one in shown)
    item = discord.MediaGalleryItem("attachment://tree.webp", description=alt, spoiler=hides)
    view = ui.LayoutView(timeout=None)
    view.add_item(ui.MediaGallery(item))
    text = tree_text(rows, creation.id, MAX_TREE_LENGTH, language)
    view.add_item(ui.TextDisplay(f"```\n{text}\n```"))
    view.add_item(ui.ActionRow(ShowSelect(sorted(visible.values(), key=lambda one: one.id), language)))
    file = discord.File(io.BytesIO(picture), "tree.webp")
    await interaction.followup.send(view=view, file=file, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def _thumbnails(context: Context, creations: Iterable[Creation]) -> dict[int, bytes]:
    """Return the thumbnails of those creations that the member may see in this channel."""
    store = context.interaction.client.service.image_store
    found: dict[int, bytes] = {}
    for creation in creations:
        if creation.owner == context.member_id or fits_channel(context, creation):
            data = await stored_thumbnail(store, creation)
            found |= {creation.id: data} if data else {}
    return found


def _relative(one: Creation | PastCreationRow, is_visible: bool) -> Relative:
    if isinstance(one, PastCreationRow):
        return Relative(one.id, one.parent_id, None, is_past=True)
    if not is_visible:
        return Relative(one.id, one.parent_id, None)
    return Relative(one.id, one.parent_id, one.request, one.source, one.short_id)


async def _has_message(interaction: Interaction, creation: Creation) -> bool:
    """Return whether the message of ``creation`` still exists.

    A picture whose message was deleted is not shown to everyone again.
    """
    channel = interaction.client.get_partial_messageable(creation.channel_id)
    try:
        async with asyncio.timeout(MESSAGE_LOOKUP_SECONDS):
            await channel.fetch_message(creation.message_id or 0)
    except DISCORD_ERRORS:
        return False
    return True


async def _result_answer(interaction: Interaction, creation: Creation, language: str) -> Answer:
    runner = interaction.client.service.runner
    request = await runner.request_of(creation)
    buttons = [ReplayButton(creation.id, language), TreeButton(creation.id, language)]
    try:
        result = await runner.result(creation, request, language)
    except ImageMissingError as error:
        gone = f"{translate(language, error)} {say(language, 'Replay makes them again.')}"
        text = render.state_text(request.prompt, gone, language)
        settings = render.settings_line(request, request.seeds, language)
        return Answer(f"{text}\n{settings}", view=view_of(*buttons))
    return replace(result, rows=lambda: [*result.rows(), ui.ActionRow(*buttons)])


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(LineageCog(bot.service))
