"""Screen finished pictures and ask moderators about flagged ones."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import discord
from discord import ui

from cogs.core.i18n.catalogues import ENGLISH, LANGUAGE_BY_LOCALE, say
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify, is_temporary
from cogs.core.messages.message import NO_MENTIONS, Result
from cogs.core.messages.review_button import ReviewButton, asks_about
from cogs.core.messages.uploads import shrink
from cogs.core.policy.flagged import action_for, flags_text
from cogs.core.request.preferences import FlaggedAction, Scope, layered
from cogs.core.storage.creations import Creation, CreationStore, State
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.reviews import Decision, ReviewRow, ReviewStore
from cogs.core.tasks import retry
from diffusion.errors import DarkroomError
from diffusion.result import ImageResult
from diffusion.serving.interface import ImageEngine
from diffusion.text import N_

log = logging.getLogger(__name__)
T = TypeVar("T")
AWAITING_REVIEW: Final = N_("A moderator will look at these pictures before they are shown.")
NOT_SHOWN: Final = N_("My safety check flagged these pictures, so they are not shown here. Please try another prompt.")
REJECTED: Final = N_("A moderator looked at these pictures and decided not to show them.")
HISTORY_SCAN_LIMIT: Final = 500  # messages of the moderators' channel
DECIDED: Final = {
    Decision.APPROVE: N_("Approved by {moderator}"),
    Decision.SPOILER: N_("Shown as spoilers, decided by {moderator}"),
    Decision.DELETE: N_("Deleted by {moderator}"),
}


class NotShownError(DarkroomError):
    """Flagged pictures are not shown; the text explains it to their member."""


class SafetyGate:
    """Applies the rules of a server to finished pictures."""

    def __init__(
        self,
        engine: ImageEngine,
        preference_store: PreferenceStore,
        creation_store: CreationStore,
        reviews: ReviewStore,
        client: discord.Client,
    ) -> None:
        self.engine = engine
        self.preference_store = preference_store
        self.creation_store = creation_store
        self.review_store = reviews
        self.client = client

    async def screen(self, creation: Creation, result: ImageResult) -> dict[str, Any]:
        """Return the columns to record about the pictures: state, flags and spoiler.

        Screens the picture that they started from with them, because the message shows both. Raises `NotShownError`.
        """
        source = result.request.image
        images = [*result.images, source] if source else list(result.images)
        flags_by_image = await self.engine.screen_images(images, result.safety_check)
        flags: dict[str, float] = {}
        for scores in flags_by_image:
            for label, score in scores.items():
                flags[label] = max(score, flags.get(label, 0))
        action = self.action(creation) if flags else FlaggedAction.ALLOW
        if action is FlaggedAction.REFUSE:
            await self.creation_store.update(creation, flags=flags)
            raise NotShownError(NOT_SHOWN)
        return {
            "state": State.IN_REVIEW if action is FlaggedAction.REVIEW else State.RENDERED,
            "flags": flags or None,
            "spoiler": creation.spoiler or action is FlaggedAction.SPOILER,
        }

    def action(self, creation: Creation) -> FlaggedAction:
        """Return the action for ``creation`` if it is flagged."""
        server = None if creation.guild_id is None else self.preference_store.get(Scope.SERVER, creation.guild_id)
        return action_for(server, creation.age_restricted)

    async def review(self, creation: Creation) -> ReviewRow:
        """Return the moderators' review; create it if there is none.

        Raises `NotShownError` if the server has no channel for reviews.
        """
        if review := await self._until_reached(lambda: self.review_store.get(creation.id)):
            return review
        server = self.preference_store.get(Scope.SERVER, creation.guild_id or 0)
        channel_id = server.moderators
        if channel_id is None:
            raise NotShownError(NOT_SHOWN)
        return await self._until_reached(lambda: self.review_store.create(creation.id, channel_id))

    def language(self, review: ReviewRow, creation: Creation) -> str:
        """Return the language of the moderators' channel."""
        guild = self.client.get_guild(creation.guild_id or 0)
        scopes = {Scope.CHANNEL: review.channel_id, Scope.SERVER: creation.guild_id or 0}
        preferred = layered(self.preference_store.get(scope, subject) for scope, subject in scopes.items()).language
        # If another process serves the server's shard, its locale is unknown here. The creation's language comes closest.
        return preferred or (LANGUAGE_BY_LOCALE.get(guild.preferred_locale, ENGLISH) if guild else creation.language)

    async def ask(self, review: ReviewRow, creation: Creation, result: Result) -> None:
        """Post ``result`` in the moderators' channel unless it is there already.

        Raises `NotShownError` if Discord rejects it.
        """
        try:
            message_id = await self._until_reached(lambda: self._find(review)) or await self._send(review, creation, result)
        except (discord.HTTPException, DarkroomError) as error:
            log.error("Discord rejected %r in the moderators' channel %d: %s", creation, review.channel_id, error)
            await self._until_reached(lambda: self.review_store.decide(creation.id, Decision.DELETE, None))
            raise NotShownError(NOT_SHOWN) from error
        if message_id != review.message_id:
            await self._until_reached(lambda: self.review_store.set_message(review, message_id))

    async def close(self, review: ReviewRow, creation: Creation) -> None:
        """Replace the pictures in the moderators' channel by the decision."""
        language = self.language(review, creation)
        decision = Decision(review.decision or "")
        decided = say(language, "Deleted")
        if review.moderator:
            decided = say(language, DECIDED[decision], moderator=f"<@{review.moderator}>")
        view = ui.LayoutView(timeout=None)
        view.add_item(ui.TextDisplay(f"{decided}: {_origin(creation, language)}"))
        channel = self.client.get_partial_messageable(review.channel_id)
        try:
            # A moderator may decide before the message is recorded.
            if message_id := review.message_id or await self._find(review):
                await channel.get_partial_message(message_id).edit(view=view, attachments=[], allowed_mentions=NO_MENTIONS)
        except DISCORD_ERRORS as error:
            log.warning("the moderators' message about %r could not be edited: %s", creation, error)

    async def _send(self, review: ReviewRow, creation: Creation, result: Result) -> int:
        language = self.language(review, creation)
        flagged = say(language, "flagged: {labels}", labels=flags_text(creation.flags or {}))
        text = f"{result.text}\n{_origin(creation, language)}, {flagged}"
        answer: Any = replace(result, text=text, spoiler=True, rows=lambda: [_buttons(creation.id, language)])
        channel = self.client.get_partial_messageable(review.channel_id)

        async def send() -> discord.Message:
            # With the nonce of the result, Discord would later drop the result as a duplicate of this message.
            return await channel.send(**answer.send(), nonce=f"r{creation.id}", allowed_mentions=NO_MENTIONS)

        guild = self.client.get_guild(creation.guild_id or 0)
        limit = guild.filesize_limit if guild else 0
        if not answer.fits(limit):
            answer = await shrink(answer, limit)
        while True:
            try:
                return (await self._until_reached(send)).id
            except discord.HTTPException as error:
                if classify(error) is not ErrorKind.TOO_LARGE:
                    raise
                answer = await shrink(answer, limit)

    async def _find(self, review: ReviewRow) -> int | None:
        """Return the id of the message in the moderators' channel, if any.

        After a crash the message may exist although its id was not recorded.
        """
        channel = self.client.get_partial_messageable(review.channel_id)
        try:
            if review.message_id is not None:
                return (await channel.fetch_message(review.message_id)).id
            async for message in channel.history(after=discord.Object(review.creation_id), limit=HISTORY_SCAN_LIMIT):
                if asks_about(message, review.creation_id):
                    return message.id
        except discord.HTTPException as error:
            if is_temporary(error):
                raise
        return None

    async def _until_reached(self, call: Callable[[], Awaitable[T]]) -> T:
        """Retry ``call`` while Discord or the database is unreachable."""
        return await retry(call, lambda error: isinstance(error, DatabaseUnavailableError) or is_temporary(error))


def _buttons(creation_id: int, language: str) -> ui.ActionRow[Any]:
    return ui.ActionRow(*(ReviewButton(decision, creation_id, language) for decision in Decision))


def _origin(creation: Creation, language: str) -> str:
    member = f"<@{creation.owner}>"
    channel = f"<#{creation.channel_id}>"
    return say(language, "requested by {member} in {channel}", member=member, channel=channel)
