"""Every name and description of a command can be read in five languages, within Discord's rules."""

import re

import discord
import pytest
from babel.messages.pofile import read_po
from discord import app_commands

from cogs.core.i18n.catalogues import COMMAND, FOLDER, LANGUAGE_BY_LOCALE, CommandTranslator
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


async def test_command_texts_are_translated(payloads):
    with (FOLDER.parent / "darkroom.pot").open("rb") as file:
        extracted = {(message.context, message.id) for message in read_po(file)}
    for payload in payloads:
        for where, kind, english, localised in texts(payload):
            missing = {locale.value for locale in LANGUAGE_BY_LOCALE} - set(localised)
            if kind == "name":  # may be the same word in another language
                assert (COMMAND, english) in extracted, where
            else:
                assert same_in_all(english) or not missing, f"{where}: {english!r} in {missing}"


async def test_command_texts_follow_discords_rules(payloads):
    for payload in payloads:
        menu = payload["type"] != discord.AppCommandType.chat_input.value
        for where, kind, english, localised in texts(payload):
            for text in (english, *localised.values()):
                limit = 32 if kind == "name" else 100
                assert 1 <= len(text) <= limit, f"{where}: at most {limit} characters, not {len(text)}: {text}"
                if kind == "name" and not menu:
                    assert SLASH.fullmatch(text) and text == text.lower(), f"{where}: no name of a command: {text}"


async def test_command_stays_within_discords_total_length(payloads):
    for payload in payloads:
        said = sum(max(map(len, (english, *localised.values()))) for _, _, english, localised in texts(payload))
        assert said <= CHARACTERS, payload["name"]


async def test_options_of_a_command_have_different_names(payloads):
    def siblings(payload):
        yield payload.get("options", ())
        for option in payload.get("options", ()):
            yield from siblings(option)

    kinds = {payload["type"] for payload in payloads}
    groups = [[payload for payload in payloads if payload["type"] == kind] for kind in kinds]
    groups += [group for payload in payloads for group in siblings(payload)]
    for group in groups:
        for locale in LANGUAGE_BY_LOCALE:
            names = [(each.get("name_localizations") or {}).get(locale.value, each["name"]) for each in group]
            assert len(set(names)) == len(names), (locale, names)


async def test_translator_returns_none_without_a_translation():
    context = app_commands.TranslationContext(app_commands.TranslationContextLocation.other, None)
    string = app_commands.locale_str("nothing like this")
    assert await CommandTranslator().translate(string, discord.Locale.german, context) is None
    assert await CommandTranslator().translate(string, discord.Locale.korean, context) is None
