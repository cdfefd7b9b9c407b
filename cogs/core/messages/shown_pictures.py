"""All pictures that Discord shows with a message: uploaded, forwarded, embedded, in layouts, linked, and stickers.

Only files on Discord's own hosts are fetched. Discord keeps a copy there of a picture from elsewhere.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import discord

from cogs.core.messages.attachments import PostedFile, media_of, read_from_cdn
from cogs.core.request.links import find_links, is_picture_link

CDN_HOSTS: Final = (
    "cdn.discordapp.com",
    "media.discordapp.net",
    "images-ext-1.discordapp.net",
    "images-ext-2.discordapp.net",
)
SPOILER_PREFIX: Final = "SPOILER_"
SPOILER_MARK: Final = "||"  # around text that is hidden until clicked
Shown = discord.Message | discord.MessageSnapshot


def shown_pictures(message: discord.Message) -> list[PostedFile]:
    """Return the pictures that ``message`` shows, in its order, each once."""
    http = message._state.http
    everything: list[Shown] = [message, *message.message_snapshots]
    pictures: dict[str, PostedFile] = {}
    for picture in (picture for shown in everything for picture in _pictures(http, shown)):
        if picture.may_be_picture:
            pictures.setdefault(urlsplit(picture.address).path, picture)
    return list(pictures.values())


def cdn_url(*urls: str | None) -> str | None:
    """Return the first of ``urls`` that is on one of Discord's hosts, or None."""
    return next((url for url in urls if url and _is_on_cdn(url)), None)


def _is_on_cdn(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and parts.netloc in CDN_HOSTS  # without a port or a user
    except ValueError:
        return False


def _pictures(http: Any, shown: Shown) -> Iterator[PostedFile]:
    yield from map(PostedFile.of, shown.attachments)
    for media, description, is_spoiler in media_of(shown.components):
        # Only Discord gives a medium the id of an upload. Others may have any URL.
        url = media.url if media.attachment_id is not None else cdn_url(media.url, media.proxy_url)
        if url:
            yield _file(http, url, description or "", media.content_type or "", is_spoiler)
    for embed in shown.embeds:
        for picture in (embed.image, embed.thumbnail):
            if url := cdn_url(picture.url, picture.proxy_url):
                yield _file(http, url, "", "", _is_hidden(embed, shown.content))
    for link in find_links(shown.content):
        if is_picture_link(link):
            yield _file(http, link, "", "", _is_between_marks(link, shown.content))
    for sticker in shown.stickers:
        if sticker.format is not discord.StickerFormatType.lottie:  # a drawing program, no picture
            yield _file(http, sticker.url, sticker.name, "", False)


def _file(http: Any, url: str, description: str, content_type: str, is_spoiler: bool) -> PostedFile:
    name = PurePosixPath(urlsplit(url).path).name
    read = partial(read_from_cdn, http, url)
    return PostedFile(name, description, 0, read, content_type, is_spoiler or name.startswith(SPOILER_PREFIX), url)


def _is_hidden(embed: discord.Embed, content: str) -> bool:
    """Whether the link of ``embed`` stands between spoiler marks in ``content``."""
    return bool(embed.url) and _is_between_marks(str(embed.url), content)


def _is_between_marks(link: str, content: str) -> bool:
    return any(link in hidden for hidden in content.split(SPOILER_MARK)[1::2])
