"""The bot's way to the replicas: how long it waits for them, and what says that one was lost or not reached."""

import asyncio
from typing import Final

import aiohttp

from diffusion.cluster.framing import BrokenFrameError

CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 20.0  # after which a replica counts as lost, several of its heartbeats
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between two tries to reach one
UNREACHED: Final = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, BrokenFrameError)
