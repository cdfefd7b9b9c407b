"""How the pictures of a message came about: from the journal and the gallery, or else from the message itself."""

import asyncio
import contextlib
from typing import Self

import discord
from PIL import Image

from cogs.core.generation.runner import JobRunner
from cogs.core.messages import render
from cogs.core.messages.attachments import PostedFile, download, fetch_image, fetch_masked, posted_files
from cogs.core.storage.creations import Creation
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.images import ImageMissingError
from diffusion.errors import InvalidImageError
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from diffusion.request import ImageRequest


class ResultSource:
    """What is known about ``message``, which shows ``creation``, unless that is not known any more."""

    def __init__(self, runner: JobRunner, message: discord.Message, creation: Creation | None) -> None:
        self.runner, self.message, self.creation = runner, message, creation

    @classmethod
    async def of(cls, runner: JobRunner, message: discord.Message, creation_id: int = 0) -> Self:
        """Look up what ``message`` shows, by ``creation_id`` where its buttons tell that."""
        creation = None
        with contextlib.suppress(DatabaseUnavailableError):
            if creation_id:
                creation = await runner.creation_store.get(creation_id)
            creation = creation or await runner.creation_store.get_by_message(message.id)
        return cls(runner, message, creation)

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
        return any(file.name.startswith(render.SOURCE_PREFIX) for file in posted_files(self.message))

    async def request(self) -> ImageRequest:
        """Give what was asked for; raises `InvalidImageError` where nothing tells it any more."""
        if self.creation and self.creation.request:
            with contextlib.suppress(ImageMissingError, TypeError):
                return await self.runner.restore_request(self.creation)
        pictures = self._pictures()
        settings = await asyncio.to_thread(read_parameters, await download(pictures[0]))
        source = next((file for file in posted_files(self.message) if file.name.startswith(render.SOURCE_PREFIX)), None)
        if source is None and settings.get("start_step"):
            raise InvalidImageError("The picture that these were started from is gone. Please attach it to `/similar` again.")
        image, mask = await fetch_masked(source) if source else (None, None)
        return ImageRequest(**{"count": len(pictures), **settings}, image=image, mask=mask)

    async def picture(self, index: int) -> Image.Image:
        """Give the picture of that ``index``; raises `InvalidImageError` where it is gone."""
        names = (self.creation.pictures or []) if self.creation else []
        with contextlib.suppress(ImageMissingError):
            if index < len(names):
                return await asyncio.to_thread(read_image, await self.runner.image_store.read(names[index]))
        pictures = self._pictures()
        return await fetch_image(pictures[min(index, len(pictures) - 1)])

    def _pictures(self) -> list[PostedFile]:
        found = [file for file in posted_files(self.message) if file.name.startswith(render.PICTURE_PREFIX)]
        if not found:
            raise InvalidImageError("The pictures of this message are gone.")
        return found
