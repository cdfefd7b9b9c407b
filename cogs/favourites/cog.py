"""/favourites and /gallery: a member's starred pictures, and those of a server with the most stars or a crown."""

from typing import Any, Final, Literal

import discord
from discord import app_commands, ui
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.components import PersistentButton
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.pages import SEARCH_LIMIT, Direction, add_turn_buttons, turn_button
from cogs.core.policy.context import Context
from cogs.core.policy.permissions import fits_channel, may_see
from cogs.core.request.options import server_only
from cogs.core.request.prompt import clean
from cogs.core.storage.creations import Creation
from cogs.core.storage.gallery import PAGE_SIZE, Page
from cogs.core.storage.stars import FAVOURITES_PER_STEP, Period
from cogs.core.types import Interaction
from cogs.favourites.entries import entries_layout
from diffusion.text import N_

PERIOD_LABELS: Final = {
    Period.DAY: N_("Today"),
    Period.WEEK: N_("This week"),
    Period.ALL: N_("All time"),
    Period.JAMS: N_("Jam winners"),
}
PERIOD_CHOICES: Final = [Choice(name=label, value=str(period)) for period, label in PERIOD_LABELS.items()]
NO_FAVOURITES: Final = N_("You have no favourites here yet. Press ⭐ under a picture that you like.")
NONE_FOUND: Final = N_("You have no favourites here with “{search}” in their prompt.")
NO_WINNERS: Final = N_("No picture that you can see has won a jam here yet. Start one with {jam}.")
NO_STARS: Final = N_("Nobody has starred a picture of this time that you can see. Press ⭐ under one that you like.")


class FavouritesPageButton(PersistentButton, name="favourites"):
    """Shows the favourites before or after the one at the edge of this page."""

    edits_message = True

    direction: Direction
    creation_id: int
    search: str

    def __init__(self, direction: Direction, creation_id: int, search: str, language: str = ENGLISH) -> None:
        super().__init__(turn_button(direction, language), direction=direction, creation_id=creation_id, search=search)

    async def run(self, interaction: Interaction) -> None:
        """Show the next page in the same message."""
        await interaction.response.defer()
        context = Context.of(interaction)
        page = await favourites_page(context, self.search, edge=self.creation_id, is_newer=self.direction == "newer")
        if not page.creations:  # taken off meanwhile
            page = await favourites_page(context, self.search)
        view, files = await _favourites_layout(context, page, self.search)
        await interaction.edit_original_response(view=view, attachments=files, allowed_mentions=NO_MENTIONS)


class GalleryPeriodButton(PersistentButton, name="gallery:period"):
    """Shows the pictures of another time."""

    edits_message = True

    period: Period

    def __init__(self, period: Period, language: str = ENGLISH, is_shown: bool = False) -> None:
        button: ui.Button[Any] = ui.Button(label=say(language, PERIOD_LABELS[period]), disabled=is_shown)
        super().__init__(button, period=period)

    async def run(self, interaction: Interaction) -> None:
        """Show their first page in the same message."""
        await _turn_to(interaction, self.period, 0)


class GalleryPageButton(PersistentButton, name="gallery:page"):
    """Shows another page of the gallery."""

    edits_message = True

    direction: Literal["back", "more"]
    period: Period
    page: int

    def __init__(self, direction: str, period: Period, page: int, language: str = ENGLISH) -> None:
        label, emoji = (N_("Back"), "◀️") if direction == "back" else (N_("More"), "▶️")
        button: ui.Button[Any] = ui.Button(label=say(language, label), emoji=emoji)
        super().__init__(button, direction=direction, period=period, page=page)

    async def run(self, interaction: Interaction) -> None:
        """Show the page in the same message."""
        await _turn_to(interaction, self.period, self.page)


