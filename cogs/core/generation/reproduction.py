"""Whether a picture that was made again came out the same."""

import asyncio
import contextlib
import io
import json
from dataclasses import fields
from typing import Any, Final

from PIL import Image

from cogs.core.i18n.catalogues import say
from cogs.core.storage.creations import Creation, CreationStore
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.images import ImageMissingError, ImageStore
from diffusion.images.difference import difference
from diffusion.request import ImageRequest

DEFAULTS: Final = {field.name: list(field.default) if field.default == () else field.default for field in fields(ImageRequest)}


async def replay_note(creation: Creation, creation_store: CreationStore, image_store: ImageStore, language: str) -> str:
    """Compare ``creation`` with its parent where both asked for the very same; nothing where they did not."""
    parent = None
    with contextlib.suppress(DatabaseUnavailableError):
        parent = await creation_store.get(creation.parent_id) if creation.parent_id else None
    if parent is None or not parent.pictures or not _same_request(creation, parent):
        return ""
    outcome = await _compared(creation, parent, image_store, language)
    if parent.model not in (None, creation.model):
        outcome = f"{outcome}; {say(language, 'the model was {name} then', name=parent.model)}"
    return f"-# {say(language, 'Replay of {number}: {outcome}.', number=f'`{parent.id}`', outcome=outcome)}"


async def _compared(creation: Creation, parent: Creation, image_store: ImageStore, language: str) -> str:
    if creation.pictures == parent.pictures:
        return say(language, "identical to the byte (SHA-256)")
    try:
        now, then = [[await image_store.read(name) for name in one.pictures or ()] for one in (creation, parent)]
    except ImageMissingError:
        return say(
            language, "not identical to the byte; how far apart they are cannot be told, as the first is not kept any more"
        )
    if len(now) != len(then):
        return say(language, "not identical")
    return await asyncio.to_thread(_worst, now, then, language)


def _worst(now: list[bytes], then: list[bytes], language: str) -> str:
    apart = []
    for pair in zip(now, then, strict=True):
        first, second = (Image.open(io.BytesIO(data)).convert("RGB") for data in pair)
        if first.size != second.size:
            return say(language, "not identical, of another size")
        apart.append(difference(first, second))
    levels, decibels = max(levels for levels, _ in apart), min(decibels for _, decibels in apart)
    if levels == 0:
        return say(language, "identical in every pixel")
    return say(
        language,
        "not identical, apart by at most {levels} of 255 levels (PSNR {decibels} dB)",
        levels=levels,
        decibels=f"{decibels:.1f}",
    )


def _same_request(creation: Creation, parent: Creation) -> bool:
    return (_told(creation), creation.source) == (_told(parent), parent.source)


def _told(creation: Creation) -> dict[str, Any]:
    """Give what of the request is not left as it is by default, which earlier versions may not have known at all."""
    request = json.loads(json.dumps(creation.request or {}))
    return {field: value for field, value in request.items() if value != DEFAULTS.get(field)}
