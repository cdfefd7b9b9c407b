"""Members who use the bot as people do, and one who floods it; all note what became of what they asked for."""

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
from diffusion.request import SAMPLER_NAMES

# How often a modest member does what, once they have a result.
DRAWING = {"reroll": 14, "subtle": 4, "strong": 5, "upscale": 3}  # with a button
HABITS = {"imagine": 49, "similar": 10, "edit": 7, "dismiss": 3, "info": 2, "delete": 3} | DRAWING
CANCELLING = 0.05  # of what was asked for is taken back
TEXT_INPUT = 4  # as Discord numbers components
GLANCE = 0.1  # seconds between two looks at a message
LATE = 5.0  # seconds after which an interaction counts as unanswered: Discord allows three
REQUEST_TIMEOUT_SECONDS = 60 * 60.0  # and a request: on a slow machine the flooder waits long for the last of five
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
class Asked:
    """What a member asked for and what they got; times are those of ``time.perf_counter``."""

    kind: str
    member: Any
    interaction: Any
    wanted: int  # pictures
    at: float = field(default_factory=time.perf_counter)
    answered: float | None = None
    pictures: int = 0
    sentence: str = ""

    @property
    def wait(self) -> float:
        """Seconds between asking and the answer."""
        return (self.answered or time.perf_counter()) - self.at


