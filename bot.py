"""Darkroom, a Discord bot that draws pictures by diffusion.

This module is the composition root: it reads the configuration and builds the engine, the stores, the service and the bot.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import discord
from discord.app_commands import AppCommandContext, AppInstallationType
from discord.ext import commands
from pydantic import ValidationError

from cogs import EXTENSIONS
from cogs.core.backups import run_backup, run_restore
from cogs.core.config import EMBEDDED_MODEL, RELOADABLE, Config, format_validation_error, model_name
from cogs.core.connection import (
    FAILED_STATUS,
    SETTINGS_STATUS,
    SYNC_WAIT_SECONDS,
    TokenWatch,
    learn_commands,
    run_client,
    sync_commands,
)
from cogs.core.dashboard.opening import open_dashboard
from cogs.core.generation.service import Describe, GenerationService
from cogs.core.i18n.catalogues import CommandTranslator
from cogs.core.logging import configure_logging
from cogs.core.messages.components import PersistentItem
from cogs.core.messages.decode_process import check_decoding
from cogs.core.messages.interactions import CommandTree
from cogs.core.policy.limits import MemberLimits
from cogs.core.request.styles import Style, read_styles
from cogs.core.sharding import is_leader
from cogs.core.storage.database import Database
from cogs.core.storage.exclusive import hold_shards, lock_data
from cogs.core.storage.lease import Lease
from cogs.core.storage.object_store import open_image_store
from cogs.core.storage.step_journal import StepJournal
from cogs.core.storage.stores import Stores
from diffusion.config import EngineConfig
from diffusion.errors import DarkroomError, ModelLoadError, reason_of
from diffusion.redaction import add_secrets, redact
from diffusion.request import Limits
from diffusion.serving.interface import ImageEngine
from diffusion.serving.offers import Offer

log = logging.getLogger(__name__)
NO_TOKEN = (
    "DISCORD_TOKEN is not set. Put your bot's token into .env (.env.example shows how),"
    " or try Darkroom without a token: darkroom preview"
)
NO_SIMULATOR = "The preview needs the package {name}. Install it: pip install 'darkroom[preview]'"
NO_DESCRIBER = "DESCRIBE_MODEL needs an engine in the bot's process. Leave out DESCRIBE_MODEL or ENGINE."
# Messages are for those that are deleted, and for members who mention the bot or write to it.
INTENTS = discord.Intents(guilds=True, expressions=True, guild_messages=True, dm_messages=True)
REACTION_INTENTS = discord.Intents(guild_reactions=True, dm_reactions=True)  # not privileged


class Darkroom(commands.AutoShardedBot):
    """The bot, or the part of it that serves the shards of ``config``.

    Cogs find the service at ``service``.
    """

    def __init__(self, service: GenerationService, config: Config | None = None) -> None:
        self.service = service
        self.config = config or Config()
        self.token_watch = TokenWatch()
        self._syncing: asyncio.Task[None] | None = None
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # the bot never speaks
        super().__init__(
            command_prefix=(),  # all commands are slash commands
            intents=INTENTS | REACTION_INTENTS if self.config.reactions else INTENTS,
            help_command=None,
            tree_cls=CommandTree,
            max_messages=None,  # the bot never looks up a message in a cache
            allowed_installs=AppInstallationType(guild=True, user=True),
            allowed_contexts=AppCommandContext(guild=True, dm_channel=True, private_channel=True),
            shard_count=self.config.shard_count,
            http_trace=self.token_watch.trace,
            shard_ids=list(self.config.shard_ids) or None,  # type: ignore[arg-type]  # None: all of them
        )

    async def setup_hook(self) -> None:
        """Load the cogs, register their commands with Discord, and open the service."""
        for extension in EXTENSIONS:
            await import_module(extension).setup(self)
        self.add_dynamic_items(*PersistentItem.declared.values())
        await self.tree.set_translator(CommandTranslator())
        if is_leader(self.config.shard_ids):
            self._syncing = asyncio.create_task(sync_commands(self.tree))
            await asyncio.wait([self._syncing], timeout=SYNC_WAIT_SECONDS)
        else:
            self._syncing = asyncio.create_task(learn_commands(self.tree))
        await self.service.open(self)

    def mention_command(self, name: str) -> str:
        """Return the command ``name``, such as "settings mine", as members can click it."""
        return self.tree.mention(name) if isinstance(self.tree, CommandTree) else f"`/{name}`"

    async def close(self) -> None:
        """Close the connection to Discord."""
        if self._syncing:
            self._syncing.cancel()
        await super().close()

    def load_model(self, name: str) -> tuple[Any, Any]:
        """Load the model ``name`` and its safety check; raises `ModelLoadError`."""
        return load_model(self.config, name)

    def reload_config(self) -> tuple[list[str], list[str]]:
        """Read the configuration again and apply what needs no restart.

        Returns the names of the applied settings and of those that wait for a restart. Raises `DarkroomError` for a wrong
        value; then nothing changes.
        """
        try:
            fresh = Config()
            styles = _read_styles(fresh)
        except ValidationError as error:
            raise DarkroomError(format_validation_error(error)) from error
        changed = [name for name in Config.model_fields if getattr(fresh, name) != getattr(self.config, name)]
        applied = [name for name in changed if name in RELOADABLE]
        self.config = self.config.model_copy(update={name: getattr(fresh, name) for name in applied})
        engine = self.service.engine
        engine.config = replace(
            engine.config,
            max_rows=self.config.max_rows,
            max_waiting=self.config.max_waiting,
            max_waiting_seconds=self.config.max_waiting_seconds,
            limits=_limits(self.config),
        )
        image_store = self.service.image_store
        image_store.max_bytes = self.config.data_max_bytes
        image_store.max_days = self.config.data_max_days
        self.service.personal_data.erasure.max_days = self.config.requests_max_days
        self.service.stores.server_store.max_days = self.config.server_data_days
        self.service.rules.limits = _member_limits(self.config)
        self.service.builder.custom_styles = styles
        self.service.builder.default_count = _default_count(self.config, engine)
        if "models" in applied:
            self.service.background.start(engine.offer(offers_of(self.config)))
        if "log_level" in applied:
            logging.getLogger().setLevel(self.config.log_level)
        return applied, [name for name in changed if name not in RELOADABLE]


def load_model(config: Config, name: str) -> tuple[Any, Any]:
    """Load the model ``name`` and its safety check, here or from the remote engine.

    Raises `ModelLoadError`.
    """
    if config.engine:
        from diffusion.cluster.remote import load

        return load(config.engine, name, config.engine_secret.get_secret_value())

    from diffusion.loading.device import why_not_loaded

    try:
        return _load_model_here(config, name)
    except DarkroomError:
        raise
    except Exception as error:  # libraries raise anything, and memory may run out anywhere
        raise ModelLoadError(name, why_not_loaded(error)) from error


def _load_model_here(config: Config, name: str) -> tuple[Any, Any]:
    import torch

    import diffusion
    from diffusion.loading.model import plan_model
    from diffusion.loading.upscaler import load_upscaler
    from diffusion.safety import load_safety_check

    if token := config.hf_token.get_secret_value():
        os.environ["HF_TOKEN"] = token  # the hub's library reads the environment, not .env
    source = None if name == EMBEDDED_MODEL else name
    dtype = getattr(torch, config.dtype) if config.dtype else None
    device: Any = config.device
    if source or config.models_max_bytes:
        plan = plan_model(source, config.device, dtype, **_other_parts(config, name), max_bytes=config.models_max_bytes)
        log.info(plan.sentence)
        device = plan.placement
    upscaler = load_upscaler(config.upscaler, config.device) if config.upscaler else None
    model = diffusion.load_model(source, device, dtype, config.attention, **_other_parts(config, name))
    _apply_settings(model, config, name)
    if upscaler:
        model.offer_upscaler(upscaler)
    labels = map(str.strip, config.safety_labels.split(","))
    unsafe = [label for label in labels if label]
    return model, load_safety_check(source, config.safety_model, unsafe, config.safety_threshold, config.device)


def describe_model(config: Config, name: str) -> tuple[Any, int]:
    """Describe the model ``name`` without its weights: what it accepts, and its bytes of memory.

    Raises `ModelLoadError`.
    """
    import torch

    from diffusion.loading.model import describe_model, plan_of

    source = None if name == EMBEDDED_MODEL else name
    dtype = getattr(torch, config.dtype) if config.dtype else None
    model = describe_model(source, config.device, dtype, **_other_parts(config, name))
    plan = plan_of(model, source, config.device, config.models_max_bytes)
    _apply_settings(model, config, name)
    return model, plan.need.weight_bytes


def _other_parts(config: Config, name: str) -> dict[str, str | None]:
    """Return the files of parts that the settings name for the model ``name``, in place of its own."""
    return {"vae": config.vae, "denoiser": config.denoiser if name == config.model_names[0] else None}


def _apply_settings(model: Any, config: Config, name: str) -> None:
    """Add the embeddings and LoRAs to ``model``, and its defaults in the file of MODELS; raises `ModelLoadError`."""
    from diffusion.families.defaults import override
    from diffusion.loading.embeddings import add_embeddings
    from diffusion.loading.lora_sources import find_lora_sources

    if own := config.models.get(name):
        place = f'["{name}"] in the file of MODELS'
        model.set_defaults(override(model.defaults, json.dumps(own, default=str), source=name, place=place))
        if model.defaults.sampler not in model.samplers:
            known = ", ".join(model.samplers)
            raise ModelLoadError(name, f"{place}: its sampler {model.defaults.sampler} does not suit it. Name one of {known}.")
    if config.embeddings:
        add_embeddings(model, config.embeddings)
    model.offer_loras(find_lora_sources(config.loras), config.loras_max_bytes)


def offers_of(config: Config) -> dict[str, Offer]:
    """Return the models that members can choose, by the names that they read."""
    return {
        model_name(source): Offer(partial(load_model, config, source), partial(describe_model, config, source))
        for source in config.model_names
    }


def build_engine(config: Config) -> ImageEngine:
    """Load the first model of ``config`` and build the engine that draws with it.

    Raises `ModelLoadError`.
    """
    model, check = load_model(config, config.model_names[0])
    engine_config = EngineConfig(
        max_rows=config.max_rows,
        max_waiting=config.max_waiting,
        max_waiting_seconds=config.max_waiting_seconds,
        limits=_limits(config),
        models_max_bytes=config.models_max_bytes,
        compile=config.compile,
    )
    name = model_name(config.model_names[0])
    if config.engine:
        from diffusion.cluster.remote import RemoteEngine

        return RemoteEngine(model, engine_config, check, name=name)

    from diffusion.serving.engine import Engine

    return Engine(model, engine_config, check, name=name)


def _describer(config: Config, engine: Any) -> Describe | None:
    """Return the function that describes pictures, None without one; raises `DarkroomError`."""
    if not config.describe_model:
        return None
    if config.engine:
        raise DarkroomError(NO_DESCRIBER)

    from diffusion.describer import load_describer

    return partial(engine.describe_image, by=load_describer(config.describe_model, config.device))


def _limits(config: Config) -> Limits:
    return Limits(config.max_side, config.max_steps, config.max_count, config.max_frames)


def _default_count(config: Config, engine: ImageEngine) -> int:
    """Return how many pictures a prompt makes: on a processor one, on an accelerator as many as fit in a square grid."""
    return config.default_count or (1 if str(engine.model.device) == "cpu" else config.max_count)


def _step_journal(folder: Path, process_name: str) -> StepJournal:
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(character if character.isalnum() else "-" for character in process_name)
    return StepJournal(folder / f"step{name and '-' + name}.json")


def _member_limits(config: Config) -> MemberLimits:
    return MemberLimits(
        daily=config.daily_allowance,
        unfinished=config.max_waiting_per_member,
        request_seconds=config.max_request_seconds,
        queue_share=config.max_queue_share,
        silent_wait_seconds=config.max_silent_wait_seconds,
    )


def _read_styles(config: Config) -> Mapping[str, Style] | None:
    return read_styles(config.styles_file) if config.styles_file else None


@contextlib.asynccontextmanager
async def open_service(config: Config, folder: Path) -> AsyncIterator[GenerationService]:
    """Open the database, the image store and the engine; yield the service.

    SQLite and the images are in ``folder`` unless ``config`` names other places. Raises `DarkroomError`.
    """
    process_name = config.process_name
    styles = _read_styles(config)
    url = config.database_location(folder)
    location = config.pictures_location(folder)
    async with contextlib.AsyncExitStack() as opened:
        opened.enter_context(lock_data(config.exclusive_places(folder), process_name))
        await opened.enter_async_context(hold_shards(url, config.shard_ids))
        image_store = await asyncio.to_thread(open_image_store, location, config.data_max_bytes, config.data_max_days)
        database = await opened.enter_async_context(Database(url))
        engine = await opened.enter_async_context(build_engine(config))
        await engine.offer(offers_of(config))
        service = GenerationService(
            engine,
            Stores.of(database, image_store, Lease(database, process_name), _step_journal(folder, process_name)),
            member_limits=_member_limits(config),
            styles=styles,
            leads=is_leader(config.shard_ids),
        )
        service.builder.default_count = _default_count(config, engine)
        service.describe = _describer(config, engine)
        service.personal_data.erasure.max_days = config.requests_max_days
        service.stores.server_store.max_days = config.server_data_days
        service.creation_store.logs_prompts = config.log_prompts
        if config.metrics_port is not None:
            opened.enter_context(service.metrics.serve(config.metrics_host, config.metrics_port))
        await opened.enter_async_context(open_dashboard(service, config))
        yield service


async def run_on_discord(config: Config) -> None:
    """Run on Discord until stopped.

    The first SIGTERM or Ctrl+C lets running requests finish. A second one stops the bot at once.
    """
    folder = config.data_dir or Path("data")
    async with open_service(config, folder) as service, Darkroom(service, config) as bot:
        checking = asyncio.create_task(asyncio.to_thread(check_decoding))
        stop_signals: asyncio.Queue[None] = asyncio.Queue()
        with contextlib.suppress(NotImplementedError):  # Windows cannot handle these signals
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop_signals.put_nowait, None)
        running = asyncio.create_task(run_client(bot, config.discord_token.get_secret_value(), bot.token_watch))
        try:
            if not await _ended_before(running, stop_signals.get()):
                log.info("stopping: running requests have %g s to finish", config.grace_seconds)
                closing = asyncio.create_task(service.close(config.grace_seconds))
                await _ended_before(closing, stop_signals.get())
        finally:
            await service.close()
        await checking
        await bot.close()
        running.cancel()  # it may wait for Discord to come back
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _ended_before(task: "asyncio.Task[None]", stop: Awaitable[None]) -> bool:
    """Wait for ``task`` or ``stop``; return whether ``task`` ended first.

    Raises the error of ``task``.
    """
    stopped = asyncio.ensure_future(stop)
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if task.done():
        task.result()
    return task.done()


async def run_simulator(config: Config) -> None:
    """Run in a simulated Discord in the browser until the page or a signal ends it."""
    try:
        from cogs.core.simulator.browser import serve
    except ModuleNotFoundError as error:
        raise DarkroomError(NO_SIMULATOR, name=error.name) from None
    config = config.for_simulator()
    make_bot = partial(Darkroom, config=config)
    print("Loading the model…", flush=True)
    with tempfile.TemporaryDirectory(prefix="darkroom-") as temporary:
        folder = config.data_dir / "preview" if config.data_dir else Path(temporary)
        async with open_service(config, folder) as service:
            serving = asyncio.create_task(serve(service, make_bot, config.simulator_port))
            with contextlib.suppress(NotImplementedError):  # Windows has no SIGTERM: the temporary folder stays there
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await serving


def main(arguments: list[str] | None = None) -> int:
    """Run the command line ``darkroom [discord | preview | backup DIR | restore DIR]``; return the exit status.

    An error that stops it is printed as one sentence.
    """
    modes: Mapping[str, Callable[[Config], Coroutine[Any, Any, None]]] = {"discord": run_on_discord, "preview": run_simulator}
    folder_modes = {"backup": run_backup, "restore": run_restore}
    parser = argparse.ArgumentParser("darkroom", description="A Discord bot that draws pictures by diffusion.")
    parser.add_argument(
        "mode",
        nargs="?",
        choices=[*modes, *folder_modes],
        default="discord",
        help="discord runs the bot (default), preview opens a simulated Discord in the browser,"
        " backup saves the bot's data while it runs, restore gives them to a new bot",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="the folder of the backup")
    given = parser.parse_args(arguments)
    mode: str = given.mode
    if (given.folder is not None) is not (mode in folder_modes):
        parser.error(f"{mode} needs a folder" if mode in folder_modes else f"{mode} takes no folder")
    run = partial(folder_modes[mode], folder=given.folder) if mode in folder_modes else modes[mode]
    try:
        config = Config()
        add_secrets(config.secrets)
        if mode == "discord" and not config.discord_token.get_secret_value():
            raise DarkroomError(NO_TOKEN)
        configure_logging(config.log_level if mode == "discord" else "ERROR", config.log_format)
        asyncio.run(run(config))
    except KeyboardInterrupt:
        return 0
    except ValidationError as error:
        print(format_validation_error(error), file=sys.stderr)
        return SETTINGS_STATUS
    except DarkroomError as error:
        print(error, file=sys.stderr)
        return getattr(error, "status", SETTINGS_STATUS)
    except OSError as error:  # a port is taken, or the disk fails
        print(redact(f"The bot had to stop: {error}"), file=sys.stderr)
        return FAILED_STATUS
    except Exception as error:  # of a library, for which nobody was prepared
        log.debug("the bot had to stop", exc_info=True)
        print(redact(f"The bot had to stop: {type(error).__name__}: {reason_of(error)}"), file=sys.stderr)
        return FAILED_STATUS
    return 0


if __name__ == "__main__":
    sys.exit(main())
