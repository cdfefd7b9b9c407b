"""The service that has finished pictures checked, decides what becomes of them and asks the moderators where they are held."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import discord
from discord import ui

from cogs.core.i18n.catalogues import language_of_locale, say
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify, is_temporary
from cogs.core.messages.message import Result
from cogs.core.messages.review_button import ReviewButton, asks_about
from cogs.core.policy.flagged import action_for, flags_text
from cogs.core.request.preferences import FlaggedAction, Scope, layered
from cogs.core.retry import retry
from cogs.core.storage.creations import Creation, CreationStore, State
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.preferences import PreferenceStore
from cogs.core.storage.reviews import Decision, ReviewRow, ReviewStore
from diffusion.errors import DarkroomError
from diffusion.result import ImageResult
from diffusion.serving.interface import ImageEngine
from diffusion.text import N_

log = logging.getLogger(__name__)
HELD: Final = N_("A moderator will look at these pictures before they are shown.")
NOT_SHOWN: Final = N_("My check found something in these pictures that is not shown here. Another prompt may help.")
REVIEWED: Final = N_("A moderator looked at these pictures and decided not to show them.")
SEARCHED: Final = 500  # messages of the moderators' channel after a restart
DONE: Final = {
    Decision.APPROVE: N_("Approved by {moderator}"),
    Decision.SPOILER: N_("Shown as spoilers, decided by {moderator}"),
    Decision.DELETE: N_("Deleted by {moderator}"),
}


class NotShownError(DarkroomError):
    """Flagged pictures are not shown; the text says so to their member."""


class SafetyGate:
    """Judges finished creations by the rules of their server."""

    def __init__(
        self,
        engine: ImageEngine,
        preference_store: PreferenceStore,
        creation_store: CreationStore,
        reviews: ReviewStore,
        client: discord.Client,
    ) -> None:
        self.engine, self.preference_store, self.creation_store, self.reviews, self.client = (
            engine,
            preference_store,
            creation_store,
            reviews,
            client,
        )

    async def screen(self, creation: Creation, result: ImageResult) -> dict[str, Any]:
        """Have the pictures of ``creation`` checked, and give what to note about it; raises `NotShownError`.

        The picture that they started from is shown with them and checked with them.
        """
        source = result.request.image
        checked = await self.engine.screen_images([*result.images, *([source] if source else ())], result.safety_check)
        flags = {label: max(found.get(label, 0) for found in checked) for found in checked for label in found}
        action = self.action(creation) if flags else FlaggedAction.ALLOW
        if action is FlaggedAction.REFUSE:
            await self.creation_store.update(creation, flags=flags)
            raise NotShownError(NOT_SHOWN)
        return {
            "state": State.HELD if action is FlaggedAction.REVIEW else State.RENDERED,
            "flags": flags or None,
            "spoiler": creation.spoiler or action is FlaggedAction.SPOILER,
        }

    def action(self, creation: Creation) -> FlaggedAction:
        """Decide what becomes of ``creation`` if it is flagged."""
        server = None if creation.guild_id is None else self.preference_store.of(Scope.SERVER, creation.guild_id)
        return action_for(server, creation.age_restricted)

    def shows_previews(self, creation: Creation) -> bool:
        """Whether the channel may see how pictures form, which could be flagged in the end."""
        return not self.engine.can_screen or self.action(creation) is FlaggedAction.ALLOW

    async def review(self, creation: Creation) -> ReviewRow:
        """Give how far the moderators are with ``creation``; raises `NotShownError` where there is no channel to ask them in."""
        if review := await self._until_reached(lambda: self.reviews.of(creation.id)):
            return review
        server = self.preference_store.of(Scope.SERVER, creation.guild_id or 0)
        if server.moderators is None:
            raise NotShownError(NOT_SHOWN)
        channel_id = server.moderators
        return await self._until_reached(lambda: self.reviews.begin(creation.id, channel_id))

    def language(self, review: ReviewRow, creation: Creation) -> str:
        """Give the language of the moderators' channel."""
        guild = self.client.get_guild(creation.guild_id or 0)
        scopes = {Scope.CHANNEL: review.channel_id, Scope.SERVER: creation.guild_id or 0}
        preferred = layered(self.preference_store.of(scope, subject) for scope, subject in scopes.items()).language
        # Another process's shard knows the server where this one does not; its own language is that of the creation, too.
        return preferred or (language_of_locale(guild.preferred_locale) if guild else creation.language)

    async def ask(self, review: ReviewRow, creation: Creation, result: Result) -> None:
        """Show ``result`` to the moderators, unless it stands in their channel already; raises `NotShownError`."""
        try:
            message_id = await self._until_reached(lambda: self._find(review)) or await self._send(review, creation, result)
        except discord.HTTPException as error:
            log.error("the moderators' channel %d did not take %r: %s", review.channel_id, creation, error)
            await self._until_reached(lambda: self.reviews.decide(creation.id, Decision.DELETE, None))
            raise NotShownError(NOT_SHOWN) from error
        if message_id != review.message_id:
            await self._until_reached(lambda: self.reviews.note(review, message_id))

    async def close(self, review: ReviewRow, creation: Creation) -> None:
        """Let the message that asked the moderators say what was decided, without the pictures."""
        language, decision = self.language(review, creation), Decision(review.decision or "")
        view = ui.LayoutView(timeout=None)
        moderator = f"<@{review.moderator}>"
        done = say(language, DONE[decision], moderator=moderator) if review.moderator else say(language, "Deleted")
        view.add_item(ui.TextDisplay(f"{done}: {_whose(creation, language)}"))
        channel = self.client.get_partial_messageable(review.channel_id)
        try:
            if message_id := review.message_id or await self._find(review):  # not noted yet by a moderator who was quick
                await channel.get_partial_message(message_id).edit(view=view, attachments=[], allowed_mentions=NO_MENTIONS)
        except DISCORD_ERRORS as error:
            log.warning("the moderators could not be shown what became of %r: %s", creation, error)

    async def _send(self, review: ReviewRow, creation: Creation, result: Result) -> int:
        language = self.language(review, creation)
        flagged = say(language, "flagged: {labels}", labels=flags_text(creation.flags or {}))
        text = f"{result.text}\n{_whose(creation, language)}, {flagged}"
        answer: Any = replace(result, text=text, spoiler=True, rows=lambda: [_buttons(creation.id, language)])
        channel = self.client.get_partial_messageable(review.channel_id)
        while True:
            try:
                # Not the nonce of the result, which Discord would then take for a repetition of this.
                quiet: dict[str, Any] = {"nonce": f"r{creation.id}", "allowed_mentions": NO_MENTIONS}
                return (await self._until_reached(lambda: channel.send(**answer.send(), **quiet))).id  # noqa: B023
            except discord.HTTPException as error:
                smaller = await asyncio.to_thread(answer.smaller) if classify(error) is ErrorKind.TOO_LARGE else None
                if smaller is None:
                    raise
                answer = smaller

    async def _find(self, review: ReviewRow) -> int | None:
        """Look whether the message that asks the moderators is there, also where a crash came before it was noted."""
        channel = self.client.get_partial_messageable(review.channel_id)
        try:
            if review.message_id is not None:
                return (await channel.fetch_message(review.message_id)).id
            async for message in channel.history(after=discord.Object(review.creation_id), limit=SEARCHED):
                if asks_about(message, review.creation_id):
                    return message.id
        except discord.HTTPException as error:
            if classify(error) is ErrorKind.TEMPORARY:
                raise
        return None

    async def _until_reached(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Retry ``call`` while Discord or the database is unreachable."""
        return await retry(call, lambda error: isinstance(error, DatabaseUnavailableError) or is_temporary(error))


def _buttons(creation_id: int, language: str) -> ui.ActionRow[Any]:
    return ui.ActionRow(*(ReviewButton(decision, creation_id, language) for decision in Decision))


def _whose(creation: Creation, language: str) -> str:
    member, channel = f"<@{creation.owner}>", f"<#{creation.channel_id}>"
    return say(language, "asked for by {member} in {channel}", member=member, channel=channel)
