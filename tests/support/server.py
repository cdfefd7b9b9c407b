"""A simulated Discord server with the real bot in it, on a model of toy size."""

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord

from bot import Darkroom
from cogs.core.generation.service import GenerationService
from cogs.core.simulator import layouts  # noqa: F401  (importing it makes simcord give layouts as Discord does)
from cogs.core.simulator.browser import reply_to_errors, simulated, spawn_outside
from cogs.core.storage.database import Database
from cogs.core.storage.images import ImageStore
from cogs.core.storage.stores import Stores
from diffusion.config import EngineConfig
from diffusion.request import Limits
from diffusion.serving.engine import Engine
from tests.support.actions import has_actions
from tests.support.databases import new_sqlite
from tests.support.messages import pictures_of, text_of
from tests.support.waiting import WAIT_SECONDS, until


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

    async def until_idle(self):
        """Wait until nothing is under way."""
        await self.until(lambda: not self.service.background)

    async def restart(self):
        """End the bot as a crash would, as far as the journal can tell, and start another."""
        before = self.service
        await before.close()
        service = GenerationService(self.engine, Stores.of(before.database, before.image_store))
        service.background.spawn = spawn_outside(self.env)
        await self.env.restart_bot(Darkroom(service))
        reply_to_errors(self.env)

    async def until_finished(self, message, pictures=1):
        """Wait until ``message`` shows its pictures and what can be done with them."""
        return await self.until(lambda: len(pictures_of(message)) == pictures and has_actions(message))

    async def until(self, condition):
        """Wait until ``condition`` holds; fail with all that the channel shows then."""
        return await until(condition, seen=self.shown)

    def shown(self):
        """All that the channel shows, and the jobs that are under way."""
        messages = [f"{message.id}: {text_of(message)}" for message in self.channel.history()]
        return "\n".join([*messages, f"jobs: {list(self.service.jobs)}"])


@contextlib.asynccontextmanager
async def open_server(model, database_url=None, check=None, kind=Engine, **config):
    limits = Limits(side=256, steps=150, count=4)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # a thread may still write a picture
        folder = Path(temporary)
        async with (
            Database(database_url or new_sqlite(folder / "darkroom.sqlite")) as database,
            kind(model, EngineConfig(limits=limits, **config), check) as engine,
            simulated(GenerationService(engine, Stores.of(database, ImageStore(folder / "pictures"))), Darkroom) as env,
        ):
            env.settle_timeout = WAIT_SECONDS
            guild = env.create_guild()
            channel = guild.create_text_channel("art")
            alice, bob = (guild.add_member(env.create_user(name)) for name in ("alice", "bob"))
            server = Server(env, engine, guild, channel, alice, bob)
            yield server
            await server.service.close()  # that of the last restart
            assert env.errors == []


def add_moderator(server, name="moderator"):
    role = server.guild.create_role("moderators", permissions=discord.Permissions(manage_messages=True))
    return server.guild.add_member(server.env.create_user(name), roles=[role])
