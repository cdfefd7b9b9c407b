"""Download pictures from messages and have them decoded, with limits on size, time and memory.

Only addresses that Discord assigned to uploads are used. The bytes of a file go to a sandboxed process; here arrive its pixels
and texts.
"""

import asyncio
import contextlib
import hashlib
import logging
import mimetypes
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import discord
from PIL import Image

from cogs.core.messages.byte_budget import PICTURE_BYTES
from cogs.core.messages.decode_process import TOO_BUSY, WAIT_SECONDS, decode_sandboxed
from cogs.core.messages.http_errors import DISCORD_ERRORS
from diffusion.errors import InvalidImageError
from diffusion.images.decoding import DecodedImage
from diffusion.images.io import on_white
from diffusion.images.masks import as_mask, split_mask
from diffusion.text import N_

log = logging.getLogger(__name__)
MAX_BYTES = 20 * 2**20
DOWNLOAD_SECONDS = 30.0
CHUNK_BYTES: Final = 2**16
UNKNOWN_TYPES: Final = ("", "application/octet-stream")
_FETCHED_NAMES: ContextVar[list[str] | None] = ContextVar("fetched_names", default=None)
TOO_LARGE: Final = N_("The attachment is larger than {most} MiB. Please attach less.")


@dataclass(frozen=True)
class PostedFile:
    """A file of a message: its name, alt text, size and how to read it.

    ``size`` is in bytes, or 0 if Discord does not say. ``read`` takes the most bytes that it may return; it raises
    `InvalidImageError` for more. ``content_type`` is what Discord says of the content. A ``spoiler`` is hidden until clicked.
    ``address`` is its URL, or empty.
    """

    name: str
    description: str
    size: int
    read: Callable[[int], Awaitable[bytes]]
    content_type: str = ""
    spoiler: bool = False
    address: str = ""

    @classmethod
    def of(cls, file: discord.Attachment) -> "PostedFile":
        """Return the file of an attachment."""
        read = partial(read_from_cdn, file._http, file.url)
        kind = file.content_type or ""
        return cls(file.filename, file.description or "", file.size, read, kind, file.is_spoiler(), file.url)

    @classmethod
    def of_asset(cls, asset: discord.Asset) -> "PostedFile":
        """Return the file of an avatar or sticker."""
        return cls(PurePosixPath(urlsplit(asset.url).path).name, "", 0, partial(read_from_cdn, asset._state.http, asset.url))

    @property
    def may_be_picture(self) -> bool:
        """Whether the content may be a picture; the name decides only if Discord does not know the type."""
        kind = self.content_type
        if kind in UNKNOWN_TYPES:
            kind = mimetypes.guess_type(self.name)[0] or ""
        return kind in UNKNOWN_TYPES or kind.startswith("image/")


def posted_files(message: discord.Message) -> list[PostedFile]:
    """Return the files that were uploaded with ``message``, in its order.

    A message with a layout lists them in its components only.
    """
    if message.attachments:
        return list(map(PostedFile.of, message.attachments))
    return list(_files_of_layout(message._state.http, message.components))


def _files_of_layout(http: Any, components: Iterable[discord.Component]) -> Iterator[PostedFile]:
    for media, description, spoiler in media_of(components):
        if media.attachment_id is not None:  # media without an id may have any URL
            name = PurePosixPath(urlsplit(media.url).path).name
            read = partial(read_from_cdn, http, media.url)
            yield PostedFile(name, description or "", 0, read, media.content_type or "", spoiler or name.startswith("SPOILER_"))


def media_of(
    components: Iterable[discord.Component], hidden: bool = False
) -> Iterator[tuple[discord.UnfurledMediaItem, str | None, bool]]:
    """Yield each media item, its alt text and whether it is a spoiler; ``hidden`` says that of all of them."""
    for component in components:
        if isinstance(component, discord.MediaGalleryComponent):
            yield from ((item.media, item.description, hidden or item.spoiler) for item in component.items)
        elif isinstance(component, discord.ThumbnailComponent):
            yield component.media, component.description, hidden or component.spoiler
        elif isinstance(component, discord.FileComponent):
            yield component.media, None, hidden or component.spoiler
        elif isinstance(component, discord.SectionComponent):
            yield from media_of([component.accessory], hidden)
        elif isinstance(component, discord.Container):
            yield from media_of(component.children, hidden or component.spoiler)


