"""A simulated Discord server with the real bot in it, on a model of toy size."""

import asyncio
import contextlib
import io
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import discord
import pytest
from PIL import Image

from bot import Darkroom
from cogs.core.generation.service import GenerationService
from cogs.core.messages import delivery
from cogs.core.messages.attachments import posted_files
from cogs.core.simulator import layouts  # noqa: F401  (importing it makes simcord give layouts as Discord does)
from cogs.core.simulator.browser import outside, reply_to_errors, simulated
from cogs.core.storage.database import Database
from cogs.core.storage.images import ImageStore
from diffusion.config import EngineConfig
from diffusion.images.io import parameters, to_png
from diffusion.request import ImageRequest, Limits
from diffusion.serving.engine import Engine
from tests.conftest import build_classifier, model_of

PATIENCE = 60.0  # seconds until a picture must be there, also on a busy machine


@dataclass
class Server:
    env: Any
    engine: Engine
    guild: Any
    channel: Any
    alice: Any
    bob: Any

    @property
    def service(self):
        return self.env.bot.service

    async def ended(self):
        """Wait until nothing is under way."""
        await self.until(lambda: not self.service.background)

    async def restart(self):
        """End the bot as a crash would, as far as the journal can tell, and start another."""
        before = self.service
        await before.close()
        service = GenerationService(self.engine, before.database, before.image_store)
        service.background.spawn = outside(self.env)
        await self.env.restart_bot(Darkroom(service))
        reply_to_errors(self.env)

    async def finished(self, message, pictures=1):
        """Wait until ``message`` shows its pictures."""
        return await self.until(lambda: len(drawn(message)) == pictures and "seed" in text_of(message))

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)


def files_of(message):
    """The files that a message shows."""
    return posted_files(getattr(message, "message", message))


def drawn(message):
    """The finished pictures that a message shows."""
    return [file for file in files_of(message) if file.name.startswith("darkroom")]


def source_of(message):
    """The picture that those of a message started from."""
    return next(file for file in files_of(message) if file.name.startswith("source"))


def text_of(message):
    """All that a message says."""
    shown = getattr(message, "message", message)
    return "\n".join([shown.content, *_texts(shown.components)])


def _texts(components):
    for component in components:
        if hasattr(component, "content"):
            yield component.content
        yield from _texts(getattr(component, "children", ()))


def png(size=(40, 30), colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


async def posted_before(server, *actions, **settings):
    """A message as it was posted before there were layouts: with attachments and buttons that name no creation."""
    request = ImageRequest("red apple", width=32, height=32, steps=8, **settings)
    file = discord.File(io.BytesIO(to_png(Image.new("RGB", (32, 32), "red"), parameters(request, 0, "tiny"))), "darkroom-0.png")
    view = discord.ui.View(timeout=None)
    for action in actions:
        view.add_item(discord.ui.Button(label=action, custom_id=f"darkroom:{action}:{server.alice.id}:0"))
    channel = server.env.bot.get_channel(server.channel.id)
    return await channel.send("**red apple**", file=file, view=view)


def sentence(result):
    """The one answer that only the member sees."""
    answers = [answer for answer in (result.response, *result.followups) if answer is not None]
    assert len(answers) == 1
    assert answers[0].ephemeral
    return answers[0].content


@contextlib.asynccontextmanager
async def opened(model, database_url=None, check=None, kind=Engine, **config):
    limits = Limits(side=256, steps=150, count=4)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with (
            Database(database_url or f"sqlite+aiosqlite:///{folder / 'journal.sqlite'}") as database,
            kind(model, EngineConfig(limits=limits, **config), check) as engine,
            simulated(GenerationService(engine, database, ImageStore(folder / "pictures")), Darkroom) as env,
        ):
            env.settle_timeout = PATIENCE
            guild = env.create_guild()
            channel = guild.create_text_channel("art")
            alice, bob = (guild.add_member(env.create_user(name)) for name in ("alice", "bob"))
            server = Server(env, engine, guild, channel, alice, bob)
            yield server
            await server.service.close()  # that of the last restart
            assert env.errors == []


@pytest.fixture(autouse=True)
def nothing_arrives_late(monkeypatch):
    """Let nobody wait for what a bot that ended has asked for last: the clock of the simulated Discord stands still."""
    monkeypatch.setattr(delivery, "ORIGINAL_RESPONSE_GRACE", -timedelta(days=1))


@pytest.fixture
async def server(tiny_model):
    async with opened(tiny_model) as server:
        yield server


@pytest.fixture
async def steerable_server(tiny_components):
    async with opened(model_of(tiny_components | {"classifier": build_classifier()})) as server:
        yield server
