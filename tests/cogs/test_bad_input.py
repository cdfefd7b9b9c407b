"""Input that is wrong in the same way for many commands: each command, menu, button and select that the bot has is walked
through, new ones of themselves. Each time the member is told one sentence, alone, and nothing is begun, kept or counted."""

from dataclasses import replace

import discord
import pytest
from discord import AppCommandOptionType as Kind
from discord import app_commands
from simcord.interactions import store_interaction_attachment

from cogs.core.messages import attachments
from cogs.core.messages.views import ActionButton
from cogs.core.policy.limits import MemberLimits
from cogs.core.request.preferences import Preferences, Scope
from cogs.settings.fields import PAGES
from tests.support.actions import use
from tests.support.components import component_of
from tests.support.custom_ids import example_custom_ids
from tests.support.interactions import COMMAND, TEXT_INPUT, command_payload, forge_form
from tests.support.messages import png, private_text, text_of
from tests.support.pressing import press
from tests.support.settings_panel import page_id

LONG = "fox " * 1500
READING = ("similar", "inpaint", "outpaint", "describe", "emoji")  # the commands that read an attachment
WRONG = ("Something went wrong", "did not accept my answer", "Traceback", "None", "{}")


@pytest.fixture
async def chief(server):
    """May do everything in this server, so that nothing else than the input is wrong."""
    role = server.guild.create_role("chiefs", permissions=discord.Permissions.all())
    return server.guild.add_member(server.env.create_user("chief"), roles=[role])


def commands(server):
    """All commands with options."""
    walked = [each for each in server.env.bot.tree.walk_commands() if isinstance(each, app_commands.Command)]
    return [each for each in walked if each.parameters]


def proper(parameter):
    """A value that an option may have."""
    if parameter.choices:
        return parameter.choices[0].value
    if parameter.min_value is not None and parameter.type is not Kind.string:
        return parameter.min_value
    return {Kind.string: "1", Kind.boolean: True, Kind.attachment: png()}.get(parameter.type, "1")


async def given(server, member, command, wrong, value):
    """Send ``command`` with what it requires and ``value`` for the option ``wrong``, past the checks of Discord's clients."""
    resolved = {}
    needed = [each for each in command.parameters if each.required or {each.name, wrong.name} == {"image", "mask"}]
    options = {each: proper(each) for each in needed} | {wrong: value}
    for each, value in options.items():
        if isinstance(value, bytes):
            options[each] = store_interaction_attachment(server.env.backend, server.channel.id, "in.png", value, resolved)
    sent = command_payload(command, {each.display_name: (each.type, value) for each, value in options.items()})
    return await member._dispatch_interaction(COMMAND, server.channel, sent | {"resolved": resolved})


async def fault_of(server, member, command, option, value, messages):
    """What is wrong with the answer to an option that is; None where it is one sentence and nothing else happened."""
    used = sum((await server.service.quota_store.used_today(member.id)).values())
    told = private_text(await given(server, member, command, option, value))
    await server.until_idle()
    if not told or len(told) > 400 or any(word in told for word in WRONG):
        return told
    if len(server.channel.history()) != messages or server.service.jobs or await server.service.creation_store.unfinished():
        return "something was begun"
    # To read an attachment costs time, so that one which is refused counts where pictures would have counted.
    charge = 1 if option.type is Kind.attachment and command.name in READING else 0
    counted = sum((await server.service.quota_store.used_today(member.id)).values()) - used
    return None if counted == charge else f"counted as {counted}"


async def faults(server, member, options, values):
    """Where those of the tree's options that ``options`` takes are not answered as they should be."""
    messages, found, tried = len(server.channel.history()), {}, 0
    for command in commands(server):
        for option in filter(options, command.parameters):
            for value in values(option):
                tried += 1
                fault = await fault_of(server, member, command, option, value, messages)
                found |= {(command.qualified_name, option.display_name, str(value)[:20]): fault} if fault else {}
    assert tried, "no command has such an option"
    return found


async def test_options_reject_long_text(server, chief):
    assert await faults(server, chief, lambda option: option.type is Kind.string, lambda option: [LONG]) == {}


async def test_options_reject_numbers_out_of_range(server, chief):
    def bounded(option):
        return option.type in (Kind.integer, Kind.number) and option.min_value is not None

    assert await faults(server, chief, bounded, lambda option: [option.min_value - 1, option.max_value + 1]) == {}


