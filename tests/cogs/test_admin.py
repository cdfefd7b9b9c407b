"""The commands of /admin, and what members notice of them."""

import asyncio
import json
import logging
import socket
import urllib.request

import discord
import pytest

import bot
from cogs.core.generation.maintenance import Maintenance
from cogs.core.generation.service import DRAINING
from cogs.core.logging import configure_logging
from cogs.core.policy.permissions import OPERATORS_ONLY
from diffusion.errors import DarkroomError
from diffusion.request import Limits
from tests.support.jobs import ask, slow_down
from tests.support.messages import private_text, text_of


@pytest.fixture
def administrators(server):
    """Two who see the commands; only the first runs the bot."""
    role = server.guild.create_role("administrators", permissions=discord.Permissions(administrator=True))
    first, second = (server.guild.add_member(server.env.create_user(name), roles=[role]) for name in ("olga", "otto"))
    server.env.bot.owner_id = first.id
    return first, second


@pytest.fixture
def operator(administrators):
    return administrators[0]


@pytest.mark.parametrize("command", ["pause", "resume", "drain", "reload", "announce"])
async def test_admin_refuses_other_administrators(server, administrators, command):
    options = {"text": "hello"} if command == "announce" else {}
    assert private_text(await administrators[1].slash(server.channel, f"admin {command}", **options)) == OPERATORS_ONLY
    assert not server.engine.paused and not server.service.closed_reason


async def test_pause_holds_jobs_until_resume(server, operator):
    await operator.slash(server.channel, "admin pause")
    result = await server.bob.slash(server.channel, "imagine", prompt="red apple", steps=2)
    (job,) = server.service.jobs.values()
    assert "waiting: 1" in private_text(await operator.slash(server.channel, "admin pause"))
    assert job.progress.completed == 0
    await operator.slash(server.channel, "admin resume")
    await server.until_finished(result.response)


async def test_drain_finishes_jobs_and_refuses_new_ones_until_resume(server, operator, monkeypatch):
    slow_down(server, monkeypatch)
    message = await ask(server)
    told = await operator.slash(server.channel, "admin drain")
    assert private_text(await server.bob.slash(server.channel, "imagine", prompt="late")) == DRAINING
    await server.until_finished(message)
    await server.until(lambda: "all requests are finished" in told.response.content)
    await operator.slash(server.channel, "admin resume")
    await server.until_finished((await server.bob.slash(server.channel, "imagine", prompt="now", steps=2)).response)


async def test_reload_applies_settings(server, operator, monkeypatch):
    monkeypatch.setenv("MAX_SIDE", "128")
    monkeypatch.setenv("DTYPE", "float16")
    text = private_text(await operator.slash(server.channel, "admin reload"))
    assert "Applied: `MAX_SIDE`" in text and "After a restart: `DTYPE`" in text
    assert server.engine.config.limits == Limits(side=128)
    refused = await server.bob.slash(server.channel, "imagine", prompt="fox", size="256")
    assert "as many pixels as 128x128" in private_text(refused)


async def test_reload_applies_styles_and_allowance(server, operator, monkeypatch, tmp_path):
    styles = tmp_path / "styles.toml"
    monkeypatch.setenv("STYLES_FILE", str(styles))
    monkeypatch.setenv("DAILY_ALLOWANCE", "0")
    assert "STYLES_FILE cannot be read" in private_text(await operator.slash(server.channel, "admin reload"))
    assert server.service.rules.limits.daily is None
    styles.write_text("[ink]\nprompt = 'ink of {prompt}'")
    assert "`STYLES_FILE`" in private_text(await operator.slash(server.channel, "admin reload"))
    offered = await server.alice.autocomplete(server.channel, "imagine", "style", "")
    assert [choice["value"] for choice in offered] == ["ink"]
    assert "limit of 0 pictures" in private_text(await server.bob.slash(server.channel, "imagine", prompt="fox"))


async def test_reload_applies_the_age_of_requests(server, operator, monkeypatch):
    made = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished(made.response)
    await server.until_idle()
    stores = server.service.stores
    maintenance = Maintenance(stores, server.service.message_eraser, server.service.resume_reviewed)
    await maintenance.delete_old_requests()
    assert await stores.creation_store.newest()
    monkeypatch.setenv("REQUESTS_MAX_DAYS", "0.000001")
    assert "Applied: `REQUESTS_MAX_DAYS`" in private_text(await operator.slash(server.channel, "admin reload"))
    await asyncio.sleep(0.2)  # so much older than that
    await maintenance.delete_old_requests()
    assert await stores.creation_store.newest() is None