class FavouritesCog(commands.Cog):
    """Lists what members have starred."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(search="Only pictures whose prompt contains this")
    async def favourites(self, interaction: Interaction, search: Range[str, 1, SEARCH_LIMIT] | None = None) -> None:
        """Browse the pictures that you have starred."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        context = Context.of(interaction)
        wanted = clean(search or "")
        page = await favourites_page(context, wanted)
        view, files = await _favourites_layout(context, page, wanted)
        await interaction.followup.send(view=view, files=files, ephemeral=True, allowed_mentions=NO_MENTIONS)

    @app_commands.command()
    @app_commands.describe(period="When the pictures were made, or the winners of jams")
    @app_commands.choices(period=PERIOD_CHOICES)
    @server_only
    async def gallery(self, interaction: Interaction, period: str = Period.WEEK) -> None:
        """Browse the pictures of this server with the most stars."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        view, files = await _gallery_layout(Context.of(interaction), Period(period), 0)
        await interaction.followup.send(view=view, files=files, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def favourites_page(context: Context, search: str = "", *, edge: int | None = None, is_newer: bool = False) -> Page:
    """Return a page of the favourites that the member may see here."""
    store = context.interaction.client.service.stores.star_store
    place = context.guild_id, context.interaction.channel_id or 0
    found: list[Creation] = []
    after = edge
    while len(found) <= PAGE_SIZE:
        read = await store.favourites(context.member_id, place, search, edge=after, is_newer=is_newer)
        found += [creation for creation in read if _is_shown(context, creation)]
        if len(read) < FAVOURITES_PER_STEP:
            break
        after = read[-1].id
    has_more = len(found) > PAGE_SIZE
    shown = found[:PAGE_SIZE]
    if is_newer:
        return Page(shown[::-1], newer=has_more, older=True)
    return Page(shown, newer=edge is not None, older=has_more)


def _is_shown(context: Context, creation: Creation) -> bool:
    is_own = creation.owner == context.member_id
    return is_own or (may_see(context, creation) and fits_channel(context, creation))


async def _favourites_layout(context: Context, page: Page, search: str) -> tuple[ui.LayoutView, list[discord.File]]:
    language = context.language
    if not page.creations:
        none = say(language, NONE_FOUND, search=render.escape(search)) if search else say(language, NO_FAVOURITES)
        return await entries_layout(context, none, [])
    view, files = await entries_layout(context, "", page.creations)
    add_turn_buttons(view, page, lambda direction, edge: FavouritesPageButton(direction, edge, search, language))
    return view, files


async def _turn_to(interaction: Interaction, period: Period, page: int) -> None:
    await interaction.response.defer()
    view, files = await _gallery_layout(Context.of(interaction), period, page)
    await interaction.edit_original_response(view=view, attachments=files, allowed_mentions=NO_MENTIONS)


async def _gallery_layout(context: Context, period: Period, page: int) -> tuple[ui.LayoutView, list[discord.File]]:
    """Return a page of the server's gallery; the first one if there is no such page any more."""
    language = context.language
    stores = context.interaction.client.service.stores
    guild_id = context.guild_id or 0
    is_of_jams = period is Period.JAMS
    ranked = await (stores.jam_store.crowned(guild_id) if is_of_jams else stores.star_store.ranked(guild_id, period))
    visible = [each for each in ranked if may_see(context, each.creation) and fits_channel(context, each.creation)]
    first = page * PAGE_SIZE
    if first >= len(visible):
        page = first = 0
    shown = visible[first : first + PAGE_SIZE]
    mention = context.interaction.client.mention_command("jam start")
    heading = "" if shown else say(language, NO_WINNERS, jam=mention) if is_of_jams else say(language, NO_STARS)
    stars = {each.creation.id: each.stars for each in shown}
    view, files = await entries_layout(context, heading, [each.creation for each in shown], stars)
    view.add_item(ui.ActionRow(*(GalleryPeriodButton(each, language, is_shown=each == period) for each in Period)))
    buttons = []
    if page:
        buttons.append(GalleryPageButton("back", period, page - 1, language))
    if len(visible) > first + PAGE_SIZE:
        buttons.append(GalleryPageButton("more", period, page + 1, language))
    if buttons:
        view.add_item(ui.ActionRow(*buttons))
    return view, files
