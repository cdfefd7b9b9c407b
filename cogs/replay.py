"""Replay: draw a picture again and report whether it came out the same."""

import asyncio
import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import discord
from PIL import Image

from cogs.core.generation.source import visible_creation
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import PersistentButton
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.policy.permissions import is_here
from cogs.core.storage.creations import Creation, CreationStore
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.images import ImageMissingError, ImageStore
from cogs.core.types import Interaction
from diffusion.images.difference import difference
from diffusion.request import ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

REPLAY: Final = "replay"  # the name of what members do here
JSON_DEFAULTS: Final = {
    field.name: list(field.default) if field.default == () else field.default for field in fields(ImageRequest)
}


class ReplayButton(PersistentButton, name="replay"):
    """Draws a creation again."""

    is_public = True

    creation_id: int

    def __init__(self, creation_id: int, language: str = ENGLISH) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(label=say(language, "Replay"), emoji="🔂")
        super().__init__(button, creation_id=creation_id)

    async def run(self, interaction: Interaction) -> None:
        """Draw it again; the line under the result compares the two."""
        service = interaction.client.service
        context = Context.of(interaction)
        creation = await visible_creation(context, str(self.creation_id))
        private = True if creation.private or not is_here(context, creation) else None
        origin = Origin(creation, action=REPLAY)
        await service.accept(context, lambda: service.runner.request_of(creation), private=private, origin=origin)


@dataclass(frozen=True)
class ReplayNote:
    """The line under a result that repeats the request of its parent."""

    creation_store: CreationStore
    image_store: ImageStore

    async def __call__(self, creation: Creation, pictures: Sequence[bytes], language: str) -> str:
        """Compare the ``pictures`` of ``creation`` with those of its parent.

        Returns "" if the requests differ.
        """
        parent = None
        with contextlib.suppress(DatabaseUnavailableError):
            parent = await self.creation_store.get(creation.parent_id) if creation.parent_id else None
        if parent is None or not parent.pictures or not _is_same_request(creation, parent):
            return ""
        outcome = await self._outcome(creation, pictures, parent, language)
        if parent.model not in (None, creation.model):
            outcome = f"{outcome}; {say(language, 'the model was {name} then', name=parent.model)}"
        return f"-# {say(language, 'Replay of {number}: {outcome}.', number=f'`{parent.short_id}`', outcome=outcome)}"

    async def _outcome(self, creation: Creation, pictures: Sequence[bytes], parent: Creation, language: str) -> str:
        if creation.pictures == parent.pictures:
            return say(language, "identical to the byte (SHA-256)")
        try:
            originals = [await self.image_store.read(name) for name in parent.pictures or ()]
        except ImageMissingError:
            return say(language, "not identical to the byte; the first pictures have been deleted, so I cannot compare further")
        if len(pictures) != len(originals):
            return say(language, "not identical")
        return await asyncio.to_thread(_difference_text, pictures, originals, language)


def _difference_text(pictures: Sequence[bytes], originals: Sequence[bytes], language: str) -> str:
    """Describe the largest difference of any pair of pictures.

    Decodes: call it in a thread.
    """
    differences = []
    for pair in zip(pictures, originals, strict=True):
        picture, original = (Image.open(io.BytesIO(data)).convert("RGB") for data in pair)
        if picture.size != original.size:
            return say(language, "not identical, of another size")
        differences.append(difference(picture, original))
    levels = max(levels for levels, _ in differences)
    decibels = min(decibels for _, decibels in differences)
    if levels == 0:
        return say(language, "identical in every pixel")
    return say(
        language,
        "not identical, apart by at most {levels} of 255 levels (PSNR {decibels} dB)",
        levels=levels,
        decibels=f"{decibels:.1f}",
    )


def _is_same_request(creation: Creation, parent: Creation) -> bool:
    return creation.source == parent.source and _non_default_settings(creation) == _non_default_settings(parent)


def _non_default_settings(creation: Creation) -> dict[str, Any]:
    """Return the settings that differ from today's defaults.

    A row of an older version may lack newer settings.
    """
    request = json.loads(json.dumps(creation.request or {}))
    return {field: value for field, value in request.items() if value != JSON_DEFAULTS.get(field)}


async def setup(bot: "Darkroom") -> None:
    """Add the note to the results."""
    service = bot.service
    service.result_actions.other_actions[REPLAY] = (N_("Replay"), "🔂")
    service.result_notes.append(ReplayNote(service.creation_store, service.image_store))
