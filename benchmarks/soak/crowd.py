"""Members who use the bot like people, one who floods it, and their requests."""

import asyncio
import io
import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from cogs.core.generation.service import PREPARING
from cogs.core.simulator.loopback import LoopbackDiscord
from diffusion.request import DISTILLED, SAMPLER_NAMES

# What a modest member does with a result, by weight.
DRAW_BUTTON_WEIGHTS = {"reroll": 14, "subtle": 4, "strong": 5, "upscale": 3}  # buttons
ACTION_WEIGHTS = {"imagine": 49, "similar": 10, "edit": 7, "dismiss": 3, "info": 2, "delete": 3} | DRAW_BUTTON_WEIGHTS
SETTINGS_SHARE = 0.7  # of the requests: the others are plain
# Those of Stable Diffusion; the student's has steps of its own.
SAMPLERS = [name for name in SAMPLER_NAMES if not name.startswith("flow_") and name != DISTILLED]
CANCEL_SHARE = 0.05  # of the requests
TEXT_INPUT_TYPE = 4  # Discord's number for this component
LOADING = 1 << 7  # Discord's flag of an empty message that says that the bot is thinking
POLL_SECONDS = 0.1  # between two checks of a message
RESPONSE_TIMEOUT_SECONDS = 5.0  # Discord allows three seconds
REQUEST_TIMEOUT_SECONDS = 60 * 60.0  # on a slow machine the flooder waits long for the last of five
PROMPTS = (
    "red apple",
    "blue bird with a hat",
    "green frog on yellow",
    "a cat",
    "purple car",
    "orange fish, flat style",
    "house",
)


@dataclass
class SentRequest:
    """A request and its answer; times are those of ``time.perf_counter``."""

    kind: str
    member: Any
    interaction: Any
    picture_count: int
    sent_at: float = field(default_factory=time.perf_counter)
    answered_at: float | None = None
    pictures: int = 0
    text_reply: str = ""

    @property
    def wait(self) -> float:
        """The seconds from the request to its answer, or until now."""
        return (self.answered_at or time.perf_counter()) - self.sent_at