class Crowd:
    """All members of a `LoopbackDiscord`, of whom the first floods; `run` ends when all have their answers."""

    def __init__(self, wire: LoopbackDiscord, think: float, side: int, seed: int = 0) -> None:
        self.wire, self.think, self.seed = wire, think, seed
        short = side * 3 // 4
        self.sizes = (f"{side}x{side}", f"{short}x{side}", f"{side}x{short}")
        self.flooder, *self.modest = wire.members
        self.asked: list[Asked] = []
        self.pressed: list[Any] = []  # interactions of buttons whose answer is no picture
        self.closing = False

    async def run(self) -> None:
        """Let everybody do as they do."""
        flows = [self._flood(random.Random(self.seed))]
        flows += [self._visit(member, random.Random(f"{self.seed} {member.name}")) for member in self.modest]
        async with asyncio.TaskGroup() as group:
            for flow in flows:
                group.create_task(flow)

    async def _visit(self, member: Any, chance: random.Random) -> None:
        """Ask, wait for the answer, think, ask again."""
        channel, latest = chance.choice(self.wire.channels), None
        await asyncio.sleep(chance.uniform(0, self.think))
        while not self.closing:
            asked = await self._ask(member, channel, latest, chance)
            if asked:
                if chance.random() < CANCELLING:
                    await asyncio.sleep(chance.uniform(0.3, 3))
                    await self._press(asked, "cancel")
                await self._answer(asked)
            latest = asked if asked and asked.pictures else None
            await asyncio.sleep(min(chance.expovariate(1 / self.think), 5 * self.think))

    async def _flood(self, chance: random.Random) -> None:
        """Have as much under way as is taken."""
        waiting: set[asyncio.Task[None]] = set()
        while not self.closing:
            asked = await self._imagine(self.flooder, self.wire.channel, chance)
            answer = asyncio.create_task(self._answer(asked))
            waiting.add(answer)
            answer.add_done_callback(waiting.discard)
            await self._responded(asked.interaction)
            if self._look(asked) and asked.sentence:  # refused
                await asyncio.sleep(1)
        await asyncio.gather(*waiting)

    async def _ask(self, member: Any, channel: Any, latest: Asked | None, chance: random.Random) -> Asked | None:
        """Do something by habit; None where that asks for no picture."""
        message = latest and self._message(latest)
        kind = chance.choices(list(HABITS), list(HABITS.values()))[0]
        if kind == "similar":
            count = chance.choice((1, 1, 2))
            options = {"image": _png(chance), "prompt": chance.choice(PROMPTS), "steps": chance.randint(8, 25), "count": count}
            return self._noted(kind, member, await self.wire.slash(member, channel, kind, **options), count)
        if latest is None or message is None or (button := _button(message, "edit" if kind == "dismiss" else kind)) is None:
            return await self._imagine(member, channel, chance)
        pressed = await self.wire.press(member, message, button)
        if kind in DRAWING:
            return self._noted(kind, member, pressed, latest.wanted)
        self.pressed.append(pressed)
        await self._responded(pressed)
        if kind != "edit" or pressed.modal is None:
            return None
        await asyncio.sleep(chance.uniform(0, self.think / 2))
        texts = _typed(pressed.modal) | {"prompt": chance.choice(PROMPTS)}
        return self._noted(kind, member, await self.wire.submit(member, message, pressed.modal, **texts), latest.wanted)

    async def _imagine(self, member: Any, channel: Any, chance: random.Random) -> Asked:
        options: dict[str, Any] = {"steps": chance.randint(8, 25), "count": chance.choice((1, 1, 2))}
        for name, values in (("size", self.sizes), ("sampler", list(SAMPLER_NAMES)), ("upscale", (1, 2)), ("private", (True,))):
            if chance.random() < 0.3:
                options[name] = chance.choice(values)
        prompt = f"{chance.choice(PROMPTS)} {chance.randint(0, 10**6)}"
        interaction = await self.wire.slash(member, channel, "imagine", prompt=prompt, **options)
        return self._noted("imagine", member, interaction, options["count"])

    def _noted(self, kind: str, member: Any, interaction: Any, wanted: int) -> Asked:
        asked = Asked(kind, member, interaction, wanted)
        self.asked.append(asked)
        return asked

    async def _press(self, asked: Asked, action: str) -> None:
        message = self._message(asked)
        if message and (button := _button(message, action)):
            pressed = await self.wire.press(asked.member, message, button)
            self.pressed.append(pressed)
            await self._responded(pressed)

    async def _responded(self, interaction: Any) -> None:
        late = time.perf_counter() + LATE
        while not interaction.responded and time.perf_counter() < late:
            await asyncio.sleep(GLANCE)

    async def _answer(self, asked: Asked) -> None:
        """Wait for the pictures or the sentence."""
        while asked.wait < (REQUEST_TIMEOUT_SECONDS if asked.interaction.responded else LATE) and not self._look(asked):
            await asyncio.sleep(GLANCE)

    def _look(self, asked: Asked) -> bool:
        messages = self.wire.backend.messages[asked.interaction.channel_id]
        followups = [messages[number] for number in asked.interaction.followup_ids if number in messages]
        message = self._message(asked)
        if followups:
            asked.sentence = text_of(followups[0])
        elif message is None or _button(message, "cancel") or PREPARING in text_of(message):
            return False
        else:
            asked.pictures = sum(file["filename"].startswith("darkroom-") for file in message.attachments)
            asked.sentence = "" if asked.pictures else text_of(message)
        asked.answered = time.perf_counter()
        return True

    def _message(self, asked: Asked) -> Any:
        return self.wire.backend.messages[asked.interaction.channel_id].get(asked.interaction.message_id)


def text_of(message: Any) -> str:
    """Return all text of a message, also that of its components."""
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
    found = re.search(rf'"(darkroom:(?:result:)?{action}:[^"]+)"', json.dumps(message.components))
    return found and found[1]


def _typed(modal: dict[str, Any]) -> dict[str, str]:
    """Return what stands in the text inputs of a form."""
    return {part["custom_id"]: part.get("value") or "" for part in _walk(modal["components"]) if part.get("type") == TEXT_INPUT}


def _png(chance: random.Random) -> bytes:
    buffer = io.BytesIO()
    size = chance.randint(40, 400), chance.randint(40, 400)
    Image.new("RGB", size, (chance.randrange(256), chance.randrange(256), chance.randrange(256))).save(buffer, "PNG")
    return buffer.getvalue()
