"""The real bot in a simulated Discord, shown as a page in the browser.

This module uses private parts of simcord, which is therefore pinned to one version.
"""

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import discord
import simcord

from cogs.core.generation.service import GenerationService
from cogs.core.help_text import terminal_hint, welcome_text
from cogs.core.messages.greeting import greeting
from cogs.core.simulator import cdn  # noqa: F401  (importing it lets clients stream files)
from cogs.core.simulator.held_press import hold_redraws_while_pressed
from diffusion.errors import DarkroomError

REFRESH_SECONDS = 0.25
REDRAW_SECONDS = 2.0
SETTLE_SECONDS = 30.0  # simcord waits 5 s for the answer to a command, which is too short on a busy machine


def spawn_outside(env: simcord.Env) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]:
    """Return a ``spawn`` function for tasks that simcord does not wait for.

    simcord shows the answer to a command once everything that the command started has ended. A background job must not delay
    the answer, but has to use simcord's clock.
    """

    def spawn(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def start() -> asyncio.Task[None]:
            with env.time_context():
                return asyncio.ensure_future(coroutine)

        return contextvars.Context().run(start)

    return spawn


def reply_to_errors(env: simcord.Env) -> None:
    """Let the bot handle the errors of commands itself.

    Otherwise simcord collects them and fails at the first.
    """
    bot: Any = env.bot
    bot.tree.__dict__.pop("on_error", None)


@contextlib.asynccontextmanager
async def simulated(
    service: GenerationService, make_bot: Callable[[GenerationService], discord.Client]
) -> AsyncIterator[simcord.Env]:
    """Run the bot in a fresh simulated Discord."""
    bot = make_bot(service)
    shard_count = getattr(bot, "shard_count", None) or 1  # Discord would recommend a number
    env = simcord.Env(bot, settle_timeout=SETTLE_SECONDS, shard_count=shard_count)
    service.background.spawn = spawn_outside(env)
    env.backend.clock._epoch = datetime.now(UTC)  # so that messages have today's date
    await env.start()
    reply_to_errors(env)
    try:
        yield env
    finally:
        await service.close()
        await env.shutdown()


async def serve(service: GenerationService, make_bot: Callable[[GenerationService], discord.Client], port: int) -> None:
    """Serve the page on loopback until the user ends it or the program."""
    defaults = service.engine.model.defaults
    async with simulated(service, make_bot) as env:
        bot: Any = env.bot
        await bot.user.edit(username="Darkroom")
        you = env.create_user("you")
        guest = env.create_user("guest")
        guild = env.create_guild(name="Darkroom preview", owner=you)  # the owner may do everything
        channel = guild.create_text_channel("darkroom")
        await bot.get_partial_messageable(channel.id).send(**greeting(welcome_text(defaults), service.engine.model))
        viewers = [guild.add_member(user) for user in (you, guest)]
        preview = env.preview(channel, viewers=viewers, layout="channel", port=port or None)
        hold_redraws_while_pressed(preview)
        async with contextlib.AsyncExitStack() as stack:
            try:
                page = await stack.enter_async_context(preview)
            except simcord.SetupError as error:
                raise DarkroomError(f"{error}. Set SIMULATOR_PORT to another port, or to 0 for any free one.") from error
            lock = asyncio.Lock()
            _accept_stale_actions(page, lock)
            print(terminal_hint(page.url, defaults), flush=True)
            pump = asyncio.create_task(_follow_clock(env, page, lock))
            try:
                await page.wait_closed()
            finally:
                pump.cancel()
                await asyncio.wait([pump])


def _accept_stale_actions(page: Any, lock: asyncio.Lock) -> None:
    """Accept actions on a page that has changed meanwhile, one at a time.

    Progress edits change it often.
    """
    act = page._action

    async def act_on_current(context_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        async with lock:
            current = page._get_page(context_id).revision
            if isinstance(body, Mapping) and "published_revision" in body:
                body = {**body, "published_revision": current}
            answer: dict[str, Any] = await act(context_id, body)
            return answer

    page._action = act_on_current


async def _follow_clock(env: simcord.Env, page: Any, lock: asyncio.Lock) -> None:
    """Keep simcord's clock at the real time and refresh the page.

    A page that is redrawn at each step is hard to read, so progress is shown at intervals.
    """
    shown_requests = -1
    redrawn = -math.inf
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        with contextlib.suppress(TimeoutError):  # the machine is busy; the next round catches up
            async with lock:
                behind = datetime.now(UTC) - env.now()
                await env.advance_time(max(0.0, behind.total_seconds()))
                if len(env.http_requests) != shown_requests and time.monotonic() - redrawn >= REDRAW_SECONDS:
                    await page.refresh()
                    shown_requests = len(env.http_requests)
                    redrawn = time.monotonic()
