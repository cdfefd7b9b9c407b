"""The messages of a jam as layouts, with their buttons and pictures."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

import discord
from discord import ui

from cogs.core.i18n.catalogues import say
from cogs.core.messages.message import PictureFile, fit_text
from cogs.core.messages.numbered_sheet import draw_sheet
from cogs.core.messages.render import ALT_TEXT_LIMIT, SPOILER_PREFIX
from cogs.core.messages.thumbnails import stored_thumbnail, thumbnail
from cogs.core.messages.views import ActionButton, text_view
from cogs.core.storage.images import ImageMissingError, ImageStore
from cogs.core.storage.jam_rows import JamEntryRow, JamRow
from cogs.core.storage.jams import Candidate
from cogs.jam import texts
from cogs.jam.entry import JoinButton, LeaveButton
from cogs.jam.vote import VoteButton

ROW_LENGTH: Final = 5  # Discord's limit
MAX_WINNERS_SHOWN: Final = 5  # of a tie
WINNER_SIDE: Final = 1024  # pixels
WINNER_QUALITY: Final = 90
SHEET_NAME: Final = "jam.webp"


def invitation_view(jam: JamRow, entries: Sequence[JamEntryRow]) -> ui.LayoutView:
    """Return the message that members join by."""
    view = text_view(texts.invitation(jam, entries))
    return view.add_item(ui.ActionRow(JoinButton(jam.id, jam.language), LeaveButton(jam.id, jam.language)))


def vote_view(jam: JamRow, text: str, candidates: Sequence[Candidate], *, is_over: bool = False) -> ui.LayoutView:
    """Return the vote: its text, the numbered pictures, and a button for each; without those once it ``is_over``."""
    view = text_view(text)
    spoiler = any(candidate.creation.spoiler for candidate in candidates)
    media = f"attachment://{SPOILER_PREFIX if spoiler else ''}{SHEET_NAME}"
    view.add_item(ui.MediaGallery(discord.MediaGalleryItem(media, spoiler=spoiler)))
    buttons = [] if is_over else [VoteButton(jam.id, candidate.entry.number) for candidate in candidates]
    for start in range(0, len(buttons), ROW_LENGTH):
        view.add_item(ui.ActionRow(*buttons[start : start + ROW_LENGTH]))
    return view


async def sheet_of(image_store: ImageStore, jam: JamRow, candidates: Sequence[Candidate]) -> PictureFile:
    """Return the pictures of ``candidates`` as one, with their numbers."""
    pictures = {one.entry.number: await stored_thumbnail(image_store, one.creation) for one in candidates}
    spoiler = any(candidate.creation.spoiler for candidate in candidates)
    alt = say(jam.language, "The pictures with their numbers")
    return PictureFile(f"{SPOILER_PREFIX if spoiler else ''}{SHEET_NAME}", await asyncio.to_thread(draw_sheet, pictures), alt)


async def winners_message(
    image_store: ImageStore, jam: JamRow, text: str, winners: Sequence[Candidate]
) -> tuple[ui.LayoutView, tuple[PictureFile, ...]]:
    """Return the message that names the winners, with their pictures and a button for an emoji of each."""
    view = text_view(text)
    files: list[PictureFile] = []
    items = []
    buttons: list[ui.Item[Any]] = []
    shown = winners[:MAX_WINNERS_SHOWN]
    for winner in shown:
        creation = winner.creation
        with contextlib.suppress(ImageMissingError):
            picture = await image_store.read((creation.pictures or [""])[0])
            data = await asyncio.to_thread(thumbnail, picture, WINNER_SIDE, WINNER_QUALITY)
            name = f"{SPOILER_PREFIX if creation.spoiler else ''}jam-{winner.entry.number}.webp"
            files.append(PictureFile(name, data, fit_text(creation.prompt, ALT_TEXT_LIMIT)))
            items.append(discord.MediaGalleryItem(f"attachment://{name}", spoiler=creation.spoiler))
            label = say(jam.language, "Make emoji")
            label = f"{label} ({winner.entry.number})" if len(shown) > 1 else label
            look = ui.Button[Any](label=label, emoji="😀")
            buttons.append(ActionButton("emoji", creation.owner, creation.id, look=look))
    if items:
        view.add_item(ui.MediaGallery(*items))
        view.add_item(ui.ActionRow(*buttons))
    return view, tuple(files)
