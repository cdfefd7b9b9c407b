"""/about: show what this bot can do; answer members who mention it."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.help_text import RunSummary, about_text, introduction, running_text
from cogs.core.i18n.catalogues import ENGLISH, LANGUAGE_BY_LOCALE
from cogs.core.messages.greeting import greeting
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.request.preferences import Scope
from cogs.core.types import Interaction

MENTIONS_PER_MINUTE: Final = 2  # answers to one member

if TYPE_CHECKING:
    from bot import Darkroom


class AboutCog(commands.Cog):
    """Shows what the bot can do."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._mentions = commands.CooldownMapping.from_cooldown(MENTIONS_PER_MINUTE, 60, commands.BucketType.user)

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Answer a member who writes to the bot instead of using a command."""
        if message.author.bot or not self._is_for_bot(message) or self._mentions.update_rate_limit(message):
            return
        language = self._language(message)
        model = self.service.engine.model
        introduced = await asyncio.to_thread(greeting, introduction(model.defaults, language), model, language)
        reference = message.to_reference(fail_if_not_exists=False)
        with contextlib.suppress(*DISCORD_ERRORS):  # the bot may not write there
            await message.channel.send(**introduced, reference=reference, allowed_mentions=NO_MENTIONS)

    def _is_for_bot(self, message: discord.Message) -> bool:
        """Return whether a member speaks to the bot; a mere reply to its message does not count."""
        if message.type not in (discord.MessageType.default, discord.MessageType.reply):
            return False
        if isinstance(message.channel, discord.DMChannel):
            return True
        own = message.guild.me if message.guild else None
        if own is None:
            return False
        # Discord gives each bot a role of the same name, which members pick as easily.
        return any(name in message.content for name in (f"<@{own.id}>", f"<@!{own.id}>")) or (
            own.guild.self_role in message.role_mentions
        )

    def _language(self, message: discord.Message) -> str:
        """Return the language of the place where ``message`` stands."""
        get = self.service.preference_store.get
        if message.guild is None:
            return get(Scope.MEMBER, message.author.id).language or ENGLISH
        channel_id = getattr(message.channel, "parent_id", None) or message.channel.id
        layers = get(Scope.CHANNEL, channel_id), get(Scope.SERVER, message.guild.id)
        chosen = next((layer.language for layer in layers if layer.language), None)
        return chosen or LANGUAGE_BY_LOCALE.get(message.guild.preferred_locale, ENGLISH)

    @app_commands.command()
    async def about(self, interaction: Interaction) -> None:
        """See what this bot does, examples to try and all commands."""
        model = self.service.engine.model
        commands = interaction.client.tree.get_commands(type=discord.AppCommandType.chat_input)
        language = Context.of(interaction).language
        text = about_text(model.defaults, [command.name for command in commands if _is_shown(command, interaction)], language)
        if await interaction.client.is_owner(interaction.user):
            text = f"{text}\n{running_text(self._run_summary(), language)}"
        introduced = await asyncio.to_thread(greeting, text, model, language)
        await interaction.response.send_message(**introduced, ephemeral=True)

    def _run_summary(self) -> RunSummary:
        model = self.service.engine.model
        metrics = self.service.metrics
        hardware = str(model.device), str(model.dtype)
        return RunSummary(model.name, *hardware, metrics.began, metrics.pictures, metrics.seconds_per_picture)


def _is_shown(command: Any, interaction: Interaction) -> bool:
    """Return whether Discord offers ``command`` to the member by default.

    A server can set other rules for it, which are not known here.
    """
    needed = command.default_permissions
    return needed is None or needed <= interaction.permissions


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(AboutCog(bot.service))
