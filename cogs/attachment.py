"""Files that members attach: never larger than agreed, never from another address than the attachment's own."""

import asyncio

import discord
from PIL import Image

from diffusion.errors import InvalidImage
from diffusion.image import read_image

MAX_BYTES = 20 * 2**20


async def fetch_image(attachment: discord.Attachment) -> Image.Image:
    """Download and decode ``attachment``; raises `InvalidImage` where it is too large or no picture."""
    return await asyncio.to_thread(read_image, await download(attachment))


async def download(attachment: discord.Attachment) -> bytes:
    """Give the bytes of ``attachment``; raises `InvalidImage` where they are too many."""
    if attachment.size > MAX_BYTES:
        raise InvalidImage(f"The attachment is larger than {MAX_BYTES // 2**20} MiB. Please attach less.")
    return await attachment.read()
