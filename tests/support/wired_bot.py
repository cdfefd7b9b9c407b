"""The real bot in a process of its own, with its own HTTP and gateway clients, connected to a `LoopbackDiscord`."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads would not survive the fork

import torch

import bot
import cogs.core.storage.lease
from cogs.core.simulator.connect import connect_to
from diffusion import Engine
from diffusion.loading.random_weights import build_tiny_components
from tests.support.models import model_of

torch.set_num_threads(1)
MODEL = model_of(build_tiny_components())


def die_of(prompt):
    predict, cursed = MODEL.predict_noise, MODEL.family.encode(prompt, MODEL.request(prompt)).tensors["prompt_embeds"]

    def predict_noise(latents, timesteps, conditions):
        if (conditions.tensors["prompt_embeds"] == cursed).flatten(1).all(1).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return predict(latents, timesteps, conditions)

    MODEL.predict_noise = predict_noise


def run(port, folder, grace=30.0, lease=cogs.core.storage.lease.LEASE_SECONDS, poison="", **settings):
    """Run until killed or told to stop; what it says goes to a file in ``folder``.

    A step with a picture of the prompt ``poison`` ends the process as a crash does.
    """
    if poison:
        die_of(poison)
    sys.stderr = sys.stdout = open(Path(folder) / "bot.log", "a", buffering=1)  # noqa: SIM115
    cogs.core.storage.lease.LEASE_SECONDS = lease
    connect_to(port)
    bot.build_engine = lambda settings: Engine(MODEL)
    given = {"discord_token": "wire", "data_dir": folder, "database_url": "", "grace_seconds": grace} | settings
    config = bot.Config(_env_file=None, **given)
    bot.discord.utils.setup_logging(level=logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    asyncio.run(bot.run_on_discord(config))
