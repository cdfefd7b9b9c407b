"""The simulated Discord: the real bot and cogs in a browser page, through simcord.

All that touches simcord's private parts stands here; it is pinned to one version for that reason.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import discord
import simcord

from cogs.core.generation.service import GenerationService
from cogs.core.help_text import hint, welcome_text
from diffusion.errors import DarkroomError

PUMP_SECONDS = 0.25
SETTLE_SECONDS = 30.0  # for what a command starts: on a busy machine simcord's 5 pass before an answer is there


def outside(env: simcord.Env) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]:
    """Give a ``spawn`` for the studio whose tasks simcord does not wait for.

    simcord settles everything a command starts before it shows the answer; a job that is followed in the background has to
    stand outside that, but on simcord's clock.
    """

    def spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def start() -> asyncio.Task[None]:
            with env.time_context():
                return asyncio.ensure_future(coroutine)

        return contextvars.Context().run(start)

    return spawn


def reply_to_errors(env: simcord.Env) -> None:
    """Let the bot alone handle the errors of its commands: simcord would collect them, too, and fail at the first."""
    bot: Any = env.bot
    bot.tree.__dict__.pop("on_error", None)


@contextlib.asynccontextmanager
async def simulated(
    service: GenerationService, make_bot: Callable[[GenerationService], discord.Client]
) -> AsyncIterator[simcord.Env]:
    """Run the bot in a fresh simulated Discord."""
    bot = make_bot(service)
    shard_count = getattr(bot, "shard_count", None) or 1  # Discord would tell how many it advises
    env = simcord.Env(bot, settle_timeout=SETTLE_SECONDS, shard_count=shard_count)
    service.background.spawn = outside(env)
    env.backend.clock._epoch = datetime.now(UTC)  # so that messages are of today
    await env.start()
    reply_to_errors(env)
    try:
        yield env
    finally:
        await service.close()
        await env.shutdown()


async def serve(service: GenerationService, make_bot: Callable[[GenerationService], discord.Client], port: int) -> None:
    """Serve the page on loopback until it is ended there or the program is interrupted."""
    defaults = service.engine.model.defaults
    async with simulated(service, make_bot) as env:
        bot: Any = env.bot
        await bot.user.edit(username="Darkroom")
        you, guest = env.create_user("you"), env.create_user("guest")
        guild = env.create_guild(name="Darkroom preview", owner=you)  # who tries it may do all, the guest what members may
        channel = guild.create_text_channel("darkroom")
        await bot.get_partial_messageable(channel.id).send(welcome_text(defaults))
        viewers = [guild.add_member(user) for user in (you, guest)]
        preview = env.preview(channel, viewers=viewers, layout="channel", port=port or None)
        async with contextlib.AsyncExitStack() as stack:
            try:
                page = await stack.enter_async_context(preview)
            except simcord.SetupError as error:
                raise DarkroomError(f"{error}. Set SIMULATOR_PORT to another port, or to 0 for any free one.") from error
            lock = asyncio.Lock()
            _act_on_what_is_shown(page, lock)
            print(hint(page.url, defaults), flush=True)
            pump = asyncio.create_task(_pump(env, page, lock))
            try:
                await page.wait_closed()
            finally:
                pump.cancel()
                await asyncio.wait([pump])


def _act_on_what_is_shown(page: Any, lock: asyncio.Lock) -> None:
    """Accept an action although a progress edit was published since the page was drawn; one action at a time."""
    act = page._action

    async def act_now(context_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        async with lock:
            current = page._get_page(context_id).revision
            if isinstance(body, Mapping) and "published_revision" in body:
                body = {**body, "published_revision": current}
            answer: dict[str, Any] = await act(context_id, body)
            return answer

    page._action = act_now


async def _pump(env: simcord.Env, page: Any, lock: asyncio.Lock) -> None:
    """Let simcord's clock follow the real one, and show what the bot did in the background."""
    shown = -1
    while True:
        await asyncio.sleep(PUMP_SECONDS)
        with contextlib.suppress(TimeoutError):  # the machine has too much other work: the next time makes up for it
            async with lock:
                behind = datetime.now(UTC) - env.now()
                await env.advance_time(max(0.0, behind.total_seconds()))
                if len(env.http_requests) != shown:
                    await page.refresh()
                    shown = len(env.http_requests)
