"""/admin: what only whoever runs the bot may do with it."""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from cogs.access import check_operator
from cogs.audience import language_of
from cogs.languages import say
from cogs.studio import Studio

log = logging.getLogger(__name__)
Reload = Callable[[], tuple[list[str], list[str]]]
DRAINED = "Drained: nothing is in hand. `/admin resume` takes requests again."


@app_commands.default_permissions(administrator=True)
class Admin(commands.GroupCog, group_name="admin", group_description="What only whoever runs the bot may do"):
    """Pauses, drains and reloads. Discord hides it from most members; that the member runs the bot is checked here."""

    def __init__(self, studio: Studio, reload: Reload) -> None:
        self.studio, self.reload = studio, reload

    @app_commands.command()
    async def pause(self, interaction: discord.Interaction[Any]) -> None:
        """Let all pictures stand where they are; requests are still taken and wait."""
        async with self.studio.answering(interaction):
            await check_operator(interaction)
            self.studio.engine.pause()
            waiting, language = self.studio.engine.unfinished, language_of(interaction)
            await _say(interaction, say(language, "Paused; pictures waiting: {count}. `/admin resume` goes on.", count=waiting))

    @app_commands.command()
    async def resume(self, interaction: discord.Interaction[Any]) -> None:
        """Go on after a pause, and take requests again after a drain."""
        async with self.studio.answering(interaction):
            await check_operator(interaction)
            self.studio.engine.resume()
            self.studio.reopen()
            await _say(interaction, say(language_of(interaction), "Going on, and taking requests."))

    @app_commands.command()
    async def drain(self, interaction: discord.Interaction[Any]) -> None:
        """Take no more requests and finish those in hand."""
        async with self.studio.answering(interaction):
            await check_operator(interaction)
            left, language = self.studio.engine.unfinished, language_of(interaction)
            await _say(interaction, say(language, "Taking no more; pictures to finish: {count}…", count=left))
            self.studio.background.spawn(self._report_drained(interaction))

    @app_commands.command(name="reload")
    async def reload_settings(self, interaction: discord.Interaction[Any]) -> None:
        """Read the bot's settings again and apply those that need no restart."""
        async with self.studio.answering(interaction):
            await check_operator(interaction)
            applied, waiting = self.reload()
            language = language_of(interaction)
            if applied:
                lines = [say(language, "Applied: {settings}.", settings=_listed(applied))]
            else:
                lines = [say(language, "Nothing has changed that I can apply now.")]
            if waiting:
                lines.append(say(language, "After a restart: {settings}.", settings=_listed(waiting)))
            await _say(interaction, "\n".join(lines))

    async def _report_drained(self, interaction: discord.Interaction[Any]) -> None:
        await self.studio.drain()
        with contextlib.suppress(discord.HTTPException):  # after 15 minutes there is no way back to the answer; the log has it
            await interaction.edit_original_response(content=say(language_of(interaction), DRAINED))
        log.info("drained")


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name.upper()}`" for name in names)


async def _say(interaction: discord.Interaction[Any], text: str) -> None:
    await interaction.response.send_message(text, ephemeral=True)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(Admin(bot.studio, bot.reload_settings))
