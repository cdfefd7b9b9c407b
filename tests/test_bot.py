"""The bot as a process of its own that draws with a remote engine."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest
from aiohttp import web

from cogs.core.simulator.loopback import LoopbackDiscord
from diffusion.cluster.framing import encode_frame
from diffusion.cluster.schema import encode_spec

PROGRAM = """
import sys
from cogs.core.simulator.connect import connect_to
connect_to(sys.argv[1])
import bot
status = bot.main([])
memory = open("/proc/self/status").read() if sys.platform == "linux" else ""
print("resident", [line.split()[1] for line in memory.splitlines() if line.startswith("VmRSS")])
print("loaded", *sorted({"torch", "diffusers", "transformers", "scipy", "ray"} & sys.modules.keys()))
sys.exit(status)
"""


@contextlib.asynccontextmanager
async def served_spec(model):
    """Serve what the bot asks a cluster at its start; yield the address."""

    async def answer(request):
        return web.Response(body=encode_frame(*encode_spec(model, can_screen=False)))

    application = web.Application()
    application.router.add_get("/{name}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a bot can handle")
async def test_bot_with_remote_engine_loads_no_network_libraries(tiny_model, tmp_path):
    async with LoopbackDiscord() as discord, served_spec(tiny_model) as engine:
        environment = os.environ | {
            "DISCORD_TOKEN": "loopback",
            "ENGINE": engine,
            "DATA_DIR": str(tmp_path),
            "DATABASE_URL": "",
        }
        bot = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, str(discord.port)), env=environment, stdout=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(60):
                await discord.ready.wait()
                bot.send_signal(signal.SIGTERM)
                output, _ = await bot.communicate()
        finally:
            if bot.returncode is None:
                bot.kill()
    print(output.decode())
    assert bot.returncode == 0
    assert output.decode().splitlines()[-1].split() == ["loaded"]