def hides_any(*files: discord.Attachment | PostedFile | None) -> bool:
    """Return whether one of ``files`` is hidden until clicked; then what is made of it is hidden, too."""
    return any(file.spoiler if isinstance(file, PostedFile) else file.is_spoiler() for file in files if file)


@contextlib.contextmanager
def fetched_names() -> Iterator[list[str]]:
    """Collect the SHA-256 of each file that this task fetches as a picture, which is its name if the bot has made it."""
    names: list[str] = []
    token = _FETCHED_NAMES.set(names)
    try:
        yield names
    finally:
        _FETCHED_NAMES.reset(token)


async def fetch_picture(file: discord.Attachment | PostedFile) -> DecodedImage:
    """Download ``file`` and have it decoded: its pixels and texts.

    Raises `InvalidImageError` if it is too large, not a picture, or cannot be downloaded.
    """
    posted = PostedFile.of(file) if isinstance(file, discord.Attachment) else file
    if posted.size > MAX_BYTES:
        raise InvalidImageError(TOO_LARGE, most=MAX_BYTES // 2**20)
    async with contextlib.AsyncExitStack() as reserved:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await reserved.enter_async_context(PICTURE_BYTES.reserve(posted.size or MAX_BYTES))
        except TimeoutError:
            raise InvalidImageError(TOO_BUSY) from None
        data = await download(posted)
        if (names := _FETCHED_NAMES.get()) is not None:
            names.append((await asyncio.to_thread(hashlib.sha256, data)).hexdigest())
        picture = await decode_sandboxed(data)
    PICTURE_BYTES.hold(picture.image)
    return picture


async def fetch_image(file: discord.Attachment | PostedFile) -> Image.Image:
    """Download and decode ``file`` to RGB, with transparency on white.

    Raises `InvalidImageError` like `fetch_picture`.
    """
    return await asyncio.to_thread(on_white, (await fetch_picture(file)).image)


async def fetch_masked(file: discord.Attachment | PostedFile) -> tuple[Image.Image, Image.Image | None]:
    """Download ``file``; return the picture and its transparency as a mask, if any.

    Raises `InvalidImageError` like `fetch_picture`.
    """
    return await asyncio.to_thread(split_mask, (await fetch_picture(file)).image)


async def fetch_mask(file: discord.Attachment | PostedFile) -> Image.Image:
    """Download ``file`` and decode it as a mask.

    Raises `InvalidImageError` like `fetch_picture`.
    """
    return await asyncio.to_thread(as_mask, (await fetch_picture(file)).image)


async def download(file: PostedFile, max_bytes: int | None = None) -> bytes:
    """Download ``file``, of at most ``max_bytes`` (None: `MAX_BYTES`, or the size that Discord names).

    Do not decode a picture from these bytes; `fetch_picture` does. Raises `InvalidImageError` if the file is larger or cannot
    be downloaded.
    """
    most = max_bytes or file.size or MAX_BYTES
    try:
        async with asyncio.timeout(DOWNLOAD_SECONDS):
            return await file.read(most)
    except DISCORD_ERRORS as error:
        log.warning("a picture could not be downloaded: %r", error)
        raise InvalidImageError("I could not download the picture from Discord. Please attach it again.") from error


async def read_from_cdn(http: Any, url: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Read what Discord keeps at ``url``, and stop after ``max_bytes``.

    discord.py 2.7.1 reads a whole answer, of any size, and lets one host lead to another. Raises `InvalidImageError` for a
    larger answer, and discord.py's errors.
    """
    session = http._HTTPClient__session
    async with session.get(url, proxy=http.proxy, proxy_auth=http.proxy_auth, allow_redirects=False) as response:
        if response.status == 404:
            raise discord.NotFound(response, "asset not found")
        if response.status != 200:
            raise discord.HTTPException(response, "failed to get asset")
        data = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            data += chunk
            if len(data) > max_bytes:
                raise InvalidImageError(TOO_LARGE, most=max(1, max_bytes // 2**20))
        return bytes(data)
