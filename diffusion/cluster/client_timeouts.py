"""Timeouts of the bot's calls to replicas, and the errors of unreachable replicas."""

import asyncio
from typing import Final

import aiohttp

from diffusion.cluster.framing import BrokenFrameError

CONNECT_TIMEOUT_SECONDS: Final = 10.0
SILENCE_TIMEOUT_SECONDS: Final = 20.0  # then a replica counts as lost: several missed heartbeats
FIRST_RETRY_SECONDS: Final = 0.1  # between two attempts to reach a replica, doubled each time
MAX_RETRY_SECONDS: Final = 5.0
UNREACHABLE_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, BrokenFrameError)
