"""A simulated Discord server with the real bot in it, on a model of toy size."""

import asyncio
import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bot import Darkroom
from cogs.database import Database
from cogs.gallery import Gallery
from cogs.preview import outside, simulated
from cogs.studio import Studio
from diffusion.engine import Engine, EngineConfig
from diffusion.request import Limits
from tests.conftest import build_classifier, model_of

PATIENCE = 20  # seconds until a picture must be there


@dataclass
class Server:
    env: Any
    engine: Engine
    guild: Any
    channel: Any
    alice: Any
    bob: Any

    @property
    def studio(self):
        return self.env.bot.studio

    async def ended(self):
        """Wait until nothing is under way."""
        await self.until(lambda: not self.studio._following)

    async def restart(self):
        """End the bot as a crash would, as far as the journal can tell, and start another."""
        before = self.studio
        await before.close()
        studio = Studio(self.engine, before.database, before.gallery, outside(self.env))
        await self.env.restart_bot(Darkroom(studio))

    async def finished(self, message, pictures=1):
        """Wait until ``message`` shows its pictures."""
        return await self.until(lambda: len(drawn(message)) == pictures and "seed" in message.content)

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)


def drawn(message):
    return [attachment for attachment in message.attachments if attachment.filename.startswith("darkroom")]


def png(size=(40, 30), colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def sentence(result):
    """The one answer that only the member sees."""
    answers = [answer for answer in (result.response, *result.followups) if answer is not None]
    assert len(answers) == 1
    assert answers[0].ephemeral
    return answers[0].content


@contextlib.asynccontextmanager
async def opened(model, **config):
    limits = Limits(side=256, steps=150, count=4)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            Database(f"sqlite+aiosqlite:///{folder / 'journal.sqlite'}") as database,
            Engine(model, EngineConfig(limits=limits, **config)) as engine,
            simulated(Studio(engine, database, Gallery(folder / "pictures")), Darkroom) as env,
        ):
            guild = env.create_guild()
            channel = guild.create_text_channel("art")
            alice, bob = (guild.add_member(env.create_user(name)) for name in ("alice", "bob"))
            yield Server(env, engine, guild, channel, alice, bob)
            assert env.errors == []


@pytest.fixture
async def server(tiny_model):
    async with opened(tiny_model) as server:
        yield server


@pytest.fixture
async def steerable_server(tiny_components):
    async with opened(model_of(tiny_components | {"classifier": build_classifier()})) as server:
        yield server
