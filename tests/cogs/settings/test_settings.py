"""/settings and /usage: what is set holds, the nearest first, and what is not allowed is told in a sentence."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock, Mock

import discord
import pytest

from cogs.core.policy.context import Context
from cogs.core.policy.limits import MemberLimits
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.usage import DIRECT_MESSAGES
from diffusion.errors import InvalidRequestError
from diffusion.images.parameters import read_parameters
from tests.support.interactions import forge_form
from tests.support.jobs import hold_steps, slow_down
from tests.support.messages import pictures_of, png, private_text
from tests.support.server import open_server
from tests.support.settings_panel import form_values, page_id, submit_page


@pytest.fixture
async def manager(server):
    role = server.guild.create_role("managers", permissions=discord.Permissions(manage_guild=True))
    return server.guild.add_member(server.env.create_user("manager"), roles=[role])


async def made(server, actor=None, channel=None, **options):
    result = await (actor or server.alice).slash(channel or server.channel, "imagine", **{"prompt": "red fox"} | options)
    await server.until_finished(result.response, options.get("count", 1))
    await server.until_idle()
    return read_parameters(await pictures_of(result.response)[0].read()), result.response


async def test_member_settings_fill_in_missing_options(server):
    values = {"size": "64x32", "steps": "3", "guidance": "2.5", "sampler": ["ddim"], "style": "oil painting"}
    panel, _ = await submit_page(server.alice, server.channel, "mine", "Pictures", **values)
    assert panel.ephemeral and "Steps: **3**" in panel.content and "Private" not in panel.content
    settings, _ = await made(server)
    expected = {
        "width": 64,
        "height": 32,
        "steps": 3,
        "guidance_scale": 2.5,
        "sampler": "ddim",
        "prompt": "red fox, oil painting",
    }
    assert settings == settings | expected
    settings, _ = await made(server, steps=2, style="ink")
    assert (settings["steps"], settings["prompt"], settings["sampler"]) == (2, "red fox, ink", "ddim")


async def test_nearest_setting_overrides_channel_and_server(server, manager):
    await submit_page(manager, server.channel, "server", "Pictures", steps="2", guidance="2", style="flat")
    await submit_page(manager, server.channel, "channel", "Pictures", steps="3", guidance="3")
    await submit_page(server.alice, server.channel, "mine", "Pictures", steps="4")
    settings, _ = await made(server)
    assert (settings["steps"], settings["guidance_scale"], settings["prompt"]) == (4, 3, "red fox, flat")
    other = server.guild.create_text_channel("other")
    settings, _ = await made(server, server.bob, other)
    assert (settings["steps"], settings["guidance_scale"]) == (2, 2)
    shown = await server.alice.slash(server.channel, "settings mine")
    for line in (
        "Steps: **4**\n",
        "Guidance: **3** (of this channel)",
        "Style: **flat** (of this server)",
    ):
        assert line in shown.response.content
    assert "Sampler" not in shown.response.content
    full = await server.alice.click(shown.response, label="Show all")
    assert (
        "DPM++ 2M Karras** (the default)" in full.response.content
        and "Guidance: **3** (of this channel)" in full.response.content
    )


async def test_settings_apply_to_similar(server):
    await submit_page(server.alice, server.channel, "mine", "Pictures", steps="8")
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()))
    await server.until_finished(result.response)
    settings = read_parameters(await pictures_of(result.response)[0].read())
    assert (settings["steps"], settings["start_step"]) == (8, 3)


async def test_emptied_setting_returns_to_the_default(server):
    await submit_page(server.alice, server.channel, "mine", "Pictures", steps="3", style="flat", sampler=["ddim"])
    panel, _ = await submit_page(server.alice, server.channel, "mine", "Pictures", steps="", style="", sampler=["open"])
    assert panel.content == "**Your settings**\nNothing is set, so the defaults hold."
    assert server.service.preference_store.get(Scope.MEMBER, server.alice.id) == Preferences()


async def test_settings_and_panel_survive_a_restart(server):
    panel, _ = await submit_page(server.alice, server.channel, "mine", "Pictures", steps="3")
    await server.restart()
    settings, _ = await made(server)
    assert settings["steps"] == 3
    form = await server.alice.click(panel, custom_id=page_id("mine", "answers"))
    await server.alice.submit_modal(form, form_values(form) | {"language": ["de"]})
    assert "Sprache: **Deutsch**" in panel.content and "Schritte: **3**" in panel.content


async def test_private_setting_makes_replies_private(server):
    await submit_page(server.alice, server.channel, "mine", "Answers", private=["yes"])
    assert (await made(server, steps=2))[1].ephemeral
    assert not (await made(server, steps=2, private=False))[1].ephemeral


async def test_spoiler_setting_hides_previews_and_pictures(server, manager):
    await submit_page(manager, server.channel, "server", "Answers", spoiler=["yes"])
    _, message = await made(server, steps=100)
    (image_store,) = [part for part in message.message.components if part.type is discord.ComponentType.media_gallery]
    assert all(item.spoiler for item in image_store.items)
    uploads = [str(request.json) for request in server.env.http_requests if "preview.webp" in str(request.json)]
    assert uploads and all("SPOILER_preview.webp" in upload for upload in uploads)
    await submit_page(manager, server.channel, "server", "Answers", spoiler=["no"])
    again = await server.bob.click(message, label="Reroll")
    await server.until_finished(again.response)
    assert "'spoiler': True" in str(server.env.http_requests[-1].json)
    shown = (await made(server, steps=2, spoiler=True))[1]
    assert all(item.spoiler for part in shown.message.components for item in getattr(part, "items", ()))
    shown = (await made(server, steps=2))[1]
    assert not any(item.spoiler for part in shown.message.components for item in getattr(part, "items", ()))


async def test_quality_setting_sets_steps_and_sampler(server):
    panel, _ = await submit_page(server.alice, server.channel, "mine", "Quality", quality=["draft"])
    assert "Quality: **Draft**" in panel.content
    settings, _ = await made(server)
    assert (settings["steps"], settings["sampler"]) == (10, "unipc")


async def test_count_setting_makes_several_pictures_unless_the_prompt_says_otherwise(server):
    panel, _ = await submit_page(server.alice, server.channel, "mine", "Quality", count=["2"])
    assert "Pictures at once: **2**" in panel.content
    for options, count in (({}, 2), ({"count": 1}, 1), ({"prompt": "fox --repeat 3"}, 3)):
        result = await server.alice.slash(server.channel, "imagine", **{"prompt": "fox", "steps": 2} | options)
        await server.until_finished(result.response, count)
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|green} fox", steps=2)
    assert "This makes 2 pictures:" in asked.response.content
    result = await server.alice.click(asked.response, label="Start")
    await server.until_finished(result.response, 2)


async def test_default_count_holds_where_nobody_chose_and_gives_way_to_the_limit(server, manager):
    server.service.builder.default_count = 3
    result = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished(result.response, 3)
    await submit_page(manager, server.channel, "server", "Limits", max_count="2")
    result = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished(result.response, 2)


@pytest.mark.parametrize(
    ("page", "values", "words"),
    [
        ("Pictures", {"steps": "999"}, "steps must be a number from 1 to 150"),
        ("Pictures", {"steps": "many"}, "steps must be a number from 1 to 150"),
        ("Pictures", {"guidance": "-1"}, "guidance must be a number from 0 to 30"),
        ("Pictures", {"guidance": "nan"}, "guidance must be a number from 0 to 30"),
        ("Pictures", {"size": "big"}, "width x height"),
        ("Pictures", {"size": "33x32"}, "multiple of 8"),
        ("Pictures", {"size": "512"}, "as many pixels as 256x256"),
        ("Pictures", {"size": "520x8"}, "at most 512"),
        ("Limits", {"max_size": "1024"}, "at most 256"),
        ("Limits", {"max_steps": "0"}, "max steps must be a number from 1 to 150"),
        ("Limits", {"max_count": "5"}, "at most 4"),
        ("Limits", {"allowance": "-1"}, "allowance must be a number from 0"),
    ],
)
async def test_setting_out_of_range_is_rejected(server, manager, page, values, words):
    await submit_page(manager, server.channel, "server", "Pictures", steps="7")
    _, submitted = await submit_page(manager, server.channel, "server", page, **values)
    assert words in private_text(submitted)
    assert server.service.preference_store.get(Scope.SERVER, server.guild.id) == Preferences(steps=7)


@pytest.mark.parametrize(
    ("page", "values", "words"),
    [
        ("Pictures", {"size": "big", "steps": "many", "guidance": "99"}, ["width x height", "steps must", "guidance must"]),
        (
            "Pictures",
            {"size": "520x33", "steps": "999"},
            ["steps must", "width may be at most", "height must be a multiple"],
        ),
        ("Pictures", {"size": "0"}, ["width x height"]),
        (
            "Limits",
            {"max_size": "1024", "max_steps": "0", "max_count": "x", "allowance": "-1"},
            ["max steps must", "max count must", "allowance must", "max size may be at most 256"],
        ),
    ],
)
async def test_all_settings_out_of_range_are_reported_at_once(server, manager, page, values, words):
    _, submitted = await submit_page(manager, server.channel, "server", page, **values)
    lines = private_text(submitted).splitlines()
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))
    assert server.service.preference_store.get(Scope.SERVER, server.guild.id) == Preferences()


def test_preferences_report_all_values_out_of_range():
    for changes in ({"size": "big", "steps": 999, "style": ""}, {"steps": "many", "guidance": "high", "allowance": "x"}):
        with pytest.raises(InvalidRequestError) as caught:
            Preferences().with_(**changes)
        assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("command", ["setup server", "setup channel", "setup allowance"])
async def test_server_and_channel_settings_need_manage_server(server, command):
    options = {"role": server.guild.create_role("patrons")} if command == "setup allowance" else {}
    setup = next(each for each in await server.env.bot.tree.fetch_commands() if each.name == "setup")
    server.guild.set_command_permissions(setup, {server.alice: True})  # what a server's settings allow does not suffice
    assert "Manage Server" in private_text(await server.alice.slash(server.channel, command, **options))


async def test_manage_server_is_checked_at_every_click(server, manager):
    shown = await manager.slash(server.channel, "setup server")
    form = await manager.click(shown.response, custom_id=page_id("server", "pictures"))
    server.env.backend.get_member(server.guild.id, manager.id).role_ids.clear()
    assert "Manage Server" in private_text(await manager.submit_modal(form, form_values(form) | {"steps": "3"}))
    assert "Manage Server" in private_text(await manager.click(shown.response, label="Who and where"))
    assert server.service.preference_store.get(Scope.SERVER, server.guild.id) == Preferences()


async def test_direct_messages_have_member_settings(server):
    shown = await server.env.create_user("carol").slash("settings mine")
    assert "Your settings" in shown.response.content


async def test_limits_refuse_options_and_lower_settings(server, manager):
    await submit_page(manager, server.channel, "server", "Limits", max_steps="10", max_size="48", max_count="2")
    await submit_page(manager, server.channel, "channel", "Limits", max_steps="5")
    for options, words in (({"steps": 6}, "at most 5 here"), ({"size": "64x40"}, "as 48x48"), ({"count": 3}, "at most 2")):
        assert words in private_text(await server.alice.slash(server.channel, "imagine", prompt="fox", **options))
    await submit_page(server.alice, server.channel, "mine", "Pictures", size="128x64", steps="20")
    settings, _ = await made(server)
    assert (settings["steps"], settings["width"], settings["height"]) == (5, 64, 32)
    shown = await manager.slash(server.channel, "setup channel")
    assert "Most steps: **5**\n" in shown.response.content and "Largest size: **48** (of this server)" in shown.response.content


async def test_limits_apply_to_buttons(server, manager):
    _, message = await made(server, steps=9)
    await submit_page(manager, server.channel, "server", "Limits", max_steps="5")
    assert "at most 5 here" in private_text(await server.bob.click(message, label="Reroll"))


async def test_channel_access_is_enforced(server, manager):
    art = server.guild.create_text_channel("studio")
    await submit_page(manager, server.channel, "server", "Access", channels=[art])
    assert f"<#{art.id}>" in private_text(await server.alice.slash(server.channel, "imagine", prompt="fox"))
    await made(server, channel=art, steps=2)
    panel, _ = await submit_page(manager, server.channel, "server", "Access", channels=[])
    assert "Channels" not in panel.content
    await made(server, steps=2)


async def test_role_access_is_enforced(server, manager):
    role = server.guild.create_role("patrons")
    patron = server.guild.add_member(server.env.create_user("patron"), roles=[role])
    await submit_page(manager, server.channel, "server", "Access", roles=[role])
    assert f"<@&{role.id}>" in private_text(await server.alice.slash(server.channel, "imagine", prompt="fox"))
    await made(server, patron, steps=2)


async def usage(server, actor=None, channel=None):
    return private_text(await (actor or server.alice).slash(channel or server.channel, "usage"))


async def test_allowance_counts_pictures_and_says_when_it_resets(server, manager):
    await submit_page(manager, server.channel, "server", "Limits", allowance="3")
    await made(server, steps=2, count=2)
    assert "**1** of 3 pictures here" in await usage(server) and "<t:" in await usage(server)
    assert "You have 1 of 3 pictures left today, not 2" in private_text(
        await server.alice.slash(server.channel, "imagine", prompt="fox", count=2)
    )
    _, message = await made(server, steps=2)
    for again in (
        await server.alice.click(message, label="Reroll"),
        await server.alice.slash(server.channel, "imagine", prompt="x"),
    ):
        assert "your limit of 3 pictures a day" in private_text(again)
    await made(server, server.bob, steps=2)
    await server.restart()
    assert "**0** of 3" in await usage(server)


async def test_allowance_is_charged_what_was_computed(server, manager, monkeypatch):
    await submit_page(manager, server.channel, "server", "Limits", allowance="30")
    slow_down(server, monkeypatch)
    result = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=150, count=2)
    ((creation, job, _),) = server.service.runner.queue_snapshot()
    whole = creation.counted
    assert whole > 2 and f"**{30 - whole}** of 30" in await usage(server)
    await server.until(lambda: job.progress.completed > 2)
    await server.alice.click(result.response, label="Cancel")
    await server.until_idle()
    charged = math.ceil(whole * job.progress.completed / job.progress.total)
    assert 0 < charged < whole and f"**{30 - charged}** of 30" in await usage(server)


async def test_request_with_many_steps_counts_as_several_pictures(server, manager):
    await submit_page(manager, server.channel, "server", "Limits", allowance="2")
    refused = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=150, sampler="heun")
    assert "because they are large or have many steps, and you have 2 of 2 pictures left" in private_text(refused)
    await made(server, steps=2)
    assert "**1** of 2" in await usage(server)


async def test_refused_attachment_counts_as_a_picture(server, manager):
    await submit_page(manager, server.channel, "server", "Limits", allowance="1")
    await server.alice.slash(server.channel, "similar", prompt="fox", image=("in.png", b"no picture"))
    await server.until_idle()
    assert "**0** of 1" in await usage(server)
    refused = await server.alice.slash(server.channel, "similar", prompt="fox", image=("in.png", png()))
    assert "your limit of 1 picture a day" in private_text(refused)


async def test_request_over_the_cap_is_refused_with_minutes(server):
    price = server.engine.price(server.engine.model.request("fox"))
    server.service.rules.limits = MemberLimits(request_seconds=price)
    await made(server)
    refused = await server.alice.slash(server.channel, "imagine", prompt="fox", size="256", steps=150, sampler="heun", count=4)
    assert "Choose a smaller size, fewer steps or fewer pictures" in private_text(refused)


async def test_member_fills_only_a_share_of_the_queue(server, monkeypatch):
    hold = hold_steps(server, monkeypatch)
    server.service.rules.limits = MemberLimits(queue_share=0.04)  # 4 of 100 pictures
    await server.alice.slash(server.channel, "imagine", prompt="fox", count=4)
    refused = await server.alice.slash(server.channel, "imagine", prompt="fox")
    assert "the part of the queue that one member may use" in private_text(refused)
    await server.bob.slash(server.channel, "imagine", prompt="fox")
    assert len(server.service.jobs) == 2
    hold.set()
    await server.until_idle()


async def test_failed_request_without_a_step_costs_nothing(server, manager, monkeypatch):
    await submit_page(manager, server.channel, "server", "Limits", allowance="3")
    with monkeypatch.context() as broken:
        broken.setattr(server.engine.model, "predict_noise", lambda *rows: 1 / 0)
        await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
        await server.until_idle()
    private_text(await server.alice.slash(server.channel, "imagine", prompt="fox", size="33"))
    assert "**3** of 3" in await usage(server) and "made 0 pictures" in await usage(server)


async def test_simultaneous_requests_cannot_share_the_last_picture(server, monkeypatch):
    service = server.service
    monkeypatch.setattr(service.background, "start", lambda coroutine: coroutine.close())
    service.rules.limits = MemberLimits(daily=1)

    def ask(id):
        response = Mock(is_done=lambda: False, send_message=AsyncMock(return_value=Mock(message_id=id)))
        member, place = Mock(id=7, roles=[]), {"guild_id": None, "channel_id": 1, "channel": None, "locale": None}
        expires = datetime.now(UTC) + timedelta(minutes=15)
        told = {"client": server.env.bot, "token": "t", "expires_at": expires, "response": response}
        interaction = Mock(id=id, user=member, application_id=2, extras={}, **told, **place)
        return service.accept(Context.of(interaction), server.engine.model.request("fox"))

    await asyncio.gather(*map(ask, range(1, 4)), return_exceptions=True)
    assert (
        await service.quota_store.used_today(7) == {DIRECT_MESSAGES: 1} and len(await service.creation_store.unfinished()) == 1
    )


async def test_highest_role_allowance_applies(server, manager):
    few, many = server.guild.create_role("few"), server.guild.create_role("many")
    patron = server.guild.add_member(server.env.create_user("patron"), roles=[few, many])
    await submit_page(manager, server.channel, "server", "Limits", allowance="1")
    await manager.slash(server.channel, "setup allowance", role=few, pictures=2)
    shown = await manager.slash(server.channel, "setup allowance", role=many, pictures=5)
    assert f"for <@&{many.id}>: **5**" in shown.response.content
    assert "**5** of 5" in await usage(server, patron) and "**1** of 1" in await usage(server)
    shown = await manager.slash(server.channel, "setup allowance", role=many)
    assert str(many.id) not in shown.response.content and "**2** of 2" in await usage(server, patron)


async def test_operator_allowance_counts_over_all_servers(tiny_model):
    async with open_server(tiny_model) as server:
        server.service.rules.limits = MemberLimits(daily=2)
        await made(server, steps=2)
        elsewhere = server.env.create_guild()
        alice = elsewhere.add_member(server.env.create_user("alice2"))
        assert "**1** of 2 pictures across all servers" in await usage(server)
        assert "**2** of 2" in await usage(server, alice, elsewhere.create_text_channel("x"))


async def test_usage_shows_limits_and_allowed_channels(server, manager):
    assert "as many as you like" in await usage(server) and "4 pictures, 150 steps, as many pixels as 256x256" in await usage(
        server
    )
    art = server.guild.create_text_channel("studio")
    await submit_page(manager, server.channel, "server", "Access", channels=[art])
    await submit_page(manager, server.channel, "server", "Limits", max_steps="9")
    assert f"<#{art.id}>" in await usage(server) and "9 steps" in await usage(server)


async def test_fullest_panel_fits_one_message(server, manager):
    ids = tuple(10**18 + number for number in range(25))
    fullest = Preferences(style="*" * 100, size="10000x10000", channels=ids, roles=ids, allowance=100_000)
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, fullest)
    for number in range(30):
        role = server.guild.create_role(f"{number}")
        panel = private_text(await manager.slash(server.channel, "setup allowance", role=role, pictures=99_999))
        assert f"<@&{role.id}>: **99999**" in panel
    assert panel.count("**99999**") == 10 and "… and 20 more" in panel and panel.count("… and 15 more") == 2


async def test_settings_are_saved_after_the_panel_was_dismissed(server):
    shown = await server.alice.slash(server.channel, "settings mine")
    form = await server.alice.click(shown.response, label="Size and style")
    server.env.backend.delete_message(server.channel.id, shown.response.id)
    submitted = await forge_form(server, server.alice, form, form_values(form) | {"steps": "3"})
    assert "Steps: **3**" in private_text(submitted)
