"""Small versions of stored pictures."""

import asyncio
import contextlib
import io
from typing import Final

from PIL import Image

from cogs.core.storage.creations import Creation
from cogs.core.storage.images import ImageMissingError, ImageStore

THUMBNAIL_SIDE: Final = 192  # pixels


async def stored_thumbnail(image_store: ImageStore, creation: Creation) -> bytes | None:
    """Return a thumbnail of the first picture of ``creation``, None if it has none any more."""
    with contextlib.suppress(ImageMissingError, IndexError, TypeError):
        return await asyncio.to_thread(thumbnail, await image_store.read((creation.pictures or [])[0]))
    return None


def thumbnail(png: bytes) -> bytes:
    """Return a small WebP of a picture. Encodes: call it in a thread."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        small.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