async def test_options_reject_unknown_choices(server, chief):
    unknown = {Kind.string: "no such", Kind.integer: 99}
    assert await faults(server, chief, lambda option: option.choices, lambda option: [unknown[option.type]]) == {}


async def test_commands_reject_unknown_ids(server, chief):
    ids = ["1", "fox", "-5", "1e5", "0x10", "٣", "9" * 18, "9" * 400, "9" * 4000, "\ud800", "\x00", "`@everyone`"]
    assert await faults(server, chief, lambda option: option.name == "id", lambda option: ids) == {}


async def test_regions_and_sizes_reject_hostile_text(server, chief):
    digits = "9" * 400
    values = {
        "region": [
            "0,0,0,0",
            "-1,-1,5,5",
            "nan,nan,nan,nan",
            "1e309,0,1,1",
            "٠,٠,٥٠,٥٠",
            "100,100,1,1",
            digits,
            " , " * 900,
            "\ud800",
        ],
        "size": ["0x0", "-8x8", "1e9x8", "nan", "∞x∞", "٨x٨", "8x8x8", f"{digits}x8", digits, "x" * 4000, "\ud800"],
    }
    assert await faults(server, chief, lambda option: option.name in values, lambda option: values[option.name]) == {}


@pytest.mark.parametrize("data", [b"", b"junk", png()[:40], png((3, 3))], ids=["empty", "junk", "cut off", "too large"])
async def test_options_reject_files_that_are_no_pictures(server, chief, monkeypatch, data):
    if data == png((3, 3)):
        monkeypatch.setattr(attachments, "MAX_BYTES", 10)
    assert await faults(server, chief, lambda option: option.type is Kind.attachment, lambda option: [data]) == {}


async def test_image_info_charges_a_refused_picture_and_stops_at_the_allowance(server):
    junk = await server.bob.send(server.channel, "look", attachments=[("in.png", b"junk")])
    plain = await server.bob.send(server.channel, "look", attachments=[("in.png", png())])
    server.service.rules.limits = MemberLimits(daily=2)
    used = []
    for message in (plain, junk, junk, junk):
        private_text(await server.alice.context_menu(server.channel, "Image info", message))
        used.append(sum((await server.service.quota_store.used_today(server.alice.id)).values()))
    assert used == [0, 1, 2, 2]
    assert "limit of 2 pictures" in private_text(await server.alice.context_menu(server.channel, "Image info", junk))


async def test_image_info_of_the_bots_own_picture_costs_nothing(server):
    made = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished(made.response)
    server.service.rules.limits = MemberLimits(daily=0)
    told = await server.alice.context_menu(server.channel, "Image info", made.response)
    assert "fox" in private_text(told)


# buttons and selects


def items(server):
    """All buttons and selects that the bot answers whenever they are pressed, each with custom_ids of each of its kinds."""
    known = server.env.bot._connection._view_store._dynamic_items
    examples = [(item, custom_id) for pattern, item in known.items() for custom_id in example_custom_ids(pattern.pattern)]
    return examples + [(ActionButton, f"darkroom:result:{action}:1:1:1") for action in server.service.result_actions.names]


async def test_buttons_explain_an_unknown_id(server, chief):
    silent = {
        "delete",
        "forget",
        "queue",
        "history",
        "favourites",
        "gallery",
        "settings",
        "all_settings",
        "name",
    }  # which need nothing to be known, or ask first
    found = {}
    for item, custom_id in items(server):
        if not isinstance(await component_of(item, custom_id), discord.ui.Button) or silent & set(custom_id.split(":")):
            continue
        told = await press(server, chief, custom_id)
        if not told or any(word in told for word in WRONG):
            found[custom_id] = told
    assert found == {}


@pytest.mark.parametrize("values", [[], ["x"], ["nonsense"], ["-1"], ["9" * 80], ["delete:0"], ["emoji:x"], ["strong:-1"]])
async def test_selects_reject_values_not_offered(server, chief, values):
    for item, custom_id in items(server):
        if isinstance(await component_of(item, custom_id), discord.ui.Select):
            told = await press(server, chief, custom_id, values)
            assert told and not any(word in told for word in WRONG), custom_id


# forms


