"""Every command with any options, of any types and values: each is answered in a sentence.

``--fuzz 10000 -s`` for the long form.
"""

import gc
from collections import Counter

import hypothesis
import pytest
from discord import AppCommandOptionType, Permissions, app_commands
from hypothesis import strategies as st
from simcord.interactions import store_interaction_attachment

from cogs.core.messages.confirm import CONFIRM_TIMEOUT_SECONDS
from diffusion.errors import DarkroomError
from tests.support.interactions import COMMAND, command_payload
from tests.support.memory import MIB, Memory
from tests.support.messages import text_of
from tests.support.mutations import break_picture

AUTOCOMPLETE = 4
MAX_GROWTH = 300 * MIB
KEPT_EACH = 2**16  # bytes: hypothesis remembers all that it has drawn
QUEUED = "So far it would be made."
Kind = AppCommandOptionType
LIKELY = {"prompt": ["a fox", "{red|blue} apple --no worm"], "size": ["32x32", "64"], "steer": ["red"], "direction": ["left"]}
TEXTS = [
    "",
    " ",
    "x" * 6000,
    "9" * 400,
    "-1",
    "1e999",
    "nan",
    "512x512",
    "0x0",
    "{a|b}" * 40,
    "{" * 300,
    "((a))::-9",
    "--ar 1:0",
]
TEXTS += [
    "--seed 99999999999",
    "--no",
    "@everyone",
    "\x00",
    "\ud800",
    "🦊" * 500,
    "a\u0301" * 400,
    "(a+)+$",
    "%s{0}",
    "../../x",
]
texts = st.text(st.characters(), max_size=60) | st.sampled_from(TEXTS)
values = {
    Kind.string: texts,
    Kind.integer: st.integers(-(2**63), 2**63) | st.integers(-2, 200),
    Kind.number: st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1, 60),
    Kind.boolean: st.booleans(),
}


def option(parameter, forged):
    """An option as a client would send it, or also a ``forged`` one; None leaves it out."""
    left_out = [] if parameter.required else [st.none()] * 6
    if parameter.type is Kind.attachment:
        return st.one_of(*left_out, st.integers(0, 2**64).map(lambda number: (Kind.attachment, number)))
    if parameter.type not in values:
        return st.none()
    proper = values[parameter.type]
    if parameter.choices:
        proper = st.sampled_from([choice.value for choice in parameter.choices])
    elif parameter.name in LIKELY:
        proper |= st.sampled_from(LIKELY[parameter.name])
    elif parameter.type in (Kind.integer, Kind.number) and parameter.max_value is not None:
        numbers = st.integers if parameter.type is Kind.integer else st.floats
        proper = numbers(parameter.min_value, parameter.max_value)
    given = proper.map(lambda value: (parameter.type, value))
    anything = st.sampled_from(list(values)).flatmap(lambda kind: values[kind].map(lambda value: (kind, value)))
    return st.one_of(*left_out, *[given] * 4, *[anything] * forged)


def payload(server, command, options, focused):
    """What Discord hands over for ``options`` of ``command``, whose files are broken pictures."""
    resolved, given = {}, {}
    for name, (kind, value) in options.items():
        if kind is Kind.attachment:
            data = break_picture(value)[1]
            value = store_interaction_attachment(server.env.backend, server.channel.id, "in.png", data, resolved)
        given[name] = kind, value
    return command_payload(command, given, focused) | {"resolved": resolved}


def told(result):
    """All that the member is told."""
    answers = [text_of(answer) for answer in (result.response, *result.followups) if answer is not None]
    return "\n".join(answers) if answers or not result.modal else "a form"


@pytest.fixture
async def fuzzed(steerable_server, monkeypatch):
    """The server, its bot taking requests up to where they would be queued; tells at the end what came of them."""
    server = steerable_server

    def check(request, owner=None):
        request.validate_limits(server.engine.config.limits)
        server.engine.model.validate(request)
        raise DarkroomError(QUEUED)

    monkeypatch.setattr(server.engine, "submit", check)
    bot = server.env.bot
    commands = [command for command in bot.tree.walk_commands() if isinstance(command, app_commands.Command)]
    making = [command for command in commands if any(parameter.name == "prompt" for parameter in command.parameters)]
    server.commands = commands + making * 5
    role = server.guild.create_role("administrators", permissions=Permissions(administrator=True))
    server.members = [server.alice, server.guild.add_member(server.env.create_user("dora"), roles=[role])]
    server.outcomes = Counter()
    with Memory() as memory:
        yield server
    print(f"\n{server.outcomes.total()} commands: {dict(server.outcomes)}, memory {memory}")
    assert memory.growth < MAX_GROWTH + KEPT_EACH * server.outcomes.total()


async def forget(server):
    """Free what the simulated Discord remembers, with the questions that nobody answers."""
    await server.env.advance_time(CONFIRM_TIMEOUT_SECONDS + 1)
    backend = server.env.backend
    for remembered in (backend.http_requests, backend.transcript, backend.messages[server.channel.id], backend.cdn._blobs):
        remembered.clear()
    gc.collect()  # its own bookkeeping goes round in circles


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damage
@hypothesis.settings(phases=[hypothesis.Phase.generate])  # a failure is made smaller by hand sooner
@hypothesis.given(data=st.data())
async def test_commands_reply_to_any_options(fuzzed, data):
    command = data.draw(st.sampled_from(fuzzed.commands))
    hypothesis.note(command.qualified_name)
    member = data.draw(st.sampled_from(fuzzed.members))
    forged = data.draw(st.booleans())
    drawn = {parameter.display_name: data.draw(option(parameter, forged)) for parameter in command.parameters}
    options = {name: value for name, value in drawn.items() if value is not None}
    focused = data.draw(st.sampled_from([None] * 3 + [p.display_name for p in command.parameters if p.autocomplete]))
    if focused:
        options[focused] = (Kind.string, data.draw(texts))  # what is typed so far is a text, also for a number
    sent = payload(fuzzed, command, options, focused)
    result = await member._dispatch_interaction(AUTOCOMPLETE if focused else COMMAND, fuzzed.channel, sent)
    if focused:
        choices = result.autocomplete_choices
        assert len(choices) <= 25 and all(1 <= len(choice["name"]) <= 100 for choice in choices)
        fuzzed.outcomes["completed"] += 1
    else:
        text = told(result)
        assert text and "Something went wrong" not in text and "Traceback" not in text, text
        fuzzed.outcomes["queued" if QUEUED in text else "answered"] += 1
    fuzzed.service.preference_store._known.clear()  # no setting that was made holds for the next command
    if fuzzed.outcomes.total() % 50 == 0:
        await forget(fuzzed)
