"""Connect a bot to a `LoopbackDiscord` of another process.

This does not import simcord, which the bot does not need.
"""

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route


def connect_to(port: int) -> None:
    """Direct discord.py in this process to the `LoopbackDiscord` at ``port``."""
    Route.BASE = f"http://127.0.0.1:{port}/api/v10"
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://127.0.0.1:{port}/gateway")
