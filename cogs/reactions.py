"""Reactions to pictures: an envelope sends them to the member, a cross deletes them, a star keeps them.

Discord reports reactions to bots with the intents for reactions only; neither of them is privileged. A member who reacts
cannot be answered privately, so what is not possible is only logged.
"""

import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.components import creation_of_custom_id, custom_ids
from cogs.core.messages.http_errors import DISCORD_ERRORS, ErrorKind, classify
from cogs.core.messages.message import NO_MENTIONS, Answer
from cogs.core.messages.uploads import shrink
from cogs.core.policy.origins import AGE_RESTRICTED
from cogs.core.request.preferences import Scope
from cogs.core.storage.creations import Creation, State
from diffusion.errors import DarkroomError

if TYPE_CHECKING:
    from bot import Darkroom

log = logging.getLogger(__name__)
VARIATION_SELECTOR: Final = "\ufe0f"  # clients send some emojis with it, and some without
ENVELOPES: Final = ("✉", "📩", "📨")
CROSSES: Final = ("❌", "✖")
STARS: Final = ("⭐", "🌟")
DM_FILE_BYTES: Final = 10 * 2**20  # Discord's limit outside boosted servers
MAX_SENT: Final = 1000  # remembered pairs of member and message
Event = discord.RawReactionActionEvent


class ReactionsCog(commands.Cog):
    """Listens for reactions to finished pictures."""

    def __init__(self, bot: "Darkroom") -> None:
        self.bot = bot
        self.service: GenerationService = bot.service
        self._sent: OrderedDict[tuple[int, int], None] = OrderedDict()  # so that nobody makes the bot send again and again

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, event: Event) -> None:
        """Do what the reaction asks for."""
        emoji = str(event.emoji).removesuffix(VARIATION_SELECTOR)
        actions: dict[tuple[str, ...], Callable[[Event, Creation], Awaitable[None]]]
        actions = {ENVELOPES: self._send, CROSSES: self._delete, STARS: self._star}
        action = next((action for emojis, action in actions.items() if emoji in emojis), None)
        if action is None or self._is_of_bot(event):
            return
        async with self._logging(event):
            if creation := await self._creation(event):
                await action(event, creation)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, event: Event) -> None:
        """Take back a star."""
        if str(event.emoji).removesuffix(VARIATION_SELECTOR) not in STARS:
            return
        async with self._logging(event):
            # Most stars are taken off other messages, and each would cost Discord a request.
            if not await self.service.stores.star_store.has_any(event.user_id):
                return
            if creation := await self._creation(event):
                await self.service.starboard.take_back(event.user_id, creation.id)

    def _is_of_bot(self, event: Event) -> bool:
        return self._is_own(event.user_id) or bool(event.member and event.member.bot)

    def _is_own(self, user_id: int | None) -> bool:
        return self.bot.user is not None and user_id == self.bot.user.id

    @contextlib.asynccontextmanager
    async def _logging(self, event: Event) -> AsyncIterator[None]:
        """Log errors of the block, as nobody waits for an answer."""
        try:
            async with self.service.background.track_current_task():
                yield
        except (*DISCORD_ERRORS, DarkroomError) as error:
            log.info("the reaction %s to the message %d has no effect: %s", event.emoji, event.message_id, error)

    async def _creation(self, event: Event) -> Creation | None:
        """Return the finished, public creation that the message shows, also again; None without."""
        if event.message_author_id is not None and not self._is_own(event.message_author_id):
            return None
        store = self.service.creation_store
        creation = None
        if self.service.message_index.may_contain(event.message_id):
            creation = await store.get_by_message(event.message_id)
        if creation is None:
            channel = self.bot.get_partial_messageable(event.channel_id, guild_id=event.guild_id)
            message = await channel.fetch_message(event.message_id)
            found = next(filter(None, map(creation_of_custom_id, custom_ids(message))), None)
            creation = await store.get(found) if found and self._is_own(message.author.id) else None
        if creation is None or creation.private or creation.state != State.DELIVERED:
            return None
        return creation

    async def _send(self, event: Event, creation: Creation) -> None:
        """Send the pictures to the member who reacted, once."""
        key = (event.user_id, event.message_id)
        if key in self._sent:
            return
        self._sent[key] = None
        if len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)
        language = self.service.preference_store.get(Scope.MEMBER, event.user_id).language or creation.language
        member = await self.bot.create_dm(discord.Object(event.user_id))
        if creation.flags and creation.age_restricted:
            await member.send(say(language, AGE_RESTRICTED))
            return
        runner = self.service.runner
        answer: Answer = await runner.result(creation, await runner.request_of(creation), language)
        if not answer.fits(DM_FILE_BYTES):
            answer = await shrink(answer, DM_FILE_BYTES)
        while True:
            try:
                await member.send(**answer.send(), allowed_mentions=NO_MENTIONS)
                return
            except discord.HTTPException as error:
                if classify(error) is not ErrorKind.TOO_LARGE:
                    raise
                answer = await shrink(answer, DM_FILE_BYTES)

    async def _delete(self, event: Event, creation: Creation) -> None:
        """Delete the message, for who asked for the pictures and for moderators of its channel."""
        if event.user_id != creation.owner and not self._moderates(event):
            return
        channel: Any = self.bot.get_partial_messageable(event.channel_id, guild_id=event.guild_id)
        await channel.get_partial_message(event.message_id).delete()

    def _moderates(self, event: Event) -> bool:
        guild = self.bot.get_guild(event.guild_id or 0)
        channel = guild.get_channel_or_thread(event.channel_id) if guild else None
        if channel is None or event.member is None:
            return False
        try:
            return channel.permissions_for(event.member).manage_messages
        except discord.ClientException:  # a thread whose channel the bot does not see
            return False

    async def _star(self, event: Event, creation: Creation) -> None:
        """Make the pictures a favourite of the member."""
        await self.service.starboard.give(event.user_id, creation)


async def setup(bot: "Darkroom") -> None:
    """Add the cog, unless the operator has turned reactions off."""
    if bot.config.reactions:
        await bot.add_cog(ReactionsCog(bot))
