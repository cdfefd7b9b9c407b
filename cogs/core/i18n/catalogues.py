"""What members read, in their languages: ``translations/LANGUAGE.toml`` has it by the English words.

Of its tables ``names`` is of commands and options, ``texts`` of descriptions and choices, ``sentences`` of all that the bot
says and ``settings`` of what settings are called in sentences. What a file leaves out shows in English.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

import discord
from discord.app_commands import TranslationContextLocation as Location
from discord.app_commands import TranslationContextTypes, Translator, locale_str

from diffusion.text import Template, Text, english, fill

ENGLISH: Final = "en"
FOLDER: Final = Path(__file__).with_name("translations")
FILES: Final = {
    discord.Locale.german: "de",
    discord.Locale.french: "fr",
    discord.Locale.spain_spanish: "es",
    discord.Locale.latin_american_spanish: "es",
    discord.Locale.japanese: "ja",
}
NAMES: Final = (Location.command_name, Location.group_name, Location.parameter_name)


@cache
def catalogue(language: str) -> dict[str, dict[str, str]]:
    """Give the tables of ``language``; none for English and for languages that there is no file of."""
    return tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8")) if language in FILES.values() else {}


def translated(language: str, table: str, english: str) -> str:
    """Look ``english`` up in a table of ``language``."""
    return catalogue(language).get(table, {}).get(english, english)


def of_locale(locale: discord.Locale | None) -> str:
    """Give the language of Discord's ``locale``, English where that is not among ours."""
    return FILES.get(locale, ENGLISH) if locale else ENGLISH


def say(language: str, template: Template, /, **values: Any) -> str:
    """Translate ``template`` to ``language`` and fill its gaps with ``values`` by name."""
    return fill(translated(language, "sentences", english(template, values)), values)


def setting(language: str, name: str) -> str:
    """Give what the setting of that English ``name`` is called in ``language``."""
    return translated(language, "settings", name)


def explain(language: str, sentence: Text) -> str:
    """Put a ``sentence``, such as an error, in ``language``, with the setting that it is about, if any."""
    named = {name: setting(language, value) for name, value in sentence.values.items() if name == "field"}
    return say(language, sentence.template, **sentence.values | named)


class Languages(Translator):
    """Looks up what discord.py asks for when it tells Discord the commands."""

    async def translate(self, string: locale_str, locale: discord.Locale, context: TranslationContextTypes) -> str | None:
        """Give ``string`` in the language of ``locale``, or None where it has no translation."""
        table = "names" if context.location in NAMES else "texts"
        return catalogue(of_locale(locale)).get(table, {}).get(string.message)
