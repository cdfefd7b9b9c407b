"""Pages of pictures: entries beside their thumbnails, and buttons that turn the page."""

import io
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import discord
from discord import ui

from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.thumbnails import stored_thumbnail
from cogs.core.policy.context import Context
from cogs.core.storage.creations import Creation
from cogs.core.storage.gallery import Page
from diffusion.text import N_

SEARCH_LIMIT: Final = 50  # characters that fit in a custom_id
PROMPT_LENGTH: Final = 150  # characters shown
PICTURES_DELETED: Final = N_("its pictures have been deleted")
TURN_LABELS: Final = {"newer": (N_("Newer"), "◀️"), "older": (N_("Older"), "▶️")}
Direction = Literal["newer", "older"]


async def add_entries(
    context: Context, view: ui.LayoutView, creations: Sequence[Creation], text_of: Callable[[Creation, bool], str]
) -> list[discord.File]:
    """Add ``creations`` to ``view``, each beside its thumbnail; return the thumbnails as files.

    ``text_of`` gets a creation and whether its pictures are gone.
    """
    image_store = context.interaction.client.service.image_store
    files: list[discord.File] = []
    for creation in creations:
        picture = await stored_thumbnail(image_store, creation)
        text = ui.TextDisplay[Any](text_of(creation, picture is None))
        if picture is None:
            view.add_item(text)
            continue
        name = f"{creation.short_id}.webp"
        files.append(discord.File(io.BytesIO(picture), name))
        alt = creation.prompt[: render.ALT_TEXT_LIMIT] or say(context.language, render.ALT_WITHOUT_PROMPT)
        media = ui.Thumbnail[Any](f"attachment://{name}", description=alt, spoiler=creation.spoiler)
        view.add_item(ui.Section(text, accessory=media))
    return files


def turn_button(direction: Direction, language: str) -> "ui.Button[Any]":
    """Return the look of a button that turns the page."""
    label, emoji = TURN_LABELS[direction]
    return ui.Button(label=say(language, label), emoji=emoji)


def add_turn_buttons(view: ui.LayoutView, page: Page, button_to: Callable[[Direction, int], "ui.Item[Any]"]) -> None:
    """Add the buttons to the pages beside ``page``; ``button_to`` gets the direction and the creation at that edge."""
    buttons = []
    if page.creations and page.newer:
        buttons.append(button_to("newer", page.creations[0].id))
    if page.creations and page.older:
        buttons.append(button_to("older", page.creations[-1].id))
    if buttons:
        view.add_item(ui.ActionRow(*buttons))
