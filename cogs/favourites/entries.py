"""A page of starred pictures: thumbnails beside what is known about them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import discord
from discord import ui

from cogs.core.generation.starboard import STARS
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.thumbnails import stored_thumbnail
from cogs.core.policy.context import Context
from cogs.core.storage.creations import Creation
from cogs.lineage import ShowSelect
from diffusion.text import N_

PROMPT_LENGTH: Final = 150  # characters shown
PICTURES_DELETED: Final = N_("its pictures have been deleted")


@dataclass(frozen=True)
class Entry:
    """A creation on a page; ``stars`` is None where they are not shown."""

    creation: Creation
    stars: int | None = None


async def entries_layout(context: Context, heading: str, entries: Sequence[Entry]) -> tuple[ui.LayoutView, list[discord.File]]:
    """Return a layout of ``heading`` and ``entries`` with a list to show one, and its thumbnails as files."""
    language = context.language
    view = ui.LayoutView(timeout=None)
    files: list[discord.File] = []
    if heading:
        view.add_item(ui.TextDisplay(heading))
    for entry in entries:
        creation = entry.creation
        picture = await stored_thumbnail(context.interaction.client.service.image_store, creation)
        text = ui.TextDisplay[Any](_entry_text(entry, language, is_gone=picture is None))
        if picture is None:
            view.add_item(text)
            continue
        name = f"{creation.short_id}.webp"
        files.append(discord.File(io.BytesIO(picture), name))
        alt = creation.prompt[: render.ALT_TEXT_LIMIT] or say(language, render.ALT_WITHOUT_PROMPT)
        media = ui.Thumbnail[Any](f"attachment://{name}", description=alt, spoiler=creation.spoiler)
        view.add_item(ui.Section(text, accessory=media))
    if entries:
        view.add_item(ui.ActionRow(ShowSelect([entry.creation for entry in entries], language)))
    return view, files


def _entry_text(entry: Entry, language: str, is_gone: bool) -> str:
    creation = entry.creation
    parts = [say(language, STARS, count=entry.stars)] if entry.stars is not None else []
    parts.append(say(language, "by {member}", member=f"<@{creation.owner}>"))
    parts.append(discord.utils.format_dt(creation.created, "R"))
    if creation.message_id and not creation.private:
        place = f"{creation.guild_id or '@me'}/{creation.channel_id}/{creation.message_id}"
        parts.append(f"[{say(language, 'message')}](https://discord.com/channels/{place})")
    if creation.private:
        parts.append(say(language, "private"))
    if is_gone:
        parts.append(say(language, PICTURES_DELETED))
    title = render.title(creation.prompt, PROMPT_LENGTH, language)
    return f"{title}\n-# {'⭐ ' if entry.stars is not None else ''}{' · '.join(parts)}\n-# id `{creation.short_id}`"
