"""What an operator sees when Discord refuses the bot: a sentence, or a start after another attempt."""

import asyncio
import contextlib
import logging
import socket

import discord
import pytest
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

import bot
from cogs.core import tasks
from cogs.core.connection import CLOSED, TOKEN_REJECTED, StoppedError
from cogs.core.logging import shorten_network_errors
from diffusion.serving.engine import Engine
from tests.support.databases import new_sqlite
from tests.support.refusing_discord import CLOUDFLARE, UNAUTHORIZED, RefusingDiscord
from tests.support.waiting import until

UNAVAILABLE = {"message": "503: Service Unavailable", "code": 0}
LIMITED = {"message": "You are being rate limited.", "retry_after": 0.05, "global": False}
INVALID_COMMANDS = {"message": "Invalid Form Body", "code": 50035, "errors": {}}
TOO_MANY_COMMANDS = {"message": "Max number of daily application command creates has been reached (200)", "code": 30034}
MISSING_ACCESS = {"message": "Missing Access", "code": 50001}
STOPS = {
    "401 at login": (("/users/@me", 401, UNAUTHORIZED), TOKEN_REJECTED),
    "401 of the application": (("/applications/@me", 401, UNAUTHORIZED), TOKEN_REJECTED),
    "403 at login": (("/users/@me", 403, MISSING_ACCESS), "Discord answered 403 Forbidden: Missing Access"),
    "401 of the gateway": (("/gateway/bot", 401, UNAUTHORIZED), TOKEN_REJECTED),
}
WAITS = {
    "Cloudflare 1015 at login": ("/users/@me", 429, CLOUDFLARE),
    "429 at login": ("/users/@me", 429, LIMITED),
    "503 at login": ("/users/@me", 503, UNAVAILABLE),
    "503 of the gateway": ("/gateway/bot", 503, UNAVAILABLE),
    "Cloudflare 1015 of the gateway": ("/gateway/bot", 429, CLOUDFLARE),
    "503 of the commands": ("/commands", 503, UNAVAILABLE),
}
SYNC_REFUSALS = {
    "50035": (400, INVALID_COMMANDS),
    "30034": (400, TOO_MANY_COMMANDS),
    "50001": (403, MISSING_ACCESS),
}


@pytest.fixture(autouse=True)
def logged(caplog, monkeypatch):
    """Log as the program does, and wait for no attempt."""
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(shorten_network_errors)
    monkeypatch.setattr(tasks, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(tasks, "MAX_WAIT_SECONDS", 0.01)
    yield caplog
    assert "Traceback" not in caplog.text and "secret-token" not in caplog.text


@contextlib.asynccontextmanager
async def running_bot(wire_port, tiny_model, folder, monkeypatch):
    """The bot as its program runs it, until the block ends."""
    monkeypatch.setattr(Route, "BASE", f"http://127.0.0.1:{wire_port}/api/v10")
    monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", yarl.URL(f"ws://127.0.0.1:{wire_port}/gateway"))
    monkeypatch.setattr(bot, "build_engine", lambda config: Engine(tiny_model))
    config = bot.Config(
        _env_file=None, discord_token="secret-token", data_dir=folder, database_url=new_sqlite(folder / "darkroom.sqlite")
    )
    task = asyncio.create_task(bot.run_on_discord(config))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(("refusal", "sentence"), STOPS.values(), ids=STOPS)
async def test_bot_stops_with_a_sentence(refusal, sentence, tiny_model, tmp_path, monkeypatch):
    async with RefusingDiscord() as wire:
        wire.refuse(*refusal)
        async with running_bot(wire.port, tiny_model, tmp_path, monkeypatch) as task:
            with pytest.raises(StoppedError) as stopped:
                await task
    assert sentence in str(stopped.value) and "<" not in str(stopped.value)


@pytest.mark.parametrize("refusal", WAITS.values(), ids=WAITS)
async def test_bot_tries_again_while_discord_is_down(refusal, logged, tiny_model, tmp_path, monkeypatch):
    async with RefusingDiscord() as wire:
        wire.refuse(*refusal, times=2)
        async with running_bot(wire.port, tiny_model, tmp_path, monkeypatch) as task:
            await until(lambda: wire.ready.is_set() or task.done())
            assert not task.done() and wire.refused == 2
    assert str(refusal[1]) in logged.text and "<html>" not in logged.text


@pytest.mark.parametrize(("status", "body"), SYNC_REFUSALS.values(), ids=SYNC_REFUSALS)
async def test_bot_starts_where_discord_refuses_its_commands(status, body, logged, tiny_model, tmp_path, monkeypatch):
    async with RefusingDiscord() as wire:
        wire.refuse("/commands", status, body)
        async with running_bot(wire.port, tiny_model, tmp_path, monkeypatch) as task:
            await until(lambda: wire.ready.is_set() or task.done())
            assert not task.done()
    (warning,) = [record for record in logged.records if "did not accept the commands" in record.message]
    assert warning.levelname == "WARNING" and body["message"] in warning.message


@pytest.mark.parametrize("code", CLOSED)
async def test_bot_stops_where_discord_closes_the_connection(code, tiny_model, tmp_path, monkeypatch):
    async with (
        RefusingDiscord(close_code=code) as wire,
        running_bot(wire.port, tiny_model, tmp_path, monkeypatch) as task,
    ):
        with pytest.raises(StoppedError) as stopped:
            await task
    assert str(stopped.value) == CLOSED[code]


async def test_bot_stops_when_its_token_is_reset(tiny_model, tmp_path, monkeypatch):
    async with RefusingDiscord() as wire, running_bot(wire.port, tiny_model, tmp_path, monkeypatch) as task:
        await until(wire.ready.is_set)
        await wire.kick(4004)
        with pytest.raises(StoppedError, match="rejected DISCORD_TOKEN"):
            await task


async def test_bot_stops_when_calls_are_refused_while_its_connection_stays(tiny_model, tmp_path, monkeypatch):
    async with RefusingDiscord() as wire, running_bot(wire.port, tiny_model, tmp_path, monkeypatch) as task:
        await until(wire.ready.is_set)
        wire.refuse("", 401, UNAUTHORIZED)
        interaction = await wire.ask(wire.members[0], "a red fox")
        with pytest.raises(StoppedError, match="rejected DISCORD_TOKEN"):
            await task
    assert interaction


async def test_bot_waits_for_a_network(logged, tiny_model, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with running_bot(port, tiny_model, tmp_path, monkeypatch) as task:
        await until(lambda: "Cannot connect to host" in logged.text or task.done())
        assert not task.done()


@pytest.mark.parametrize("token", ["first\nsecond", "with space", "Bot token", "tökén"])
def test_wrong_token_is_refused_before_the_start(token, monkeypatch, capsys):
    monkeypatch.setenv("DISCORD_TOKEN", token)
    assert bot.main([]) == 2
    told = capsys.readouterr().err
    assert told.startswith("The setting DISCORD_TOKEN is wrong: ") and len(told.splitlines()) == 1 and token not in told


async def test_resumed_connection_misses_no_command(tiny_model, tmp_path, monkeypatch):
    async with RefusingDiscord() as wire:
        wire.resumable = True
        async with running_bot(wire.port, tiny_model, tmp_path, monkeypatch):
            await until(wire.ready.is_set)
            await wire.disconnect()
            missed = await wire.ask(wire.members[0], "a red fox", steps=2)
            await until(lambda: wire.resumed == 1)
            await until(lambda: missed.responded)


def test_start_says_nothing_about_voice(logged, tiny_model):
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = True
    bot.Darkroom(None, bot.Config(_env_file=None))
    assert "voice" not in logged.text
