"""Measure how long results wait for Discord's rate limits: ``python -m benchmarks.delivery``.

Many members ask at once in one channel. Each request edits its message three times: when it is accepted, at a step, and with
the result. Edits by the channel share a limit of 5 in 5 seconds; each interaction's token has one of its own. Nothing is drawn.
"""

import argparse
import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
from aiohttp import web

from cogs.core.messages.delivery import Delivery
from cogs.core.messages.message import Answer, PictureFile
from cogs.core.messages.routes import TOKEN_LIFE_MINUTES
from cogs.core.simulator.connect import connect_to
from cogs.core.simulator.loopback import LoopbackDiscord
from cogs.core.simulator.rate_limits import RateLimits
from cogs.core.storage.creations import Creation

STEP_SECONDS = 0.8  # after which a request edits its progress, and has its result
APPLICATION_ID = 5
CHANNEL_ID = 7
RESULT = PictureFile("darkroom-1.png", b"x" * 1000, "a picture")
BY_CHANNEL, BY_TOKEN = "by channel", "by token"


class EditableDiscord(LoopbackDiscord):
    """Accepts edits of any message within its rate limits; counts them by their route."""

    def __init__(self, limits: RateLimits) -> None:
        super().__init__()
        self.limits = limits
        self.edits: Counter[str] = Counter()

    async def _rest(self, request: web.Request) -> web.Response:
        path = f"/{request.match_info['path']}"
        if request.method != "PATCH" or self.limits is None:
            return await super()._rest(request)
        await request.read()
        headers, early = self.limits.take(request.method, path)
        if early:
            refusal = {"message": "You are being rate limited.", "retry_after": early, "global": False}
            return self._answer(refusal, 429, headers)
        self.edits[BY_TOKEN if path.startswith("/webhooks") else BY_CHANNEL] += 1
        return self._answer(_message(path.rpartition("/")[2]), headers=headers)


def _message(message_id: str) -> dict[str, Any]:
    lists = dict.fromkeys(("mentions", "mention_roles", "attachments", "embeds", "components"), ())
    author = {"id": "1", "username": "bot", "discriminator": "0", "avatar": None}
    fields = {"id": message_id, "channel_id": str(CHANNEL_ID), "author": author, "content": "", "type": 0, "flags": 0}
    flags = {"tts": False, "mention_everyone": False, "pinned": False, "edited_timestamp": None}
    return fields | flags | lists | {"timestamp": "2026-01-01T00:00:00+00:00"}


class UnrecordedStore:
    """Takes the place of the database."""

    is_ownership_certain = True

    async def assert_owned(self, creation: Creation) -> None:
        """Accept any process."""

    async def update(self, creation: Creation, **values: Any) -> None:
        """Forget the change."""


def _creation(number: int, is_early: bool) -> Creation:
    life = timedelta(minutes=TOKEN_LIFE_MINUTES if is_early else 0)
    return Creation(
        id=1000 + number,
        owner=number,
        channel_id=CHANNEL_ID,
        message_id=2000 + number,
        application_id=APPLICATION_ID,
        token=f"token{number}",
        expires=datetime.now(UTC) + life,
        private=False,
        token_only=False,
        language="en",
    )


async def measure(requests: int, route: str, limits: RateLimits) -> tuple[Sequence[float], Counter[str]]:
    """Deliver so many results at once.

    Returns the seconds after which each was there, sorted, and the number of edits by each route.
    """
    async with EditableDiscord(limits) as wire, discord.Client(intents=discord.Intents.none()) as client:
        connect_to(wire.port)
        await client.login("token")
        store: Any = UnrecordedStore()
        delivery = Delivery(client, store)
        began = time.perf_counter()

        async def serve(number: int) -> float:
            creation = _creation(number, is_early=route == BY_TOKEN)
            await delivery.announce(creation, Answer("Next in line…"), waits=False)
            await asyncio.sleep(STEP_SECONDS)
            await delivery.announce(creation, Answer("step 6 of 12"), waits=False)
            await delivery.deliver(creation, Answer("done", (RESULT,)))
            return time.perf_counter() - began

        seconds = await asyncio.gather(*map(serve, range(requests)))
        return sorted(seconds), wire.edits


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each number of requests and each route."""
    parser = argparse.ArgumentParser("python -m benchmarks.delivery", description=__doc__)
    parser.add_argument("requests", type=int, nargs="*", default=[20, 40], help="at once; several numbers for several rows")
    options = parser.parse_args(arguments)
    print("| requests at once | edits | first result | median | last |\n|---|---|---|---|---|")
    for requests in options.requests:
        for route in (BY_CHANNEL, BY_TOKEN):
            seconds, _ = asyncio.run(measure(requests, route, RateLimits()))
            shown = " | ".join(f"{value:.1f} s" for value in (seconds[0], statistics.median(seconds), seconds[-1]))
            print(f"| {requests} | {route} | {shown} |", flush=True)
