"""Host the jams of this process: each from its invitation to its winner, also across restarts.

What comes next is always read from the database. Each step can be repeated: entries become creations whose ids are theirs, and
messages are looked for before they are posted.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.messages.drafts import Drafts
from cogs.core.messages.http_errors import DISCORD_ERRORS, classify
from cogs.core.messages.render import message_link
from cogs.core.messages.views import text_view
from cogs.core.sharding import serves
from cogs.core.storage.creations import Creation
from cogs.core.storage.jam_rows import JamRow, Stage
from cogs.core.storage.jams import voting_ends
from cogs.jam import layouts, texts
from cogs.jam.drawing import BUSY_STATES, begin_entry, stop_drawing
from cogs.jam.posts import Posts, UnwritableError
from diffusion.errors import DarkroomError
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

log = logging.getLogger(__name__)
POLL_SECONDS: Final = 15.0  # other processes may change a jam
RETRY_SECONDS: Final = 5.0
UNANSWERED: Final = timedelta(minutes=1)  # after which an invitation that is not there does not come any more
UNWRITABLE: Final = N_("The jam that you started in {channel} is over, because I cannot write there any more.")


class JamHost:
    """Runs the jams in servers of this process; `wake` it after a change."""

    def __init__(self, client: "Darkroom") -> None:
        self.client = client
        self.service = client.service
        self.store = client.service.stores.jam_store
        self.drafts: Drafts[str] = Drafts()  # prompts that were refused, by member and jam
        self.service.forgetters.append(self.drafts.forget)
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by jam, as all below
        self._posts: dict[int, Posts] = {}
        self._changed: dict[int, asyncio.Event] = {}
        self._drawn: dict[int, set[int]] = {}  # the creations that a jam waits for
        self._looks = asyncio.Event()

    async def run(self) -> None:
        """Begin with the jams of an earlier run; look for new ones from time to time."""
        await self.client.wait_until_ready()
        try:
            while True:
                self._looks.clear()
                try:
                    for jam in await self.store.all():
                        if jam.id not in self._tasks and serves(self.client, jam.guild_id):
                            self._tasks[jam.id] = self.service.background.spawn(self._host(jam.id))
                except DarkroomError:  # the database has logged it
                    pass
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._looks.wait(), POLL_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def wake(self, jam_id: int) -> None:
        """Let the host look at a jam that is new or has changed."""
        self._looks.set()
        if jam_id in self._changed:
            self._changed[jam_id].set()

    def _watch(self, jam_id: int, creation_ids: set[int]) -> None:
        """Wake a jam whenever one of the creations changes. Without any jam to wake, nothing is watched."""
        watchers = self.service.creation_store.watchers
        if self._drawn:
            watchers.remove(self._on_creation)
        self._drawn.pop(jam_id, None)
        if creation_ids:
            self._drawn[jam_id] = creation_ids
        if self._drawn:
            watchers.append(self._on_creation)

    def _on_creation(self, creation: Creation) -> None:
        for jam_id, creation_ids in self._drawn.items():
            if creation.id in creation_ids:
                self.wake(jam_id)

    async def _host(self, jam_id: int) -> None:
        """Take a jam from stage to stage until it is over."""
        self._changed[jam_id] = asyncio.Event()
        stage = ""
        try:
            while jam := await self._step(jam_id):
                if jam.stage == stage and jam.ends > discord.utils.utcnow():  # else the new stage has its first step to take
                    await self._wait(jam_id, min(POLL_SECONDS, (jam.ends - discord.utils.utcnow()).total_seconds()))
                stage = jam.stage
        finally:
            for kept in (self._tasks, self._posts, self._changed):
                kept.pop(jam_id, None)
            self._watch(jam_id, set())

    async def _step(self, jam_id: int) -> JamRow | None:
        """Do what is to be done for a jam now; return it, None once it is over. A failure is tried again."""
        self._changed[jam_id].clear()
        jam = None
        try:
            jam = await self.store.get(jam_id)
            if self.service.closed_reason:  # nothing new begins while the bot ends
                await self._wait(jam_id, RETRY_SECONDS)
                return jam
            if jam is None or not await self._advance(jam):
                return None
            return await self.store.get(jam_id)
        except UnwritableError as error:
            log.warning("jam %d cannot go on: %s", jam_id, error)
            if jam:
                await self._give_up(jam)
            return None
        except DarkroomError as error:
            log.warning("jam %d waits: %s", jam_id, error)
        except Exception:
            log.exception("jam %d waits", jam_id)
        await self._wait(jam_id, RETRY_SECONDS)
        return jam

    async def _wait(self, jam_id: int, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed[jam_id].wait(), seconds)

    async def _advance(self, jam: JamRow) -> bool:
        """Take one step; return whether the jam goes on."""
        posts = self._posts.setdefault(jam.id, Posts(self.client))
        posts.jam = jam
        is_due = jam.ends <= discord.utils.utcnow()
        match jam.stage:
            case Stage.OPEN if is_due:
                await self.store.close_entries(jam.id)
            case Stage.OPEN:
                return await self._invite(jam, posts)
            case Stage.DRAWING:
                return await self._draw(jam, posts)
            case Stage.VOTING if is_due and jam.vote_message_id:
                await self.store.update(jam.id, Stage.VOTING, stage=Stage.ENDING)
            case Stage.VOTING:
                await self._open_vote(jam, posts)
            case Stage.ENDING:
                await self._end(jam, posts)
                return False
            case Stage.CANCELLED:
                await self._cancel(jam, posts)
                return False
        return True

    async def _invite(self, jam: JamRow, posts: Posts) -> bool:
        """Let the first message list who takes part; return False if it was never posted."""
        if jam.message_id is None:  # the command has not written it down yet, or a crash came first
            jam.message_id = await posts.find_invitation()
            if jam.message_id is None:
                if discord.utils.utcnow() - discord.utils.snowflake_time(jam.id) < UNANSWERED:
                    await self._wait(jam.id, RETRY_SECONDS)
                    return True
                await self.store.delete(jam.id)
                return False
            await self.store.update(jam.id, message_id=jam.message_id)
        entries = await self.store.entries(jam.id)
        text = texts.invitation(jam, entries)
        if posts.invitation is None and not entries:
            posts.invitation = text
        await posts.edit_invitation(text, layouts.invitation_view(jam, entries))
        return True

    async def _draw(self, jam: JamRow, posts: Posts) -> bool:
        """Draw what was entered and not drawn yet; once all has ended, go on to the vote."""
        await self.service.creation_store.flush()
        entries = await self.store.entries(jam.id)
        creations = await self.store.creations(jam.id)
        if entries:
            text = texts.ended(jam, say(jam.language, texts.DRAWING, count=len(entries)))
            await posts.edit_invitation(text, text_view(text))
        self._watch(jam.id, {entry.creation_id for entry in entries})
        for entry in entries:
            if entry.creation_id not in creations:
                await begin_entry(self.client, posts, jam, entry)
                if self._changed[jam.id].is_set():  # perhaps it was cancelled
                    return True
        if any(creation.state in BUSY_STATES for creation in (await self.store.creations(jam.id)).values()):
            await self._wait(jam.id, POLL_SECONDS)
            return True
        is_contest = len(await self.store.candidates(jam.id)) > 1
        changes = {"stage": Stage.VOTING, "ends": voting_ends(jam)} if is_contest else {"stage": Stage.ENDING}
        await self.store.update(jam.id, Stage.DRAWING, **changes)
        return True

    async def _open_vote(self, jam: JamRow, posts: Posts) -> None:
        """Post the vote, unless it is posted."""
        if jam.vote_message_id:
            return
        if jam.ends <= discord.utils.utcnow():  # the bot was away meanwhile
            jam.ends = voting_ends(jam)
            await self.store.update(jam.id, Stage.VOTING, ends=jam.ends)
        candidates = await self.store.candidates(jam.id)
        if len(candidates) < 2:  # others were deleted
            await self.store.update(jam.id, Stage.VOTING, stage=Stage.ENDING)
            return
        missing = len(await self.store.entries(jam.id)) - len(candidates)
        files = [await layouts.sheet_of(self.service.image_store, jam, candidates)]
        first = candidates[0].entry.number
        ballot = partial(texts.ballot, jam, candidates, missing)
        try:
            message_id = await posts.post_vote(layouts.vote_view(jam, ballot(), candidates), files, first)
        except DISCORD_ERRORS:  # a filter does not let the prompts pass
            view = layouts.vote_view(jam, ballot(has_prompts=False), candidates)
            try:
                message_id = await posts.post_vote(view, files, first)
            except DISCORD_ERRORS as error:
                raise UnwritableError(classify(error).name) from error
        await self.store.update(jam.id, Stage.VOTING, vote_message_id=message_id)
        link = message_link(jam.guild_id, jam.channel_id, message_id)
        text = texts.ended(jam, say(jam.language, texts.TO_THE_VOTE, link=link, when=discord.utils.format_dt(jam.ends, "R")))
        await posts.edit_invitation(text, text_view(text))

    async def _end(self, jam: JamRow, posts: Posts) -> None:
        """Crown and name the winners, and delete what is not needed any more."""
        entries = await self.store.entries(jam.id)
        candidates = await self.store.candidates(jam.id)
        most = max((candidate.votes for candidate in candidates), default=0)
        is_only = len(candidates) == 1
        winners = [candidate for candidate in candidates if is_only or (most and candidate.votes == most)]
        why_nobody = texts.NO_VOTES if candidates else texts.NO_PICTURES if entries else texts.NO_ENTRIES
        if winners:
            await self.store.crown(jam, winners)
            text = texts.announcement(jam, winners, is_only=is_only)
            view, files = await layouts.winners_message(self.service.image_store, jam, text, winners)
            try:
                await posts.announce(view, files, [winner.entry.member for winner in winners])
            except DISCORD_ERRORS as error:
                log.warning("the winners of jam %d are not announced: %s", jam.id, classify(error).name)
            for winner in winners[: layouts.MAX_WINNERS_SHOWN]:
                await posts.pin(winner.creation.message_id or 0)
        if jam.vote_message_id and candidates:
            text = texts.results(jam, candidates, len(entries) - len(candidates))
            sheet = await layouts.sheet_of(self.service.image_store, jam, candidates)
            await posts.edit(jam.vote_message_id, layouts.vote_view(jam, text, candidates, is_over=True), [sheet])
        await posts.edit(jam.message_id, text_view(texts.ended(jam, say(jam.language, texts.OVER if winners else why_nobody))))
        await self.store.delete(jam.id)

    async def _cancel(self, jam: JamRow, posts: Posts) -> None:
        """Stop drawing, and say in all messages that the jam was cancelled."""
        await stop_drawing(self.service, jam)
        for message_id in filter(None, (jam.vote_message_id, jam.message_id)):
            await posts.edit(message_id, text_view(texts.ended(jam, say(jam.language, texts.CANCELLED))), [])
        await self.store.delete(jam.id)

    async def _give_up(self, jam: JamRow) -> None:
        """End a jam whose channel is gone or closed to the bot, and tell its starter."""
        await stop_drawing(self.service, jam)
        await self.store.delete(jam.id)
        with contextlib.suppress(*DISCORD_ERRORS):
            direct = await self.client.create_dm(discord.Object(jam.starter))
            await direct.send(say(jam.language, UNWRITABLE, channel=f"<#{jam.channel_id}>"))
