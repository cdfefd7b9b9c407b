"""Small versions of stored pictures."""

import asyncio
import contextlib
import io
from typing import Final

from PIL import Image

from cogs.core.storage.creations import Creation
from cogs.core.storage.images import ImageMissingError, ImageStore
from diffusion.images.io import to_webp

THUMBNAIL_SIDE: Final = 192  # pixels


async def stored_thumbnail(image_store: ImageStore, creation: Creation) -> bytes | None:
    """Return a thumbnail of the first picture of ``creation``, None if it has none any more."""
    with contextlib.suppress(ImageMissingError, IndexError, TypeError):
        return await asyncio.to_thread(thumbnail, await image_store.read((creation.pictures or [])[0]))
    return None


def thumbnail(png: bytes, side: int = THUMBNAIL_SIDE, quality: int = 80) -> bytes:
    """Return a picture as a WebP of at most ``side`` pixels a side. Encodes: call it in a thread."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return to_webp(small, quality)
