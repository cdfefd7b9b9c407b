"""Input that no honest client sends: forged options, custom_ids and files, floods and tokens fished for in the log."""

import json
import logging

import pytest

from cogs.core.logging import RedactingHandler
from cogs.core.messages import attachments
from diffusion.images.parameters import read_parameters
from diffusion.redaction import add_secrets
from tests.support.interactions import forge_click, forge_command
from tests.support.messages import pictures_of, png, private_text, text_of

SECRET = "aW50ZXJhY3Rpb246MTIz_secret"


@pytest.mark.parametrize(
    "options",
    [
        {"count": 99},
        {"count": 0},
        {"steps": 10**9},
        {"guidance": -5.0},
        {"guidance": 1e300},
        {"seed": -1},
        {"seed": 2**60},
        {"upscale": 3},
        {"sampler": "no such"},
        {"prompt": "x" * 6000},
        {"prompt": ""},
        {"style": "y" * 5000},
        {"size": "9" * 4000},
        {"size": "-8x8"},
        {"prompt": 7},
        {"private": "yes"},
        {"no_such_option": 1},
    ],
    ids=lambda options: f"{options}"[:40],
)
async def test_forged_options_get_one_short_reply(server, options):
    result = await forge_command(server, **{"prompt": "fox", "steps": 2} | options)
    if "no_such_option" in options:
        await server.until_finished(result.response)  # what is not asked for is not looked at
        return
    text = private_text(result)
    assert text and "Traceback" not in text and "None" not in text and len(text) < 300


async def test_unknown_command_gets_one_reply(server):
    assert "type it again" in private_text(await forge_command(server, "no_such_command"))


@pytest.mark.parametrize(
    "prompt",
    [
        "@everyone @here <@{bob}> <@&1> <#1> </imagine:1> **fox**",
        "# fox\n> fox\n```fox``` ||fox|| [fox](https://example.com) https://example.com/fox.png",
        "fo\x00x\x1b[31m \u202eevil\u202c \u200b\u200d\ufeff \ud800 fox",
        "f" + "\u0301" * 900,
        "\u2067" * 500 + "fox",
        "🦊" * 60,
    ],
    ids=["mentions", "markdown", "control", "marks", "directions", "emoji"],
)
async def test_hostile_prompt_is_shown_as_text_without_pings(server, prompt):
    result = await forge_command(server, prompt=prompt.format(bob=server.bob.id), steps=2)
    if result.response.ephemeral:
        assert "would be ignored" in private_text(result)
        return
    await server.until_finished(result.response)
    message = server.env.backend.get_message(server.channel.id, result.response.id)
    shown = text_of(message)
    assert not message.ping_user_ids and not message.ping_role_ids and not message.mention_everyone
    assert not {"@everyone", "@here", f"<@{server.bob.id}>", "://"} & set(shown.split())
    assert "https://" not in shown and "\n" not in shown.partition("\n-#")[0]
    assert not {"\x00", "\x1b", "\u202e", "\ud800", "\u2067"} & set(shown) and shown.count("\u0301") <= 3
    assert len(shown) <= 2000
    assert read_parameters(await pictures_of(result.response)[0].read())["prompt"]


@pytest.mark.parametrize("prompt", ["\u200b\u200d", "\x00", "\ud800", "\u2800"[:0] + "\u00ad"])
async def test_invisible_prompt_counts_as_empty(server, prompt):
    assert "empty" in private_text(await forge_command(server, prompt=prompt))


@pytest.mark.parametrize("action", ["cancel", "delete", "reroll"])
async def test_forged_custom_id_does_nothing(server, action):
    mine = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150)
    (creation,) = server.service.jobs
    result = await forge_click(server, server.bob, mine.response, f"darkroom:result:{action}:{server.bob.id}:{creation}:0")
    assert not result.acknowledged
    assert creation in server.service.jobs and mine.response.id in [message.id for message in server.channel.history()]
    await forge_click(server, server.alice, mine.response, f"darkroom:result:cancel:{server.alice.id}:{'9' * 80}:0")
    await forge_click(server, server.alice, mine.response, "darkroom:nonsense")
    assert creation in server.service.jobs


async def test_forged_form_value_is_validated(server):
    made = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished(made.response)
    await server.until_idle()
    shown = await server.alice.click(made.response, label="Edit")
    edited = await server.alice.submit_modal(shown, {"prompt": "\u200b\x07 \u202e", "steps": "2", "guidance": "3"})
    assert "empty" in private_text(edited)


async def test_oversized_picture_is_not_downloaded(server, monkeypatch):
    monkeypatch.setattr(attachments, "MAX_BYTES", 10)
    message = await server.bob.send(server.channel, "look", attachments=[("in.png", png())])
    refused = await server.alice.context_menu(server.channel, "More like this", message)
    assert "larger than" in private_text(refused)


async def test_similar_fetches_the_attachment_only(server, monkeypatch):
    fetched = []
    get = server.env.bot.http.get_from_cdn

    async def note(url):
        fetched.append(url)
        return await get(url)

    monkeypatch.setattr(server.env.bot.http, "get_from_cdn", note)
    prompt = "https://example.com/other.png"
    result = await server.alice.slash(server.channel, "similar", image=("in.png", png()), prompt=prompt, steps=3)
    await server.until_finished(result.response)
    assert len(fetched) == 1 and fetched[0].endswith("/in.png") and "example.com" not in fetched[0]


def test_logs_hide_tokens(capsys):
    add_secrets(["bot-token"])
    handler = RedactingHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    messages = [
        f"PATCH https://discord.com/api/v10/webhooks/12/{SECRET}/messages/@original has returned 429",
        f"POST https://discord.com/api/v10/interactions/12/{SECRET}/callback",
        f"WebSocket Event: {json.dumps({'d': {'token': SECRET, 'id': '1'}})}",
        f"received { ({'token': SECRET})!r}",
        "Authorization: Bot bot-token",
    ]
    for message in messages:
        handler.emit(logging.LogRecord("discord", logging.DEBUG, "", 0, message, (), None))
    logged = capsys.readouterr().err
    assert SECRET not in logged and "bot-token" not in logged
    assert len(logged.splitlines()) == len(messages) and "/messages/@original has returned 429" in logged
