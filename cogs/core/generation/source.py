"""How the pictures of a message came about: from the journal and the gallery, or else from the message itself."""

import asyncio
import contextlib
from typing import Self

import discord
from PIL import Image

from cogs.core.generation.runner import Development
from cogs.core.messages import render
from cogs.core.messages.attachments import Posted, download, fetch_image, fetch_masked, posted
from cogs.core.storage.creations import Creation
from cogs.core.storage.database import DatabaseFailed
from cogs.core.storage.images import PictureGone
from diffusion.errors import InvalidImage
from diffusion.images.io import read_image, read_parameters
from diffusion.request import ImageRequest


class Recollection:
    """What is known about ``message``, which shows ``creation``, unless that is not known any more."""

    def __init__(self, development: Development, message: discord.Message, creation: Creation | None) -> None:
        self.development, self.message, self.creation = development, message, creation

    @classmethod
    async def of(cls, development: Development, message: discord.Message, creation_id: int = 0) -> Self:
        """Look up what ``message`` shows, by ``creation_id`` where its buttons tell that."""
        creation = None
        with contextlib.suppress(DatabaseFailed):
            if creation_id:
                creation = await development.journal.get(creation_id)
            creation = creation or await development.journal.of_message(message.id)
        return cls(development, message, creation)

    @property
    def id(self) -> int | None:
        """The id of the creation."""
        return self.creation.id if self.creation else None

    @property
    def private(self) -> bool:
        """Whether its member alone sees it."""
        return self.creation.private if self.creation else self.message.flags.ephemeral

    @property
    def starts_from_a_picture(self) -> bool:
        """Whether what was asked for starts from a picture."""
        if self.creation:
            return self.creation.source is not None
        return any(file.name.startswith(render.SOURCE_PREFIX) for file in posted(self.message))

    async def request(self) -> ImageRequest:
        """Give what was asked for; raises `InvalidImage` where nothing tells it any more."""
        if self.creation and self.creation.request:
            with contextlib.suppress(PictureGone, TypeError):
                return await self.development.recall(self.creation)
        pictures = self._pictures()
        settings = await asyncio.to_thread(read_parameters, await download(pictures[0]))
        source = next((file for file in posted(self.message) if file.name.startswith(render.SOURCE_PREFIX)), None)
        if source is None and settings.get("start_step"):
            raise InvalidImage("The picture that these were started from is gone. Please attach it to `/similar` again.")
        image, mask = await fetch_masked(source) if source else (None, None)
        return ImageRequest(**{"count": len(pictures), **settings}, image=image, mask=mask)

    async def picture(self, index: int) -> Image.Image:
        """Give the picture of that ``index``; raises `InvalidImage` where it is gone."""
        names = (self.creation.pictures or []) if self.creation else []
        with contextlib.suppress(PictureGone):
            if index < len(names):
                return await asyncio.to_thread(read_image, await self.development.gallery.read(names[index]))
        pictures = self._pictures()
        return await fetch_image(pictures[min(index, len(pictures) - 1)])

    def _pictures(self) -> list[Posted]:
        found = [file for file in posted(self.message) if file.name.startswith(render.PICTURE_PREFIX)]
        if not found:
            raise InvalidImage("The pictures of this message are gone.")
        return found