class Crowd:
    """All members of a `LoopbackDiscord`; the first one floods it."""

    def __init__(self, wire: LoopbackDiscord, think_seconds: float, side: int, seed: int = 0) -> None:
        self.wire = wire
        self.think_seconds = think_seconds
        self.seed = seed
        short_side = side * 3 // 4
        self.sizes = (f"{side}x{side}", f"{short_side}x{side}", f"{side}x{short_side}")
        self.flooder, *self.modest = wire.members
        self.requests: list[SentRequest] = []
        self.presses: list[Any] = []  # interactions of buttons that draw no picture
        self.closing = False

    async def run(self) -> None:
        """Let all members use the bot until `closing`, and wait for their answers."""
        flows = [self._flood(random.Random(self.seed))]
        flows += [self._visit(member, random.Random(f"{self.seed} {member.name}")) for member in self.modest]
        async with asyncio.TaskGroup() as group:
            for flow in flows:
                group.create_task(flow)

    async def _visit(self, member: Any, rng: random.Random) -> None:
        """Send a request, wait for the answer, think, and repeat."""
        channel = rng.choice(self.wire.channels)
        latest: SentRequest | None = None
        await asyncio.sleep(rng.uniform(0, self.think_seconds))
        while not self.closing:
            request = await self._act(member, channel, latest, rng)
            if request:
                if rng.random() < CANCEL_SHARE:
                    await asyncio.sleep(rng.uniform(0.3, 3))
                    await self._press(request, "cancel")
                await self._wait_for_answer(request)
            latest = request if request and request.pictures else None
            await asyncio.sleep(min(rng.expovariate(1 / self.think_seconds), 5 * self.think_seconds))

    async def _flood(self, rng: random.Random) -> None:
        """Send as many requests as the bot accepts."""
        unanswered: set[asyncio.Task[None]] = set()
        while not self.closing:
            request = await self._imagine(self.flooder, self.wire.channel, rng)
            answer = asyncio.create_task(self._wait_for_answer(request))
            unanswered.add(answer)
            answer.add_done_callback(unanswered.discard)
            await self._wait_for_response(request.interaction)
            if self._check_answer(request) and request.text_reply:
                await asyncio.sleep(1)
        await asyncio.gather(*unanswered)

    async def _act(self, member: Any, channel: Any, latest: SentRequest | None, rng: random.Random) -> SentRequest | None:
        """Do something at random and return the request, or None if it draws nothing."""
        message = latest and self._message(latest)
        kind = rng.choices(list(ACTION_WEIGHTS), list(ACTION_WEIGHTS.values()))[0]
        if kind == "similar":
            count = rng.choice((1, 1, 2))
            options = {"image": _random_png(rng), "prompt": rng.choice(PROMPTS), "steps": rng.randint(8, 25), "count": count}
            return self._record(kind, member, await self.wire.slash(member, channel, kind, **options), count)
        if latest is None or message is None or (button := _button(message, "edit" if kind == "dismiss" else kind)) is None:
            return await self._imagine(member, channel, rng)
        pressed = await self.wire.press(member, message, button)
        if kind in DRAW_BUTTON_WEIGHTS:
            return self._record(kind, member, pressed, 1 if kind == "upscale" else latest.picture_count)
        self.presses.append(pressed)
        await self._wait_for_response(pressed)
        if kind != "edit" or pressed.modal is None:
            return None
        await asyncio.sleep(rng.uniform(0, self.think_seconds / 2))
        texts = _text_values(pressed.modal) | {"prompt": rng.choice(PROMPTS)}
        return self._record(kind, member, await self.wire.submit(member, message, pressed.modal, **texts), latest.picture_count)

    async def _imagine(self, member: Any, channel: Any, rng: random.Random) -> SentRequest:
        """Ask for a picture with the model's defaults, or with settings at random."""
        options: dict[str, Any] = {"count": rng.choice((1, 1, 2))}
        if rng.random() < SETTINGS_SHARE:
            options["steps"] = rng.randint(8, 25)
            for name, values in (("size", self.sizes), ("sampler", SAMPLERS), ("upscale", (1, 2)), ("private", (True,))):
                if rng.random() < 0.3:
                    options[name] = rng.choice(values)
        prompt = f"{rng.choice(PROMPTS)} {rng.randint(0, 10**6)}"
        interaction = await self.wire.slash(member, channel, "imagine", prompt=prompt, **options)
        return self._record("imagine", member, interaction, options["count"])

    def _record(self, kind: str, member: Any, interaction: Any, picture_count: int) -> SentRequest:
        request = SentRequest(kind, member, interaction, picture_count)
        self.requests.append(request)
        return request

    async def _press(self, request: SentRequest, action: str) -> None:
        message = self._message(request)
        if message and (button := _button(message, action)):
            pressed = await self.wire.press(request.member, message, button)
            self.presses.append(pressed)
            await self._wait_for_response(pressed)

    async def _wait_for_response(self, interaction: Any) -> None:
        deadline = time.perf_counter() + RESPONSE_TIMEOUT_SECONDS
        while not interaction.responded and time.perf_counter() < deadline:
            await asyncio.sleep(POLL_SECONDS)

    async def _wait_for_answer(self, request: SentRequest) -> None:
        """Wait for the pictures or a text reply."""
        while True:
            timeout = REQUEST_TIMEOUT_SECONDS if request.interaction.responded else RESPONSE_TIMEOUT_SECONDS
            if request.wait >= timeout or self._check_answer(request):
                return
            await asyncio.sleep(POLL_SECONDS)

    def _check_answer(self, request: SentRequest) -> bool:
        messages = self.wire.backend.messages[request.interaction.channel_id]
        followups = [messages[number] for number in request.interaction.followup_ids if number in messages]
        message = self._message(request)
        if followups:
            request.text_reply = text_of(followups[0])
        elif message is None or message.flags & LOADING or _button(message, "cancel") or PREPARING in text_of(message):
            return False
        else:
            request.pictures = sum(file["filename"].startswith("darkroom-") for file in message.attachments)
            request.text_reply = "" if request.pictures else text_of(message)
        request.answered_at = time.perf_counter()
        return True

    def _message(self, request: SentRequest) -> Any:
        return self.wire.backend.messages[request.interaction.channel_id].get(request.interaction.message_id)


def text_of(message: Any) -> str:
    """Return all text of a message and its components."""
    texts = (component.get("content") for component in _walk(message.components))
    return "\n".join(filter(None, (message.content, *texts)))


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _walk(child)


def _button(message: Any, action: str) -> str | None:
    match = re.search(rf'"(darkroom:(?:result:)?{action}:[^"]+)"', json.dumps(message.components))
    return match and match[1]


def _text_values(modal: dict[str, Any]) -> dict[str, str]:
    """Return the values of a form's text inputs by custom_id."""
    return {
        part["custom_id"]: part.get("value") or "" for part in _walk(modal["components"]) if part.get("type") == TEXT_INPUT_TYPE
    }


def _random_png(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    size = rng.randint(40, 400), rng.randint(40, 400)
    Image.new("RGB", size, (rng.randrange(256), rng.randrange(256), rng.randrange(256))).save(buffer, "PNG")
    return buffer.getvalue()
