"""The source of new pictures: an earlier creation, its request and pictures."""

import asyncio
import contextlib
import re
from typing import Final

import discord
from PIL import Image

from cogs.core.generation.service import GenerationService
from cogs.core.messages import render
from cogs.core.messages.attachments import PostedFile, download, fetch_image, fetch_masked, posted_files
from cogs.core.messages.components import creation_of_custom_id, custom_ids
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.shown_pictures import shown_pictures
from cogs.core.messages.views import ResultTarget
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.policy.permissions import may_see
from cogs.core.storage.creations import Creation, State, request_from_json
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.images import ImageMissingError
from cogs.core.storage.short_ids import read_short_id
from diffusion.errors import DarkroomError, InvalidImageError
from diffusion.images.io import read_image
from diffusion.request import ImageRequest
from diffusion.text import N_

REQUEST_LOOKUP_SECONDS: Final = 2.0  # Discord waits 3 s for the first answer
CREATION_ID: Final = re.compile(r"[0-9]{1,18}|[1-8][0-9]{18}")  # a number that fits in the database
UNKNOWN_ID: Final = N_("You cannot see a picture with this id here. `/history` lists yours.")
UNKNOWN_RESULT: Final = N_("These pictures are gone. Please use the command again.")


class ResultSource:
    """A finished creation and the message that shows it.

    Files come from the image store. If it has deleted them, they come from the message.
    """

    def __init__(self, service: GenerationService, message: discord.Message, creation: Creation) -> None:
        self.service = service
        self.message = message
        self.creation = creation

    @classmethod
    async def of(cls, service: GenerationService, message: discord.Message | None, creation_id: int) -> "ResultSource":
        """Return the source that ``message`` shows; raises `DarkroomError` if it is gone."""
        creation = await service.creation_store.get(creation_id)
        if message is None or creation is None or creation.request is None:
            raise DarkroomError(UNKNOWN_RESULT)
        return cls(service, message, creation)

    def origin(self, target: ResultTarget, *, uses_picture: bool) -> Origin:
        """Return the origin of what the action of ``target`` makes; its result will name the action."""
        action = self.service.result_actions[target.action]
        is_one_of_several = action.of_picture and len(self.creation.pictures or ()) > 1
        name = f"{action.name}:{target.index + 1}" if is_one_of_several else action.name
        return Origin(self.creation, uses_picture, action=name)

    async def request(self) -> ImageRequest:
        """Return the request.

        Raises `InvalidImageError` if the picture that it started from is gone.
        """
        with contextlib.suppress(ImageMissingError):
            return await self.service.runner.request_of(self.creation)
        source = next((file for file in posted_files(self.message) if file.name.startswith(render.SOURCE_PREFIX)), None)
        if source is None:
            raise InvalidImageError("The picture that these started from is gone. Please attach it to `/similar` again.")
        image, mask = await fetch_masked(source)
        return request_from_json(self.creation.request or {}, image, mask)

    async def request_soon(self) -> ImageRequest:
        """Return the request in time for a first answer.

        Raises `DarkroomError` if that takes too long.
        """
        try:
            async with asyncio.timeout(REQUEST_LOOKUP_SECONDS):
                return await self.request()
        except TimeoutError:
            raise DarkroomError("I could not look up these pictures in time. Please try again.") from None

    async def picture(self, index: int) -> Image.Image:
        """Return the picture of that ``index``; raises `InvalidImageError` if it is gone."""
        names = self.creation.pictures or []
        with contextlib.suppress(ImageMissingError):
            if index < len(names):
                return await asyncio.to_thread(read_image, await self.service.image_store.read(names[index]))
        pictures = await self._posted_pictures()
        return await fetch_image(pictures[min(index, len(pictures) - 1)])

    async def file(self, index: int) -> bytes:
        """Return the file of the picture of that ``index``; raises `InvalidImageError` if it is gone."""
        names = self.creation.pictures or []
        with contextlib.suppress(ImageMissingError):
            if index < len(names):
                return await self.service.image_store.read(names[index])
        pictures = await self._posted_pictures()
        return await download(pictures[min(index, len(pictures) - 1)])

    async def _posted_pictures(self) -> list[PostedFile]:
        """Return the pictures of the message, or else, if it is only about them, of the one that shows the creation."""
        pictures = _pictures_of(self.message)
        if not pictures and self.creation.message_id and not self.creation.token_only:
            channel = self.service.runner.delivery.client.get_partial_messageable(self.creation.channel_id)
            with contextlib.suppress(*DISCORD_ERRORS):
                pictures = _pictures_of(await channel.fetch_message(self.creation.message_id))
        if not pictures:
            raise InvalidImageError(UNKNOWN_RESULT)
        return pictures


def _pictures_of(message: discord.Message) -> list[PostedFile]:
    return [file for file in posted_files(message) if file.name.startswith(render.PICTURE_PREFIX)]


async def visible_creation(context: Context, creation_id: str) -> Creation:
    """Return the finished creation whose id a member typed: its short one, or its number.

    Raises `DarkroomError` if they may not see it here.
    """
    store = context.interaction.client.service.creation_store
    creation = None
    if short_id := read_short_id(creation_id):
        creation = await store.get_by_short_id(short_id)
    elif CREATION_ID.fullmatch(creation_id.strip()):
        creation = await store.get(int(creation_id))
    if creation is None or creation.state != State.DELIVERED or not may_see(context, creation):
        raise DarkroomError(UNKNOWN_ID)
    return creation


async def creation_of_message(context: Context, message: discord.Message) -> Creation | None:
    """Return the creation that ``message`` shows.

    Returns None if there is none, or none that the member may see.
    """
    with contextlib.suppress(DatabaseUnavailableError):
        creation = await shown_creation(context, message)
        return creation if creation and may_see(context, creation) else None
    return None


async def shown_creation(context: Context, message: discord.Message) -> Creation | None:
    """Return the creation that ``message`` shows or forwards, also again or as an animation, whoever may see it.

    Raises `DatabaseUnavailableError`.
    """
    client = context.interaction.client
    store = client.service.creation_store
    forwarded = forwarded_from(message)
    creation = await store.get_by_message((forwarded and forwarded.message_id) or message.id)
    if creation is None and message.author == client.user:  # others can forge custom_ids
        creation_id = next(filter(None, map(creation_of_custom_id, custom_ids(message))), None)
        creation = await store.get(creation_id) if creation_id else None
    return creation


def forwarded_from(message: discord.Message) -> discord.MessageReference | None:
    """Return the reference of a forwarded message to its original, None for other messages.

    A message from a followed channel is forwarded, too: its author is the webhook that posts it.
    """
    reference = message.reference
    if reference is None or not (message.flags.is_crossposted or reference.type is discord.MessageReferenceType.forward):
        return None
    return reference


def pictures_to_choose(message: discord.Message) -> list[PostedFile]:
    """Return the pictures that ``message`` shows, without the source of a result and the steps of an animation.

    Raises `InvalidImageError` if there is none.
    """
    everything = shown_pictures(message)
    if not everything:
        raise InvalidImageError("There is no picture in this message.")
    pictures = [picture for picture in everything if _plain_name(picture) != render.STEPS_FILE] or everything
    results = [picture for picture in pictures if _plain_name(picture).startswith(render.PICTURE_PREFIX)]
    sources = [picture for picture in pictures if _plain_name(picture).startswith(render.SOURCE_PREFIX)]
    return [picture for picture in pictures if picture not in sources] if results else pictures


def _plain_name(picture: PostedFile) -> str:
    return picture.name.removeprefix(render.SPOILER_PREFIX)
