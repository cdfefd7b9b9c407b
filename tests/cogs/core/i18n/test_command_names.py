"""Every name and description of a command can be read in five languages, within Discord's rules."""

import json
import re

import discord
import pytest
from discord import app_commands

from cogs.core.i18n.catalogues import FILES, Languages, catalogue
from diffusion.request import SAMPLER_NAMES

SLASH = re.compile(r"[-_'\w]{1,32}")  # and nothing in upper case
SAME_IN_ALL = {*SAMPLER_NAMES.values(), "WebP", "GIF"}
CHARACTERS = 8000  # Discord's limit on all that one command says, each text in its longest language


def texts(payload, path=""):
    """Yield (where, kind, English, its translations) of all that a command shows."""
    here = f"{path} {payload['name']}".strip()
    yield here, "name", payload["name"], payload.get("name_localizations") or {}
    if payload.get("description"):
        yield here, "description", payload["description"], payload.get("description_localizations") or {}
    for choice in payload.get("choices", ()):
        yield here, "choice", choice["name"], choice.get("name_localizations") or {}
    for option in payload.get("options", ()):
        yield from texts(option, here)


@pytest.fixture
async def payloads(server):
    tree = server.env.bot.tree
    commands = [
        command for kind in discord.AppCommandType if kind.value in (1, 2, 3) for command in tree.get_commands(type=kind)
    ]
    return [await command.get_translated_payload(tree, tree.translator) for command in commands]


def same_in_all(english):
    """Numbers, sizes and the names of methods are not translated."""
    return english in SAME_IN_ALL or re.fullmatch(r"[\d.]+x?", english)


def is_translated(kind, english, text):
    """A name may be the same word in another language, what describes it may not."""
    return text is not None and (kind == "name" or text != english)


async def test_nothing_is_left_in_english_alone(payloads):
    missing = {
        (file, "names" if kind == "name" else "texts", english): where
        for payload in payloads
        for where, kind, english, localised in texts(payload)
        for locale, file in FILES.items()
        if not (is_translated(kind, english, localised.get(locale.value)) or same_in_all(english))
    }
    assert not missing, "Please translate:\n" + "\n".join(
        f"cogs/core/i18n/translations/{file}.toml [{table}] {json.dumps(english)} (of {where})"
        for (file, table, english), where in sorted(missing.items())
    )


async def test_every_text_keeps_to_discords_rules(payloads):
    for payload in payloads:
        menu = payload["type"] != discord.AppCommandType.chat_input.value
        for where, kind, english, localised in texts(payload):
            for text in (english, *localised.values()):
                limit = 32 if kind == "name" else 100
                assert 1 <= len(text) <= limit, f"{where}: at most {limit} characters, not {len(text)}: {text}"
                if kind == "name" and not menu:
                    assert SLASH.fullmatch(text) and text == text.lower(), f"{where}: no name of a command: {text}"


async def test_no_command_says_more_than_discord_takes(payloads):
    for payload in payloads:
        said = sum(max(map(len, (english, *localised.values()))) for _, _, english, localised in texts(payload))
        assert said <= CHARACTERS, payload["name"]


async def test_options_of_one_command_keep_different_names(payloads):
    def siblings(payload):
        yield payload.get("options", ())
        for option in payload.get("options", ()):
            yield from siblings(option)

    kinds = {payload["type"] for payload in payloads}
    groups = [[payload for payload in payloads if payload["type"] == kind] for kind in kinds]
    groups += [group for payload in payloads for group in siblings(payload)]
    for group in groups:
        for locale in FILES:
            names = [(each.get("name_localizations") or {}).get(locale.value, each["name"]) for each in group]
            assert len(set(names)) == len(names), (locale, names)


async def test_no_translation_is_of_something_that_is_gone(payloads):
    used = {english for payload in payloads for _, _, english, _ in texts(payload)}
    for name in set(FILES.values()):
        table = catalogue(name)
        stale = {*table["names"], *table["texts"]} - used
        assert not stale, f"cogs/core/i18n/translations/{name}.toml translates what no command says any more: {sorted(stale)}"


async def test_what_a_language_does_not_have_stays_english():
    context = app_commands.TranslationContext(app_commands.TranslationContextLocation.other, None)
    string = app_commands.locale_str("nothing like this")
    assert await Languages().translate(string, discord.Locale.german, context) is None
    assert await Languages().translate(string, discord.Locale.korean, context) is None
