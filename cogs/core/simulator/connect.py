"""Where discord.py finds the `LoopbackDiscord`. Apart from it, so that a bot's process needs nothing of simcord."""

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route


def connect_to(port: int) -> None:
    """Let discord.py in this process take the `LoopbackDiscord` at ``port`` for Discord."""
    Route.BASE = f"http://127.0.0.1:{port}/api/v10"
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"ws://127.0.0.1:{port}/gateway")
