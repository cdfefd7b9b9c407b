"""Darkroom: ``python bot.py`` runs the bot on Discord, ``python bot.py preview`` in a simulated one in the browser."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import discord
from discord.app_commands import AppCommandContext, AppInstallationType
from discord.ext import commands
from pydantic import ValidationError

from cogs.core.command_tree import CommandTree
from cogs.core.config import EMBEDDED, LIVE, Config, told
from cogs.core.i18n.catalogues import CommandTranslator
from cogs.core.logging import log_creation, log_creation_with_prompt, set_up
from cogs.core.messages.components import PersistentItem
from cogs.core.sharding import leads
from diffusion.errors import DarkroomError
from diffusion.request import Limits

log = logging.getLogger(__name__)
EXTENSIONS = (
    "cogs.imagine",
    "cogs.similar",
    "cogs.inpaint",
    "cogs.outpaint",
    "cogs.morph",
    "cogs.context_menus",
    "cogs.queue",
    "cogs.history",
    "cogs.lineage",
    "cogs.privacy.deletions",
    "cogs.settings.cog",
    "cogs.moderation.cog",
    "cogs.moderation.review",
    "cogs.privacy.cog",
    "cogs.usage",
    "cogs.about",
    "cogs.models",
    "cogs.results.buttons",
    "cogs.results.timelapse",
    "cogs.emoji.cog",
    "cogs.core.messages.confirm",
    "cogs.admin",
)
NO_TOKEN = (
    "DISCORD_TOKEN is not set: put your bot's token into .env (.env.example shows how),"
    " or try Darkroom without one: python bot.py preview"
)


class Darkroom(commands.AutoShardedBot):
    """The bot, or the part of it that serves some shards: its cogs find the studio on it."""

    def __init__(self, service: Any, settings: Config | None = None) -> None:
        self.service, self.settings = service, settings or Config()
        super().__init__(
            commands.when_mentioned,
            intents=discord.Intents.default(),
            help_command=None,
            tree_cls=CommandTree,
            max_messages=None,  # no message is ever looked up in a cache
            allowed_installs=AppInstallationType(guild=True, user=True),
            allowed_contexts=AppCommandContext(guild=True, dm_channel=True, private_channel=True),
            shard_count=self.settings.shard_count,
            shard_ids=list(self.settings.shard_ids) or None,  # type: ignore[arg-type]  # None: all of them
        )

    async def setup_hook(self) -> None:
        """Load the cogs and tell Discord their commands."""
        for extension in EXTENSIONS:
            await self.load_extension(extension)
        self.add_dynamic_items(*PersistentItem.declared)
        await self.tree.set_translator(CommandTranslator())
        if leads(self.settings.shard_ids):
            await self.tree.sync()
        await self.service.open(self)

    def load_model(self, name: str) -> tuple[Any, Any]:
        """Load one of the models offered, with what checks its pictures; raises `ModelLoadError`."""
        return load_model(self.settings, name)

    def reload_settings(self) -> tuple[list[str], list[str]]:
        """Read the settings again and apply what can change meanwhile.

        Gives the names of those that were applied and of those that wait for a restart. Raises `DarkroomError` for a wrong one,
        and then nothing has changed.
        """
        try:
            fresh = Config()
            styles = _styles(fresh)
        except ValidationError as error:
            raise DarkroomError(told(error)) from error
        changed = [name for name in Config.model_fields if getattr(fresh, name) != getattr(self.settings, name)]
        applied = [name for name in changed if name in LIVE]
        self.settings = self.settings.model_copy(update={name: getattr(fresh, name) for name in applied})
        engine, image_store = self.service.engine, self.service.image_store
        engine.config = replace(engine.config, **_engine_settings(self.settings))
        image_store.max_bytes, image_store.max_days = _image_store_limits(self.settings)
        self.service.rules.daily = self.settings.daily_allowance
        self.service.builder.offer(styles)
        if "log_level" in applied:
            logging.getLogger().setLevel(self.settings.log_level)
        return applied, [name for name in changed if name not in LIVE]


def load_model(settings: Config, name: str) -> tuple[Any, Any]:
    """Load the model ``name``, one of those offered, with what checks its pictures; raises `ModelLoadError`."""
    if settings.engine:
        from diffusion.cluster.remote import load

        return load(settings.engine, name)

    import torch

    from diffusion import StableDiffusion
    from diffusion.safety import load_safety_check

    if token := settings.hf_token.get_secret_value():
        os.environ["HF_TOKEN"] = token  # where the hub's library looks for it; .env alone does not put it there
    source = None if name == EMBEDDED else name
    dtype = getattr(torch, settings.dtype) if settings.dtype else None
    model = StableDiffusion.from_pretrained(source, settings.device, dtype, settings.attention)
    unsafe = [label.strip() for label in settings.safety_labels.split(",") if label.strip()]
    return model, load_safety_check(source, settings.safety_model, unsafe, settings.safety_threshold, settings.device)


def build_engine(settings: Config) -> Any:
    """Load the first of the models offered and set the engine up, here or elsewhere; raises `ModelLoadError`."""
    from diffusion import Engine, EngineConfig

    model, check = load_model(settings, settings.offered[0])
    config = EngineConfig(**_engine_settings(settings), compile=settings.compile)
    if settings.engine:
        from diffusion.cluster.remote import RemoteEngine

        return RemoteEngine(model, config, check)
    return Engine(model, config, check)


def _engine_settings(settings: Config) -> dict[str, Any]:
    limits = Limits(settings.max_side, settings.max_steps, settings.max_count, settings.max_frames)
    return {"max_rows": settings.max_rows, "max_waiting": settings.max_waiting, "limits": limits}


def _styles(settings: Config) -> Any:
    from cogs.core.request.styles import read_styles

    return read_styles(settings.styles_file) if settings.styles_file else None


def _image_store_limits(settings: Config) -> tuple[int, float]:
    return int(settings.data_max_gb * 1e9), settings.data_max_days


@contextlib.asynccontextmanager
async def open_service(settings: Config, folder: Path, part: str = "") -> AsyncIterator[Any]:
    """Set up all that works behind the bot, or behind a ``part`` of it, with its data in ``folder``; raises `DarkroomError`."""
    from cogs.core.generation.service import GenerationService
    from cogs.core.storage.database import Database
    from cogs.core.storage.lease import Lease
    from cogs.core.storage.object_store import open_image_store

    url = (
        settings.database_url.get_secret_value()
        if settings.database_url
        else f"sqlite+aiosqlite:///{folder / 'journal.sqlite'}"
    )
    pictures = settings.pictures_url.get_secret_value() if settings.pictures_url else str(folder / "pictures")
    image_store = await asyncio.to_thread(open_image_store, pictures, *_image_store_limits(settings))
    styles = _styles(settings)
    async with Database(url) as database, build_engine(settings) as engine:
        service = GenerationService(
            engine,
            database,
            image_store,
            max_per_member=settings.max_waiting_per_member,
            daily_allowance=settings.daily_allowance,
            styles=styles,
            lease=Lease(database, part),
            leads=leads(settings.shard_ids),
        )
        service.creation_store.watchers.append(log_creation_with_prompt if settings.log_prompts else log_creation)
        with contextlib.ExitStack() as serving:
            if settings.metrics_port is not None:
                serving.enter_context(service.metrics.served(settings.metrics_host, settings.metrics_port))
            yield service


async def on_discord(settings: Config) -> None:
    """Run the real bot until it is stopped: SIGTERM or Ctrl+C lets it finish what it can, a second one does not."""
    folder = settings.data_dir or Path("data")
    async with open_service(settings, folder, settings.part) as service, Darkroom(service, settings) as bot:
        stops: asyncio.Queue[None] = asyncio.Queue()
        with contextlib.suppress(NotImplementedError):  # Windows has no signals of this kind
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stops.put_nowait, None)
        running = asyncio.create_task(bot.start(settings.discord_token.get_secret_value()))
        try:
            if not await _first(running, stops.get()):
                log.info("stopping: what runs has %g s to finish", settings.grace_seconds)
                await _first(asyncio.create_task(service.close(settings.grace_seconds)), stops.get())
        finally:
            await service.close()
        await bot.close()
        await running


async def _first(task: "asyncio.Task[None]", stop: Any) -> bool:
    """Wait for ``task``, but no longer than for ``stop``; say whether it ended by itself."""
    stopped = asyncio.ensure_future(stop)
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if task.done():
        task.result()
    return task.done()


async def in_browser(settings: Config) -> None:
    """Run the bot in a simulated Discord until the page ends it."""
    try:
        from cogs.core.simulator.browser import serve
    except ModuleNotFoundError as error:
        raise DarkroomError(f"The preview needs {error.name}: pip install -e '.[preview]'") from None
    # Nothing of the real bot's: it would take up what its members wait for.
    own: dict[str, Any] = {"shard_count": None, "shard_ids": (), "database_url": None, "pictures_url": None}
    settings = settings.model_copy(update=own)
    make_bot = partial(Darkroom, settings=settings)
    print("Loading the model…", flush=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-") as temporary:
        folder = settings.data_dir / "preview" if settings.data_dir else Path(temporary)
        async with open_service(settings, folder) as service:
            serving = asyncio.create_task(serve(service, make_bot, settings.preview_port))
            with contextlib.suppress(NotImplementedError):  # Windows has no such signal; a temporary folder is left there
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await serving


def main(arguments: list[str] | None = None) -> int:
    """Run as asked on the command line; what stops the start is told in one sentence."""
    parser = argparse.ArgumentParser("python bot.py", description=__doc__)
    parser.add_argument("where", nargs="?", choices=["discord", "preview"], default="discord")
    run: Callable[[Config], Any] = on_discord
    if parser.parse_args(arguments).where == "preview":
        run = in_browser
    try:
        settings = Config()
        if run is on_discord and not settings.discord_token.get_secret_value():
            raise DarkroomError(NO_TOKEN)
        level = settings.log_level if run is on_discord else "ERROR"
        set_up(level, settings.log_format, settings.discord_token.get_secret_value())
        asyncio.run(run(settings))
    except KeyboardInterrupt:
        return 0
    except ValidationError as error:
        print(told(error), file=sys.stderr)
        return 2
    except discord.LoginFailure:
        print("Discord did not accept DISCORD_TOKEN: copy it anew from the developer portal.", file=sys.stderr)
        return 2
    except DarkroomError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:  # Discord out of reach, the preview's port taken
        print(f"The bot had to stop: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
