"""The connection to Discord: retries what is temporary, and explains what is not."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import discord
from discord.http import Route

from cogs.core.messages import http_errors
from cogs.core.tasks import retry
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
SYNC_WAIT_SECONDS = 30.0  # then the bot starts, and its commands are registered later
SETTINGS_STATUS: Final = 2  # exit status: the operator has to change something
FAILED_STATUS: Final = 1
TOKEN_REJECTED: Final = "Discord rejected DISCORD_TOKEN. Copy the token again from the developer portal."
CLOSED: Final = {  # Discord's close codes that a new connection does not help against
    4004: TOKEN_REJECTED,
    4010: "Discord does not know a shard of SHARD_IDS. Each must be less than SHARD_COUNT, from 0 on.",
    4011: "The bot is in too many servers for this SHARD_COUNT. Set a larger SHARD_COUNT, or leave it empty.",
    4012: "Discord no longer supports the version of its gateway that this bot uses. Update Darkroom.",
    4013: "Discord does not know the events that this bot asks for. Update Darkroom.",
    4014: "Discord does not allow this application the events that the bot asks for. On the application's Bot page in the"
    " developer portal, tick the privileged intents, or update Darkroom.",
}


class StoppedError(DarkroomError):
    """The bot cannot run on Discord; ``status`` is the exit status of the program."""

    def __init__(self, sentence: str, status: int = SETTINGS_STATUS) -> None:
        super().__init__("{sentence}", sentence=sentence)
        self.status = status


class TokenWatch:
    """Notices calls that Discord refuses because the bot's token is no longer valid.

    ``trace`` goes to the bot as ``http_trace``.
    """

    def __init__(self) -> None:
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_end.append(self._on_request_end)
        self._refused = asyncio.Event()

    async def _on_request_end(self, session: aiohttp.ClientSession, context: Any, ended: aiohttp.TraceRequestEndParams) -> None:
        if ended.response.status == 401 and "Authorization" in ended.headers:  # others carry an interaction's token
            self._refused.set()

    async def wait(self, client: discord.Client) -> None:
        """Return once Discord has refused the token of ``client`` twice."""
        while True:
            await self._refused.wait()
            try:
                await client.http.request(Route("GET", "/users/@me"))
            except discord.HTTPException as error:
                if error.status == 401:
                    return
            except http_errors.NETWORK_ERRORS:
                pass
            self._refused.clear()


async def run_client(client: discord.Client, token: str, watch: TokenWatch) -> None:
    """Log in and stay connected until ``client`` is closed.

    Waits as long as Discord cannot be reached. Raises `StoppedError`.
    """
    try:
        await retry(lambda: _log_in(client, token), _unless(lambda: client.application, _is_temporary), describe=_describe)
        connected = asyncio.ensure_future(
            retry(client.connect, _unless(client.is_closed, _is_temporary), describe=_describe),
        )
        rejected = asyncio.ensure_future(watch.wait(client))
        try:
            await asyncio.wait([connected, rejected], return_when=asyncio.FIRST_COMPLETED)
            if not connected.done():
                raise StoppedError(TOKEN_REJECTED)
            connected.result()
        finally:
            connected.cancel()
            rejected.cancel()
    except (discord.DiscordException, *http_errors.NETWORK_ERRORS) as error:
        raise as_stopped_error(error) from error


async def _log_in(client: discord.Client, token: str) -> None:
    try:
        await client.login(token)
    except BaseException:
        if not client.application:  # the next attempt opens a session of its own
            await client.http.close()
            client.http.connector = discord.utils.MISSING
        raise


async def sync_commands(tree: discord.app_commands.CommandTree[Any]) -> None:
    """Register the commands with Discord; a refusal is a warning in the log."""
    try:
        await retry(tree.sync, _is_temporary, describe=_describe)
    except discord.DiscordException as error:
        log.warning(
            "Discord did not accept the commands, so members see those of the last start. (%s)", _describe(_reason(error))
        )


async def learn_commands(tree: discord.app_commands.CommandTree[Any]) -> None:
    """Ask Discord for the ids of the commands that another process registers."""
    with contextlib.suppress(discord.DiscordException):
        await retry(tree.fetch_commands, _is_temporary, describe=_describe)


def as_stopped_error(error: Exception) -> StoppedError:
    """Return the sentence for the operator about an error that ends the connection."""
    error = _reason(error)
    if isinstance(error, discord.LoginFailure) or (isinstance(error, discord.HTTPException) and error.status == 401):
        return StoppedError(TOKEN_REJECTED)
    if isinstance(error, discord.PrivilegedIntentsRequired):
        return StoppedError(CLOSED[4014])
    if isinstance(error, discord.ConnectionClosed):
        known = CLOSED.get(error.code)
        return StoppedError(known) if known else StoppedError(f"Discord closed the connection ({error.code}).", FAILED_STATUS)
    return StoppedError(f"The bot had to stop: {_describe(error)}.", FAILED_STATUS)


def _reason(error: Exception) -> Exception:
    """Return what Discord answered where discord.py reports only that it found no gateway."""
    return error.__cause__ if isinstance(error, discord.GatewayNotFound) and isinstance(error.__cause__, Exception) else error


def _is_temporary(error: Exception) -> bool:
    error = _reason(error)
    is_token = isinstance(error, discord.HTTPException) and error.status == 401
    return not is_token and http_errors.is_temporary(error)


def _unless(ended: Callable[[], Any], is_temporary: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
    return lambda error: not ended() and is_temporary(error)


def _describe(error: BaseException | None) -> str:
    """Return one line about ``error``, without the page that a proxy may have sent."""
    if isinstance(error, discord.GatewayNotFound):
        error = error.__cause__
    if isinstance(error, discord.HTTPException):
        said = "" if "<" in error.text else " ".join(error.text.split())[:200]
        return f"Discord answered {error.status} {error.response.reason or ''}".strip() + (f": {said}" if said else "")
    return " ".join(str(error).split())[:200] or type(error).__name__
