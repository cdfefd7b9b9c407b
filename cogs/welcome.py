"""A greeting to new servers, one tip to each member, and a note of servers that the bot has left."""

import contextlib
from typing import TYPE_CHECKING, Final

import discord
from discord.ext import commands

from cogs.core.i18n.catalogues import say
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.routes import webhook_of
from cogs.core.messages.system_channels import language_of, post_to_server
from cogs.core.request.preferences import Scope
from cogs.core.sharding import serves
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DatabaseUnavailableError
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

WELCOME: Final = N_(
    "Hello! I draw pictures from words. Type {imagine} and describe one, or start from a picture of yours with {similar}."
    " {help} shows what else I can do. Managers of this server choose with {setup} where I may be used."
)
MAX_KNOWN_MEMBERS: Final = 100_000
TIP: Final = N_("Tip: press ⭐ under a picture to find it again with {favourites}. {help} explains the other buttons.")


class WelcomeCog(commands.Cog):
    """Greets servers and members once."""

    def __init__(self, bot: "Darkroom") -> None:
        self.bot = bot
        self.service = bot.service
        self._known_members: set[int] = set()  # who had a picture before
        self.service.forgetters.append(self._known_members.discard)
        if bot.config.tips:
            self.service.creation_store.watchers.append(
                # Rendered pictures are about to be shown, and the interaction still has its token.
                lambda creation: (
                    self.service.background.start(self._give_tip(creation))
                    if creation.state == State.RENDERED and creation.owner not in self._known_members
                    else None
                )
            )

    @commands.Cog.listener()
    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Greet a new server in its system channel, if the bot may write there."""
        language = language_of(guild, self.service.preference_store.get(Scope.SERVER, guild.id).language)
        mention = self.bot.mention_command
        names = {"imagine": "imagine", "similar": "similar", "help": "help", "setup": "setup server"}
        text = say(language, WELCOME, **{gap: mention(name) for gap, name in names.items()})
        with contextlib.suppress(DatabaseUnavailableError):  # the next start notes it
            await self.service.stores.server_store.note_present([guild.id])
        await post_to_server(guild, text)

    @commands.Cog.listener()
    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Note that the bot was removed from a server."""
        with contextlib.suppress(DatabaseUnavailableError):
            channel_ids = [channel.id for channel in guild.channels]
            await self.service.stores.server_store.note_left(guild.id, channel_ids)

    @commands.Cog.listener()
    async def on_ready(self) -> None:
        """Note in the background which servers the bot is in."""
        self.service.background.start(self.note_servers())

    async def note_servers(self) -> None:
        """Note the servers that the bot is in, and those that it left while it was away."""
        present = {guild.id for guild in self.bot.guilds}
        with contextlib.suppress(DatabaseUnavailableError):
            store = self.service.stores.server_store
            for guild_id in await store.present():
                if guild_id not in present and serves(self.bot, guild_id):
                    await store.note_left(guild_id)
            await store.note_present(present)

    async def _give_tip(self, creation: Creation) -> None:
        """Send a tip to the member of ``creation`` if it is their first one; nobody else sees it."""
        if len(self._known_members) > MAX_KNOWN_MEMBERS:
            self._known_members.clear()
        self._known_members.add(creation.owner)
        try:
            if await self.service.stores.gallery.has_any(creation.owner):
                return
        except DatabaseUnavailableError:
            return
        mention = self.bot.mention_command
        text = say(creation.language, TIP, favourites=mention("favourites"), help=mention("help"))
        with contextlib.suppress(*DISCORD_ERRORS):
            await webhook_of(self.bot, creation).send(text, ephemeral=True)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(WelcomeCog(bot))