async def forms(server, member):
    """Every form that the bot has, opened one after another."""
    for scope in Scope:
        panel = await member.slash(server.channel, "settings mine" if scope is Scope.MEMBER else f"setup {scope}")
        for page in PAGES[scope]:
            yield await member.click(panel.response, custom_id=page_id(scope, page))
    made = await member.slash(server.channel, "imagine", prompt="fox", steps=3)
    await server.until_finished(made.response)
    await server.until_idle()
    yield await member.click(made.response, label="Edit")
    for action in ("look", "zoom_out", "vary_region"):
        yield await use(member, made.response, action)
    yield await member.slash(server.channel, "blend")
    refused = await member.slash(server.channel, "imagine", prompt="fox", size="big")
    yield await member.click(refused.response, label="Fix")
    timelapse = await member.click(made.response, label="How it formed")
    yield await member.select(timelapse.response, ["1"])
    for kind in ("emoji", "sticker"):
        draft = await use(member, made.response, kind)
        yield await member.click(draft.response, label="Name and upload")


def texts(component):
    """The names of the fields for text in a form."""
    if component.get("type") == TEXT_INPUT:
        yield component["custom_id"]
    for child in [*component.get("components", ()), *filter(None, [component.get("component")])]:
        yield from texts(child)


async def test_forms_reject_long_text_in_every_field(server, chief):
    made, kinds = 0, set()
    async for shown in forms(server, chief):
        made = made or len(await server.service.stores.gallery.latest(chief.id, "", 25))
        for field in texts(shown.modal):
            kinds.add((shown.modal["title"], field))
            result = await forge_form(server, chief, shown, {field: LONG})
            await server.until_idle()
            answers = [answer for answer in (result.response, *result.followups) if answer]
            assert len(answers) == 1 and answers[0].ephemeral, field
            told = text_of(answers[0])
            assert told and not any(word in told for word in WRONG), (field, told)
    assert {title for title, _ in kinds} > {"Edit", "Model and look", "Zoom out", "Vary region", "Blend pictures", "Fix"}
    assert len(kinds) > 24
    assert len(await server.service.stores.gallery.latest(chief.id, "", 25)) == made == 1
    assert all(server.service.preference_store.get(scope, id) == Preferences() for scope, id in subjects(server, chief))
    assert not server.env.bot.get_guild(server.guild.id).emojis and not server.env.bot.get_guild(server.guild.id).stickers


def subjects(server, member):
    return (Scope.MEMBER, member.id), (Scope.CHANNEL, server.channel.id), (Scope.SERVER, server.guild.id)


async def test_all_invalid_options_are_reported_at_once(server):
    refused = await server.alice.slash(server.channel, "imagine", prompt="fox", size="5000x5001")
    lines = private_text(refused).splitlines()
    assert lines == ["The width may be at most 512 here, not 5000.", "The height may be at most 512 here, not 5001."]


PICTURE = ("in.png", png())


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("imagine", {"prompt": "fox --seed many --ar wide", "size": "5000"}, ["--seed", "--ar", "width may", "height may"]),
        ("imagine", {"prompt": "fox --seed many --ar wide --steps 900 --cfg 99"}, ["--seed", "--ar", "steps may", "guidance"]),
        ("imagine", {"prompt": "fox --seed many --seed none", "size": "big"}, ["--seed", "width x height"]),
        ("imagine", {"prompt": "{red|blue} fox --seed many", "size": "33x32"}, ["--seed", "width must be a multiple of 8"]),
        ("similar", {"prompt": "fox --seed many", "size": "big", "image": PICTURE}, ["--seed", "width x height"]),
        ("similar", {"size": "big", "similarity": 0.5, "start_step": 2, "image": PICTURE}, ["not both", "width x height"]),
        ("similar", {"size": "big", "similarity": 0.5, "start_step": 2}, ["no picture", "not both", "width x height"]),
        ("inpaint", {"prompt": "fox --seed many --cfg x", "region": "inside", "image": PICTURE}, ["region", "--seed", "--cfg"]),
        ("outpaint", {"prompt": "fox --seed many --cfg x", "direction": "left", "image": PICTURE}, ["--seed", "--cfg"]),
        ("morph", {"from": "fox --seed many", "to": "cat --cfg x", "size": "big"}, ["--seed", "width x height", "--cfg"]),
    ],
)
async def test_flags_and_options_are_reported_at_once(server, command, options, words):
    lines = private_text(await server.alice.slash(server.channel, command, **options)).splitlines()
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))
    assert not server.service.jobs and not server.service.questions


async def test_size_over_the_limit_is_not_blamed_on_upscaling(server, monkeypatch):
    monkeypatch.setattr(server.engine.model, "defaults", replace(server.engine.model.defaults, upscale=4))
    refused = await server.alice.slash(server.channel, "imagine", prompt="fox", size="5000x5000")
    assert "upscale" not in private_text(refused).lower() and "at most 512" in private_text(refused)
