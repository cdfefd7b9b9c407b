"""Draw the entries of a jam: each becomes a creation of its member, whose id it has, so that nothing is drawn twice."""

import logging
from typing import TYPE_CHECKING, Final

import discord

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.storage.creations import UNFINISHED_STATES, Creation, State, request_from_json
from cogs.core.storage.jam_rows import JamEntryRow, JamRow
from cogs.jam.posts import Posts
from diffusion.errors import DarkroomError
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

log = logging.getLogger(__name__)
WAITING: Final = N_("Picture {number} of the jam waits for its turn…")
BUSY_STATES: Final = [state for state in UNFINISHED_STATES if state != State.IN_REVIEW]  # a jam does not wait for moderators


async def begin_entry(client: "Darkroom", posts: Posts, jam: JamRow, entry: JamEntryRow) -> None:
    """Post the message of an entry and let its picture be drawn; drop the entry of a member who has left.

    Raises `UnwritableError` and `CreationStoreError`.
    """
    service = client.service
    text = say(jam.language, WAITING, number=entry.number)
    try:
        request = request_from_json(entry.request, None)
        is_wanted = await _is_member(client, jam, entry.member)
        message_id = await posts.begin_entry(entry, text) if is_wanted else 0
    except (TypeError, DarkroomError, *DISCORD_ERRORS) as error:
        log.warning("entry %d of jam %d cannot be drawn: %s", entry.number, jam.id, type(error).__name__)
        is_wanted = False
    if not is_wanted:
        await service.stores.jam_store.drop(jam.id, entry.member)
        return
    creation = Creation(
        id=entry.creation_id,
        owner=entry.member,
        guild_id=jam.guild_id,
        channel_id=jam.channel_id,
        message_id=message_id,
        application_id=client.application_id,
        token="",
        expires=discord.utils.utcnow(),  # only the channel reaches the message
        private=False,
        token_only=False,
        language=jam.language,
        spoiler=entry.spoiler,
        age_restricted=jam.age_restricted,
        counted=entry.counted,
        request=entry.request,
    )
    await service.creation_store.add(creation)
    service.background.start(service.runner.draw(creation, request, text))


async def stop_drawing(service: GenerationService, jam: JamRow) -> None:
    """Cancel the entries of a jam that are not drawn yet."""
    for creation in (await service.stores.jam_store.creations(jam.id)).values():
        job = service.jobs.get(creation.id)
        if creation.state in BUSY_STATES and not (job and job.cancel()):
            await service.cancel_elsewhere(creation.id)


async def _is_member(client: "Darkroom", jam: JamRow, member: int) -> bool:
    guild = client.get_guild(jam.guild_id)
    if guild is None:
        return True
    try:
        await guild.fetch_member(member)
    except DISCORD_ERRORS as error:
        return classify(error) is not ErrorKind.MESSAGE_GONE  # as a status of 404 is called
    return True