async def test_reload_rejects_a_wrong_setting(server, operator, monkeypatch):
    before = server.engine.config
    monkeypatch.setenv("MAX_SIDE", "many")
    assert "MAX_SIDE is wrong" in private_text(await operator.slash(server.channel, "admin reload"))
    assert server.engine.config == before


async def test_about_shows_the_operator_device_and_completed_pictures(server, operator):
    await server.until_finished((await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)).response)
    text = text_of((await operator.slash(server.channel, "about")).response)
    assert "On cpu in float32" in text and "1 picture since" in text and "s of work each" in text


def read(address):
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


async def test_metrics_count_requests_and_pictures(server):
    await server.until_finished(
        (await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2, count=2)).response, pictures=2
    )
    await server.until_idle()
    with server.service.metrics.serve("127.0.0.1", 0) as port:
        text = await asyncio.to_thread(read, f"http://127.0.0.1:{port}/metrics")
    lines = text.splitlines()
    assert "darkroom_pictures_total 2.0" in lines
    assert 'darkroom_requests_total{state="delivered"} 1.0' in lines
    assert 'darkroom_requests_total{state="failed"} 0.0' in lines
    assert "darkroom_unfinished_pictures 0.0" in lines
    assert "darkroom_wait_seconds_count 1.0" in lines
    assert any(line.startswith("darkroom_queued_seconds ") for line in lines)
    assert any(line.startswith('darkroom_model_bytes{model="') and float(line.split()[-1]) > 1000 for line in lines)
    assert any(line.startswith("darkroom_step_rows_sum") and float(line.split()[1]) >= 8 for line in lines)


async def test_metrics_report_a_port_in_use(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DarkroomError, match="METRICS_PORT"), server.service.metrics.serve("127.0.0.1", port):
            pass


@pytest.mark.parametrize("prompts", [False, True])
async def test_log_follows_requests_with_prompts_only_if_enabled(server, capsys, prompts):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    server.service.creation_store.logs_prompts = prompts
    try:
        configure_logging("INFO", "json")
        result = await server.alice.slash(server.channel, "imagine", prompt="a purple cow", steps=2)
        await server.until_finished(result.response)
        await server.until_idle()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    logged = capsys.readouterr().err
    lines = [json.loads(line) for line in logged.splitlines()]
    states = [line["state"] for line in lines if "state" in line]
    assert [state for state in states if state != "running"] == ["accepted", "rendered", "delivered"]
    assert ("purple cow" in logged) == prompts
    assert {line["owner"] for line in lines if "state" in line} == {server.alice.id}


def test_reloadable_settings_exist():
    assert set(bot.Config.model_fields) >= bot.RELOADABLE


async def test_announce_posts_in_system_channels_once_confirmed(server, operator):
    other = server.env.create_guild("other")
    news = other.create_text_channel("news")
    server.env.bot.get_guild(other.id)._system_channel_id = news.id
    asked = await operator.slash(server.channel, "admin announce", text="A new model draws. @everyone")
    assert "2 servers" in asked.response.content and news.history() == []
    refused = await operator.click(asked.response, label="Do not post")
    assert "Nothing was posted" in refused.response.content
    asked = await operator.slash(server.channel, "admin announce", text="A new model draws. @everyone")
    posted = await operator.click(asked.response, label="Post")
    await server.until_idle()
    (message,) = news.history()
    assert message.content == "A new model draws. @everyone" and not message.mention_everyone
    reports = [answer.content for answer in (posted.response, *posted.followups) if answer]
    assert any("posted: 1 of 2." in report for report in reports)


async def test_announce_of_another_process_reaches_the_servers_of_this_one(server):
    news = server.guild.create_text_channel("news")
    server.env.bot.get_guild(server.guild.id)._system_channel_id = news.id
    server.service.broadcasts.handlers["announce"]("Hello.")
    await server.until_idle()
    assert [message.content for message in news.history()] == ["Hello."]
