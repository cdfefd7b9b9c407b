"""Translate what members read, with gettext catalogues.

They are ``locales/LANGUAGE/LC_MESSAGES/darkroom.po``. The English text is the key. Names of commands and names of settings
within sentences have a context of their own, because an English word may need another translation there. A text without a
translation stays English.
"""

import asyncio
import gettext
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import discord
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from discord.app_commands import TranslationContextLocation as Location
from discord.app_commands import TranslationContextTypes, Translator, locale_str

from diffusion.errors import SeveralInvalidError
from diffusion.redaction import redact
from diffusion.text import Plural, Template, Text, fill

ENGLISH: Final = "en"
FOLDER: Final = Path(__file__).with_name("locales")
LANGUAGE_BY_LOCALE: Final[Mapping[discord.Locale | None, str]] = {  # English for all others
    discord.Locale.german: "de",
    discord.Locale.french: "fr",
    discord.Locale.spain_spanish: "es",
    discord.Locale.latin_american_spanish: "es",
    discord.Locale.japanese: "ja",
}
COMMAND: Final = "command"  # context of names of commands and options
SETTING: Final = "setting"  # context of names of settings within a sentence
SETTINGS: Final = (
    "quality",
    "width",
    "height",
    "steps",
    "count",
    "frames",
    "variety",
    "guidance",
    "guidance scale",
    "guidance interval",
    "steer",
    "steering",
    "guide label",
    "label scale",
    "seed",
    "similarity",
    "start",
    "prompt",
    "negative",
    "negative prompt",
    "sampler",
    "upscale",
    "clip skip",
    "morph to",
    "animation",
    "variants",
    "loras",
    "LoRAs",
    "language",
    "max size",
    "max steps",
    "max count",
    "star threshold",
    "allowance",
)
COMMAND_NAMES: Final = (Location.command_name, Location.group_name, Location.parameter_name)


def catalogue_path(language: str) -> Path:
    """Return the path of the catalogue of ``language``."""
    return FOLDER / language / "LC_MESSAGES" / "darkroom.po"


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Compile the catalogue of ``language``.

    English and unknown languages have an empty one.
    """
    if language not in LANGUAGE_BY_LOCALE.values():
        return gettext.NullTranslations()
    compiled = BytesIO()
    with catalogue_path(language).open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def say(language: str, template: Template, /, **values: Any) -> str:
    """Translate ``template`` to ``language`` and fill in ``values`` by name."""
    if isinstance(template, Plural):
        text = translations(language).ngettext(template.one, template.many, values[template.by])
    else:
        text = translations(language).gettext(template) if template else ""  # gettext("") is the catalogue's header
    return fill(text, values)


def translate(language: str, text: Text) -> str:
    """Translate ``text``, such as an error, to ``language``, without secrets.

    Also translates the name of the setting that it is about.
    """
    if isinstance(text, SeveralInvalidError):
        return "\n".join(translate(language, error) for error in text.errors)
    values = text.values
    if "field" in values:
        values = values | {"field": setting_name(language, values["field"])}
    return redact(say(language, text.template, **values))


def setting_name(language: str, name: str) -> str:
    """Translate the ``name`` of a setting for use within a sentence."""
    return translations(language).pgettext(SETTING, name)


def command_name(language: str, name: str) -> str:
    """Translate the ``name`` of a command or an option."""
    return translations(language).pgettext(COMMAND, name)


class CommandTranslator(Translator):
    """Translates names and descriptions of commands when discord.py registers them."""

    async def load(self) -> None:
        """Compile all catalogues in a thread, before the first member needs one."""
        for language in set(LANGUAGE_BY_LOCALE.values()):
            await asyncio.to_thread(translations, language)

    async def translate(self, string: locale_str, locale: discord.Locale, context: TranslationContextTypes) -> str | None:
        """Return ``string`` in the language of ``locale``.

        Returns None where it has no other translation.
        """
        language = LANGUAGE_BY_LOCALE.get(locale, ENGLISH)
        return _command_text(language, string.message, context.location in COMMAND_NAMES) if language != ENGLISH else None


@cache
def _command_text(language: str, message: str, is_name: bool) -> str | None:
    """Return the translation of a command's text, None if it is the same; Discord asks for each in thirty locales."""
    text = (command_name if is_name else say)(language, message)
    return text if text != message else None
