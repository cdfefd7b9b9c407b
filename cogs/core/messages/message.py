"""A message of the bot: plain text, or finished pictures in a layout."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Final

import discord
from discord import ui
from PIL import Image

from cogs.core.i18n.catalogues import ENGLISH, say
from diffusion.images.animation import decode_animation, encode_animation
from diffusion.images.parameters import read_text_chunks
from diffusion.text import N_

MESSAGE_LIMIT: Final = 2000  # characters of a plain message
LAYOUT_LIMIT: Final = 4000  # characters of all texts of a layout together
ELLIPSIS: Final = "…"
NO_MENTIONS: Final = discord.AllowedMentions.none()
MAX_REQUEST_BYTES: Final = 25 * 2**20 - 2**16  # Discord takes 25 MiB, with texts and separators
# Tried in turn if files are too large: a note for the member, Pillow's options for WebP, a divisor of the sides.
SHRINK_LEVELS = (
    (N_("sent as lossless WebP, because the file was too large here"), {"lossless": True}, 1),
    (N_("sent as WebP, because the file was too large here"), {"quality": 90}, 1),
    (N_("sent as WebP at half the size, because the message was too large here"), {"quality": 90}, 2),
    (N_("sent as WebP at a quarter of the size, because the message was too large here"), {"quality": 90}, 2),
)


@dataclass(frozen=True)
class PictureFile:
    """An attached file: its name, bytes and alt text."""

    name: str
    data: bytes
    description: str


@dataclass(frozen=True)
class Answer:
    """A message to send: text, pictures below it and buttons.

    ``sentence`` is the part of the text without the member's words, for a channel whose filter refuses those. ``source`` is the
    picture that the others started from.
    """

    text: str
    pictures: tuple[PictureFile, ...] = ()
    view: discord.ui.View | None = None
    sentence: str = ""
    source: PictureFile | None = None

    def fits(self, limit: int) -> bool:
        """Return whether the files can be sent together.

        Each may have ``limit`` bytes (0: unknown), and all together those of one request.
        """
        sizes = [len(each.data) for each in (*self.pictures, self.source) if each]
        return sum(sizes) <= MAX_REQUEST_BYTES and max(sizes, default=0) <= (limit or MAX_REQUEST_BYTES)

    def files(self) -> list[discord.File]:
        """Return fresh files for one attempt at posting; discord.py can send each one once."""
        attached = [each for each in (*self.pictures, self.source) if each]
        return [discord.File(io.BytesIO(each.data), each.name, description=each.description) for each in attached]

    def edit(self) -> dict[str, Any]:
        """Return the options of one attempt to edit a message into this one."""
        return {"content": self.text, "attachments": self.files(), "view": self.view}

    def send(self) -> dict[str, Any]:
        """Return the options of one attempt to send this as a new message."""
        return {"content": self.text, "files": self.files()} | ({"view": self.view} if self.view else {})

    def smaller(self, limit: int = 0) -> "Answer | None":
        """Return the same with smaller files; None if that is impossible.

        They fit ``limit`` as `fits` says.
        """
        return None


@dataclass(frozen=True)
class Result(Answer):
    """Finished pictures in a layout, with a ``footer`` and rows below them.

    ``rows`` returns fresh rows for one attempt. A ``spoiler`` is hidden until clicked. Pictures that are ``apart`` stand below
    each other, as a gallery of several crops them to squares. ``shrink_level`` counts how often the files were made smaller; a
    note in ``language`` says so.
    """

    footer: str = ""
    rows: Callable[[], Sequence[ui.ActionRow[Any]]] = tuple
    spoiler: bool = False
    apart: bool = False
    shrink_level: int = 0
    language: str = ENGLISH

    def edit(self) -> dict[str, Any]:
        """Return the options of one attempt to edit a message into this one."""
        return {"content": None, "attachments": self.files(), "view": self.layout()}

    def send(self) -> dict[str, Any]:
        """Return the options of one attempt to send this as a new message."""
        return {"files": self.files(), "view": self.layout()}

    def layout(self) -> ui.LayoutView:
        """Lay the message out."""
        note = f"-# {say(self.language, SHRINK_LEVELS[self.shrink_level - 1][0])}" if self.shrink_level else ""
        items = [
            discord.MediaGalleryItem(f"attachment://{picture.name}", description=picture.description, spoiler=self.spoiler)
            for picture in self.pictures
        ]
        head: ui.Item[Any] = ui.TextDisplay(self.text)
        if self.source:
            media = f"attachment://{self.source.name}"
            thumbnail = ui.Thumbnail[Any](media, description=self.source.description, spoiler=self.spoiler)
            head = ui.Section(self.text, accessory=thumbnail)
        view = ui.LayoutView(timeout=None)
        view.add_item(head)
        for gallery in [[item] for item in items] if self.apart else [items]:
            view.add_item(ui.MediaGallery(*gallery))
        if footer := "\n".join(filter(None, (self.footer, note))):
            view.add_item(ui.TextDisplay(footer))
        for row in self.rows():
            view.add_item(row)
        return view

    def smaller(self, limit: int = 0) -> "Result | None":
        """Return the same with smaller files; None if that is impossible.

        They fit ``limit`` as `fits` says. Encodes: call it in a thread.
        """
        smaller = self
        for shrink_level, (_, options, divisor) in enumerate(SHRINK_LEVELS[self.shrink_level :], self.shrink_level + 1):
            pictures = tuple(_as_webp(picture, options, divisor) for picture in smaller.pictures)
            source = smaller.source and _as_webp(smaller.source, options, divisor)
            smaller = replace(self, pictures=pictures, source=source, shrink_level=shrink_level)
            if smaller.fits(limit):
                return smaller
        return None


def _as_webp(picture: PictureFile, options: dict[str, Any], divisor: int) -> PictureFile:
    frames, milliseconds = decode_animation(picture.data)
    size = max(1, frames[0].width // divisor), max(1, frames[0].height // divisor)
    resized = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]
    text = read_text_chunks(picture.data).get("parameters")
    # "exact" keeps the colours of transparent pixels: in a source, the model draws over them.
    data = encode_animation(resized, milliseconds, text=text, exact=True, **options)
    return PictureFile(str(PurePath(picture.name).with_suffix(".webp")), data, picture.description)


def fit_text(text: str, most: int, transform: Callable[[str], str] = str) -> str:
    """Return ``transform`` of ``text`` in at most ``most`` characters.

    The text is cut before it is transformed, so that the cut splits nothing that ``transform`` adds, such as escapes.
    """
    transformed = transform(text)
    if len(transformed) <= most:
        return transformed
    kept = 0
    too_many = len(text)
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if len(transform(text[:middle] + ELLIPSIS)) <= most:
            kept = middle
        else:
            too_many = middle
    return transform(text[:kept] + ELLIPSIS)


def fit_together(texts: Sequence[str], most: int, transform: Callable[[str], str] = str) -> list[str]:
    """Return ``texts`` as `fit_text` does, in ``most`` characters together.

    The longest are cut.
    """
    lengths = sorted(len(transform(text)) for text in texts)
    room = most
    share = most
    for position, length in enumerate(lengths):
        share = room // (len(lengths) - position)
        if length > share:
            break
        room -= length
    else:
        share = most
    return [fit_text(text, share, transform) for text in texts]
