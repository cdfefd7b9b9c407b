"""A page of starred pictures: thumbnails beside what is known about them."""

from collections.abc import Mapping
from typing import Final

import discord
from discord import ui

from cogs.core.generation.starboard import STARS
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.pages import PICTURES_DELETED, PROMPT_LENGTH, add_entries
from cogs.core.policy.context import Context
from cogs.core.storage.creations import Creation
from cogs.lineage import ShowSelect
from diffusion.text import N_

WON: Final = N_("winner of the jam “{theme}”")
WON_ANY: Final = N_("winner of a jam")


async def entries_layout(
    context: Context, heading: str, creations: list[Creation], stars: Mapping[int, int] | None = None
) -> tuple[ui.LayoutView, list[discord.File]]:
    """Return a layout of ``heading`` and ``creations`` with a list to show one, and its thumbnails as files.

    ``stars`` has the number of each creation's stars by its id; without it, none are shown.
    """
    crowns = await context.interaction.client.service.stores.jam_store.crowns([creation.id for creation in creations])

    def text_of(creation: Creation, is_gone: bool) -> str:
        text = _entry_text(creation, stars[creation.id] if stars else None, context.language, is_gone)
        if creation.id not in crowns:
            return text
        theme = render.escape(crowns[creation.id])
        return f"{text}\n-# 👑 {say(context.language, WON, theme=theme) if theme else say(context.language, WON_ANY)}"

    view = ui.LayoutView(timeout=None)
    if heading:
        view.add_item(ui.TextDisplay(heading))
    files = await add_entries(context, view, creations, text_of)
    if creations:
        view.add_item(ui.ActionRow(ShowSelect(creations, context.language)))
    return view, files


def _entry_text(creation: Creation, stars: int | None, language: str, is_gone: bool) -> str:
    parts = [say(language, STARS, count=stars)] if stars is not None else []
    parts.append(say(language, "by {member}", member=f"<@{creation.owner}>"))
    parts.append(discord.utils.format_dt(creation.created, "R"))
    if creation.message_id and not creation.private:
        link = render.message_link(creation.guild_id, creation.channel_id, creation.message_id)
        parts.append(f"[{say(language, 'message')}]({link})")
    if creation.private:
        parts.append(say(language, "private"))
    if is_gone:
        parts.append(say(language, PICTURES_DELETED))
    title = render.title(creation.prompt, PROMPT_LENGTH, language)
    return f"{title}\n-# {'⭐ ' if stars is not None else ''}{' · '.join(parts)}\n-# id `{creation.short_id}`"
