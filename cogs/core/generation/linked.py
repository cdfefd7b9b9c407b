"""Pictures that a member attaches, names by a link or an id, or by a reply to a message with one."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

import discord
from discord.app_commands import Range

from cogs.core.generation.authorship import origin_of, origin_of_avatar
from cogs.core.generation.source import UNKNOWN_RESULT, pictures_to_choose, visible_creation
from cogs.core.messages.attachments import PostedFile, read_from_cdn
from cogs.core.messages.choose import choose_picture
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.messages.render import PICTURE_PREFIX
from cogs.core.messages.shown_pictures import SPOILER_PREFIX, shown_pictures
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.policy.permissions import permissions_in
from cogs.core.request.links import MAX_LINK, MessageLink, is_picture_link, parse_message_link
from cogs.core.storage.short_ids import read_short_id
from diffusion.errors import DarkroomError, InvalidImageError, InvalidRequestError, Problems
from diffusion.text import N_

Link = Range[str, 1, MAX_LINK]
LINK_DESCRIPTION: Final = "A link to a picture or message on Discord, or the id of a picture, instead of a picture"
NO_PICTURE: Final = N_("There is no picture to start from. Attach one, or give a link to a picture or message on Discord.")
PICTURE_AND_LINK: Final = N_("Please attach a picture or give a link, not both.")
SEVERAL_LINKS: Final = N_("I start from one picture. Please give one link; `/blend` mixes several pictures.")
ONLY_DISCORD: Final = N_(
    "I open only links to pictures and messages on Discord, such as https://cdn.discordapp.com/…"
    " Please attach the picture instead."
)
NOT_SEEN: Final = N_("I cannot open this message, or you cannot see it here. Please attach its picture instead.")
NO_ANSWER: Final = N_("Discord did not show me this message. Please try again.")


@dataclass(frozen=True)
class LinkedPicture:
    """A picture to start from and whose it is; continue with ``context``, as after a question."""

    context: Context
    file: PostedFile
    origin: Origin | None


def check_one_picture(image: discord.Attachment | None, *links: str | None) -> None:
    """Raise `InvalidRequestError` unless a member attached a picture or gave one link; None among ``links`` is none."""
    given = list(filter(None, links))
    if image is None and not given:
        raise InvalidRequestError("image", NO_PICTURE)
    if image is not None and given:
        raise InvalidRequestError("image", PICTURE_AND_LINK)
    if len(given) > 1:
        raise InvalidRequestError("image", SEVERAL_LINKS)


async def given_picture(context: Context, image: discord.Attachment | None, link: str | None) -> LinkedPicture | None:
    """Return the picture that is attached, or else that to which ``link`` leads.

    Returns None, and raises `DarkroomError`, like `linked_picture`.
    """
    if image is not None:
        return LinkedPicture(context, PostedFile.of(image), None)
    return await linked_picture(context, link or "")


async def checked_picture(
    context: Context, image: discord.Attachment | None, link: str | None, check: Callable[[], object]
) -> LinkedPicture | None:
    """Return the one picture that a member gives, unless ``check`` raises for their other options: all mistakes at once.

    Returns None, and raises `DarkroomError`, like `given_picture`.
    """
    problems = Problems()
    with problems.collect():
        check_one_picture(image, link)
    with problems.collect():
        check()
    problems.report()
    return await given_picture(context, image, link)


async def given_pictures(
    context: Context, pictures: Iterable[tuple[discord.Attachment | None, str | None]]
) -> list[LinkedPicture] | None:
    """Return several pictures, each attached or named by a link, as `given_picture` does; continue with the last context."""
    given: list[LinkedPicture] = []
    for image, link in pictures:
        one = await given_picture(context, image, link)
        if one is None:
            return None
        given.append(one)
        context = one.context
    return given


async def check_origins(given: Sequence[LinkedPicture], private: bool | None) -> Origin | None:
    """Return whose picture the first one is, if that is known.

    Raises `NotAllowedError` unless the member may start from all of them.
    """
    context = given[-1].context
    is_private = bool(context.preferences.private) if private is None else private
    origins = [each.origin for each in given if each.origin]
    for origin in origins:
        await context.interaction.client.service.origin_rules.check(context, origin, is_private)
    return next((origin for origin in origins if origin.creation), None)


async def linked_picture(context: Context, link: str) -> LinkedPicture | None:
    """Return the picture to which ``link`` leads, or whose short id it is; ask which one of several. None without an answer.

    Raises `DarkroomError` for a link to anywhere else, and for a message that the bot or the member cannot see.
    """
    link = link.strip().removeprefix("<").removesuffix(">")
    if is_picture_link(link):
        file = _file_at(context, link)
        return LinkedPicture(context, file, origin_of_avatar(file))
    if read_short_id(link):
        return await _kept_picture(context, link)
    place = parse_message_link(link)
    if place is None:
        raise InvalidImageError(ONLY_DISCORD)
    message = await _message_at(context, place)
    pictures = pictures_to_choose(message)
    origin = await origin_of(context, message)
    chosen = await choose_picture(context, pictures)
    if chosen is None:
        return None
    answered, file = chosen
    return LinkedPicture(answered, file, origin_of_avatar(file) or origin)


async def with_pictures(context: Context, message: discord.Message) -> discord.Message:
    """Return ``message`` if it shows pictures, or else the one to which it replies, if there is one."""
    reference = message.reference
    if reference is None or shown_pictures(message) or reference.type is not discord.MessageReferenceType.reply:
        return message
    place = MessageLink(reference.guild_id, reference.channel_id, reference.message_id or 0)
    with contextlib.suppress(DarkroomError):
        return await _message_at(context, place)
    return message


async def _kept_picture(context: Context, short_id: str) -> LinkedPicture | None:
    creation = await visible_creation(context, short_id)
    image_store = context.interaction.client.service.image_store

    async def read(name: str, _: int) -> bytes:
        return await image_store.read(name)

    files = [
        PostedFile(f"{PICTURE_PREFIX}{number}.png", creation.prompt, 0, partial(read, name), spoiler=creation.spoiler)
        for number, name in enumerate(creation.pictures or (), 1)
    ]
    if not files:
        raise InvalidImageError(UNKNOWN_RESULT)
    chosen = await choose_picture(context, files)
    return chosen and LinkedPicture(*chosen, Origin(creation, uses_picture=True))


def _file_at(context: Context, link: str) -> PostedFile:
    name = PurePosixPath(unquote(urlsplit(link).path)).name
    read = partial(read_from_cdn, context.interaction.client.http, link)
    return PostedFile(name, "", 0, read, spoiler=name.startswith(SPOILER_PREFIX), address=link)


async def _message_at(context: Context, place: MessageLink) -> discord.Message:
    """Return the message there; raises `DarkroomError` unless the bot and the member see it from here."""
    interaction = context.interaction
    is_here = place.channel_id == interaction.channel_id
    is_visible = place.guild_id == context.guild_id and permissions_in(context, place.channel_id).read_message_history
    if not is_here and not is_visible:
        raise DarkroomError(NOT_SEEN)
    channel = interaction.client.get_partial_messageable(place.channel_id, guild_id=place.guild_id)
    try:
        return await channel.fetch_message(place.message_id)
    except DISCORD_ERRORS as error:
        raise DarkroomError(NO_ANSWER if classify(error) is ErrorKind.TEMPORARY else NOT_SEEN) from error
