"""Post the messages of a jam, each once, also after a crash between the post and its row."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import discord
from discord import ui

from cogs.core.messages.components import creation_of_custom_id, custom_ids
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify, is_temporary
from cogs.core.messages.message import NO_MENTIONS, Answer, PictureFile
from cogs.core.messages.views import cancel_view
from cogs.core.storage.jam_rows import JamEntryRow, JamRow
from cogs.core.tasks import retry
from cogs.jam.entry import JoinButton
from cogs.jam.vote import VoteButton

log = logging.getLogger(__name__)
HISTORY_LIMIT: Final = 500  # messages in which a post of an earlier run is looked for
WRITABLE: Final = (ErrorKind.BLOCKED, ErrorKind.INVALID, ErrorKind.TOO_LARGE)  # the channel is there, but not for this text


class UnwritableError(Exception):
    """The channel is gone, or the bot may not write there any more."""


class Posts:
    """Writes into the channel of one ``jam``."""

    jam: JamRow  # as it is now

    def __init__(self, client: discord.Client) -> None:
        self._client = client
        self.invitation: str | None = None  # the text of the first message, as last edited
        self._known: dict[str, int] = {}  # messages of this run, by nonce
        self._earlier: list[discord.Message] | None = None  # those of the bot, newest first

    @property
    def channel(self) -> discord.PartialMessageable:
        """The channel of the jam."""
        return self._client.get_partial_messageable(self.jam.channel_id, guild_id=self.jam.guild_id)

    async def begin_entry(self, entry: JamEntryRow, text: str) -> int:
        """Post the message that the picture of ``entry`` will be edited into; return its id."""
        view = cancel_view(entry.member, entry.creation_id, self.jam.language)
        is_it = partial(_is_about, entry.creation_id)
        return await self._post_once(f"j{entry.creation_id}", is_it, {"content": text, "view": view})

    async def post_vote(self, view: ui.LayoutView, files: Sequence[PictureFile], first: int) -> int:
        """Post the vote, whose ``first`` button votes for that number; return its id."""
        is_vote = partial(_has, VoteButton.custom_id_of(jam_id=self.jam.id, number=first))
        return await self._post_once(f"v{self.jam.id}", is_vote, {"view": view}, files=files)

    async def announce(self, view: ui.LayoutView, files: Sequence[PictureFile], winners: Sequence[int]) -> int:
        """Reply to the first message with the winners, who are pinged; return the id."""
        first = self.jam.message_id or 0
        reference = self.channel.get_partial_message(first).to_reference(fail_if_not_exists=False)
        options = {"view": view, "reference": reference}
        pinged = discord.AllowedMentions(
            everyone=False, roles=False, replied_user=False, users=list(map(discord.Object, winners))
        )
        return await self._post_once(f"w{self.jam.id}", partial(_replies_to, first), options, files=files, mentions=pinged)

    async def find_invitation(self) -> int | None:
        """Return the id of the message that members join by, if an earlier run has posted it."""
        custom_id = JoinButton.custom_id_of(jam_id=self.jam.id)
        return next((message.id for message in await self._of_bot() if _has(custom_id, message)), None)

    async def edit_invitation(self, text: str, view: ui.LayoutView) -> None:
        """Edit the first message, unless it says ``text`` already."""
        if text != self.invitation:
            await self.edit(self.jam.message_id, view)
            self.invitation = text

    async def edit(self, message_id: int | None, view: ui.LayoutView, files: Sequence[PictureFile] | None = None) -> None:
        """Edit a message, if it is still there; without ``files`` it keeps those that it has."""
        if message_id is None:
            return
        message = self.channel.get_partial_message(message_id)

        async def edit() -> None:
            attached = discord.utils.MISSING if files is None else _files(files)
            await message.edit(view=view, allowed_mentions=NO_MENTIONS, attachments=attached)

        try:
            await retry(edit, is_temporary)
        except DISCORD_ERRORS as error:
            log.warning("a message of jam %d stays as it is: %s", self.jam.id, classify(error).name)

    async def pin(self, message_id: int) -> None:
        """Pin a message, if the bot may."""
        with contextlib.suppress(*DISCORD_ERRORS):
            await self.channel.get_partial_message(message_id).pin()

    async def _post_once(
        self,
        nonce: str,
        is_it: Callable[[discord.Message], bool],
        options: dict[str, Any],
        *,
        files: Sequence[PictureFile] = (),
        mentions: discord.AllowedMentions = NO_MENTIONS,
    ) -> int:
        """Post a message unless it was posted already: now, or in an earlier run, whose message ``is_it``.

        Raises `UnwritableError`, and errors of Discord that other words may avoid.
        """
        if nonce in self._known:
            return self._known[nonce]
        found = next((message.id for message in await self._of_bot() if is_it(message)), None)
        if found is None:

            async def send() -> int:
                # Discord drops a second message with the same nonce, as when an answer was lost.
                posted = await self.channel.send(**options, files=_files(files), nonce=nonce, allowed_mentions=mentions)
                return int(posted.id)

            try:
                found = await retry(send, is_temporary)
            except DISCORD_ERRORS as error:
                if classify(error) in WRITABLE:
                    raise
                raise UnwritableError(classify(error).name) from error
        self._known[nonce] = found
        return found

    async def _of_bot(self) -> list[discord.Message]:
        """Return the bot's messages since the jam began that were there when this process first looked."""
        if self._earlier is None:
            after = discord.Object(self.jam.message_id or self.jam.id)
            found: list[discord.Message] = []
            try:
                async for message in self.channel.history(limit=HISTORY_LIMIT, after=after, oldest_first=False):
                    if message.author == self._client.user:
                        found.append(message)
            except DISCORD_ERRORS as error:
                if classify(error) is ErrorKind.CHANNEL_GONE:
                    raise UnwritableError("the channel is gone") from error
                if is_temporary(error):
                    raise
                log.warning("jam %d cannot look for its messages: %s", self.jam.id, classify(error).name)
            self._earlier = found
        return self._earlier


def _files(pictures: Sequence[PictureFile]) -> list[discord.File]:
    return Answer("", tuple(pictures)).files()


def _has(custom_id: str, message: discord.Message) -> bool:
    return custom_id in custom_ids(message)


def _is_about(creation_id: int, message: discord.Message) -> bool:
    return creation_id in map(creation_of_custom_id, custom_ids(message))


def _replies_to(message_id: int, message: discord.Message) -> bool:
    return message.reference is not None and message.reference.message_id == message_id
