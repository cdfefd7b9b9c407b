"""Download pictures from messages, with limits on size, time and memory.

Only addresses that Discord assigned to uploads are used.
"""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import discord
from PIL import Image

from cogs.core.messages.http_errors import DISCORD_ERRORS
from diffusion.errors import InvalidImageError
from diffusion.images.decoding import DecodedImage, decode_picture
from diffusion.images.io import FORMATS, MAX_PIXELS, read_image
from diffusion.images.masks import read_mask, read_masked

log = logging.getLogger(__name__)
MAX_BYTES = 20 * 2**20
DOWNLOAD_SECONDS = 30.0
# The largest picture takes about two processor seconds and half a gigabyte.
PROBE_CPU_SECONDS = 6
PROBE_MEMORY_BYTES = 2**30
PROBE_WAIT_SECONDS = 30.0
SANDBOX = Path(__file__).with_name("decode_sandbox.py")
PROBE_THREADS = ThreadPoolExecutor(2, "decode-sandbox")  # two pictures at a time


@dataclass(frozen=True)
class PostedFile:
    """A file of a message: its name, alt text, size and how to read it.

    ``size`` is in bytes, or 0 if Discord does not say.
    """

    name: str
    description: str
    size: int
    read: Callable[[], Awaitable[bytes]]


def posted_files(message: discord.Message) -> list[PostedFile]:
    """Return the files that were uploaded with ``message``, in its order.

    A message with a layout lists them in its components only.
    """
    if message.attachments:
        return [PostedFile(file.filename, file.description or "", file.size, file.read) for file in message.attachments]
    fetch = message._state.http.get_from_cdn  # the media items of discord.py 2.7.1 have no method to read them
    return [
        PostedFile(PurePosixPath(urlsplit(media.url).path).name, description or "", 0, partial(fetch, media.url))
        for media, description in _media(message.components)
        if media.attachment_id is not None  # media without an id may have any URL
    ]


def _media(components: Iterable[discord.Component]) -> Iterator[tuple[discord.UnfurledMediaItem, str | None]]:
    for component in components:
        if isinstance(component, discord.MediaGalleryComponent):
            yield from ((item.media, item.description) for item in component.items)
        elif isinstance(component, discord.ThumbnailComponent):
            yield component.media, component.description
        elif isinstance(component, discord.SectionComponent):
            yield from _media([component.accessory])
        elif isinstance(component, discord.Container):
            yield from _media(component.children)


async def fetch_picture(file: discord.Attachment | PostedFile) -> DecodedImage:
    """Download and decode ``file``: its pixels and texts.

    Raises `InvalidImageError` if it is too large or not a picture.
    """
    return await asyncio.to_thread(decode_picture, await download(file))


async def fetch_image(file: discord.Attachment | PostedFile) -> Image.Image:
    """Download and decode ``file``.

    Raises `InvalidImageError` if it is too large or not a picture.
    """
    return await asyncio.to_thread(read_image, await download(file))


async def fetch_masked(file: discord.Attachment | PostedFile) -> tuple[Image.Image, Image.Image | None]:
    """Download ``file``; return the picture and its transparency as a mask, if any.

    Raises `InvalidImageError` if it is too large or not a picture.
    """
    return await asyncio.to_thread(read_masked, await download(file))


async def fetch_mask(file: discord.Attachment | PostedFile) -> Image.Image:
    """Download ``file`` and decode it as a mask.

    Raises `InvalidImageError` if it is too large or not a picture.
    """
    return await asyncio.to_thread(read_mask, await download(file))


async def download(file: discord.Attachment | PostedFile) -> bytes:
    """Download ``file`` and check that decoding it takes limited time and memory.

    Raises `InvalidImageError` if it takes too much, is too large or cannot be downloaded.
    """
    if file.size > MAX_BYTES:
        raise InvalidImageError("The attachment is larger than {most} MiB. Please attach less.", most=MAX_BYTES // 2**20)
    try:
        async with asyncio.timeout(DOWNLOAD_SECONDS):
            data = await file.read()
    except DISCORD_ERRORS as error:
        log.warning("a picture could not be downloaded: %r", error)
        raise InvalidImageError("I could not download the picture from Discord. Please attach it again.") from error
    await probe(data)
    return data


async def probe(data: bytes) -> None:
    """Decode ``data`` in a sandbox.

    Raises `InvalidImageError` if that takes too much time or memory.
    """
    try:
        async with asyncio.timeout(PROBE_WAIT_SECONDS):
            is_safe = await asyncio.get_running_loop().run_in_executor(PROBE_THREADS, _probe, data)
    except TimeoutError:
        raise InvalidImageError("Too many pictures are being read at the moment. Please try again in a minute.") from None
    if not is_safe:
        raise InvalidImageError("The picture takes too much time or memory to be read. Please save it again and attach that.")


def _probe(data: bytes) -> bool:
    limits = map(str, (PROBE_CPU_SECONDS, PROBE_MEMORY_BYTES, MAX_PIXELS))
    try:
        process = subprocess.run(
            [sys.executable, "-I", SANDBOX, *limits, *FORMATS], input=data, capture_output=True, timeout=4 * PROBE_CPU_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return process.returncode == 0
