"""/admin: control the bot, for its operator only."""

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.confirm import Answers, confirm
from cogs.core.messages.system_channels import post_to_server
from cogs.core.policy.context import Context
from cogs.core.policy.permissions import check_operator
from cogs.core.request.options import server_only
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from bot import Darkroom

log = logging.getLogger(__name__)
Reload = Callable[[], tuple[list[str], list[str]]]
ANNOUNCEMENT_LIMIT: Final = 1500  # characters, so that the question fits into a message
ANNOUNCE_QUESTION: Final = plural(
    "Post this in the system channel of {count} server? Nobody is mentioned.\n\n{text}",
    "Post this in the system channels of {count} servers? Nobody is mentioned.\n\n{text}",
)
ANNOUNCE_ANSWERS: Final = Answers(N_("Post"), N_("Do not post"), N_("Nothing was posted."))
ANNOUNCED: Final = N_(
    "Servers in which it is posted: {count} of {servers}. The others have no system channel in which I may write."
)
OTHER_PROCESSES = N_("Other processes that do the same within seconds: {count}.")
DRAINED = N_("Drained: all requests are finished. Use `/admin resume` to accept requests again.")


@server_only
@app_commands.default_permissions(administrator=True)
class AdminCog(commands.GroupCog, group_name="admin", group_description="Control the bot (operator only)"):
    """Pauses, drains and reloads the bot in all of its processes.

    Discord hides these commands from most members. `check_operator` rejects everyone else.
    """

    def __init__(self, client: discord.Client, service: GenerationService, reload: Reload) -> None:
        self.service = service
        self.reload = reload
        service.broadcasts.handlers |= {
            "pause": lambda _: service.engine.pause(),
            "resume": lambda _: self._resume(),
            "drain": lambda _: service.background.spawn(service.drain()),
            "reload": lambda _: self._reload_quietly(),
            "announce": lambda text: service.background.start(self._announce(client, text)),
        }

    @app_commands.command()
    async def pause(self, interaction: Interaction) -> None:
        """Pause all drawing; new requests are accepted and wait."""
        await check_operator(interaction)
        self.service.engine.pause()
        waiting = self.service.engine.unfinished
        language = Context.of(interaction).language
        paused = say(language, "Paused. Pictures waiting: {count}. Use `/admin resume` to continue.", count=waiting)
        await _say(interaction, paused, *await self._pass_on("pause", language))

    @app_commands.command()
    async def resume(self, interaction: Interaction) -> None:
        """Resume drawing after a pause, and accept requests again after a drain."""
        await check_operator(interaction)
        self._resume()
        language = Context.of(interaction).language
        resumed = say(language, "Resumed. I accept requests.")
        await _say(interaction, resumed, *await self._pass_on("resume", language))

    @app_commands.command()
    async def drain(self, interaction: Interaction) -> None:
        """Stop accepting requests and finish those already accepted."""
        await check_operator(interaction)
        unfinished = self.service.engine.unfinished
        language = Context.of(interaction).language
        finishing = say(language, "I accept no more requests. Pictures to finish: {count}…", count=unfinished)
        await _say(interaction, finishing, *await self._pass_on("drain", language))
        self.service.background.spawn(self._report_drained(interaction))

    @app_commands.command(name="reload")
    async def reload_settings(self, interaction: Interaction) -> None:
        """Read the bot's settings again and apply those that need no restart."""
        await check_operator(interaction)
        applied, waiting = self.reload()
        language = Context.of(interaction).language
        if applied:
            lines = [say(language, "Applied: {settings}.", settings=_quote_names(applied))]
        else:
            lines = [say(language, "Nothing has changed that I can apply now.")]
        if waiting:
            lines.append(say(language, "After a restart: {settings}.", settings=_quote_names(waiting)))
        await _say(interaction, *lines, *await self._pass_on("reload", language))

    @app_commands.command()
    @app_commands.describe(text="What to post in the system channel of each server")
    async def announce(self, interaction: Interaction, text: Range[str, 1, ANNOUNCEMENT_LIMIT]) -> None:
        """Post a text in all servers, once you have confirmed that."""
        await check_operator(interaction)
        context = Context.of(interaction)
        servers = len(interaction.client.guilds)
        question = say(context.language, ANNOUNCE_QUESTION, count=servers, text=text)
        confirmed = await confirm(context, question, ANNOUNCE_ANSWERS)
        if confirmed is None:
            return
        others = await self._pass_on("announce", context.language, text)
        posting = say(context.language, "Posting; I report here how many servers have it.")
        await _say(confirmed.interaction, posting, *others)
        self.service.background.start(self._announce(interaction.client, text, confirmed.interaction))

    async def _announce(self, client: discord.Client, text: str, asked_by: "Interaction | None" = None) -> None:
        """Post ``text`` in the servers of this process, and report to the operator."""
        guilds = list(client.guilds)
        posted = 0
        for guild in guilds:
            posted += await post_to_server(guild, text)
        log.info("announced in %d of %d servers", posted, len(guilds))
        if asked_by is None:
            return
        report = say(Context.of(asked_by).language, ANNOUNCED, count=posted, servers=len(guilds))
        with contextlib.suppress(discord.HTTPException):  # it took longer than 15 minutes
            await asked_by.followup.send(report, ephemeral=True)

    async def _pass_on(self, command: str, language: str, argument: str = "") -> list[str]:
        """Publish ``command`` to the other processes; return a line that counts them, if any."""
        others = await self.service.broadcasts.publish(command, argument)
        return [say(language, OTHER_PROCESSES, count=others)] if others else []

    def _resume(self) -> None:
        self.service.engine.resume()
        self.service.reopen()

    def _reload_quietly(self) -> None:
        try:
            self.reload()
        except DarkroomError as error:
            log.error("the settings were not read again: %s", error)

    async def _report_drained(self, interaction: Interaction) -> None:
        await self.service.drain()
        if not await self.service.claims.wait_until_idle(lambda: self.service.closed_reason is not None):
            return
        with contextlib.suppress(discord.HTTPException):  # the answer cannot be edited after 15 minutes
            await interaction.edit_original_response(content=say(Context.of(interaction).language, DRAINED))
        log.info("drained")


def _quote_names(names: list[str]) -> str:
    return ", ".join(f"`{name.upper()}`" for name in names)


async def _say(interaction: Interaction, *lines: str) -> None:
    await interaction.response.send_message("\n".join(lines), ephemeral=True)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(AdminCog(bot, bot.service, bot.reload_config))
