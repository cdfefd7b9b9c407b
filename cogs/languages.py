"""Names and descriptions of the commands in members' languages, from ``translations/LANGUAGE.toml``.

Each file has a table ``names``, of commands and options, and a table ``texts``, of descriptions and choices, both by the
English words. What a file leaves out, Discord shows in English.
"""

import tomllib
from pathlib import Path
from typing import Any, Final

import discord
from discord.app_commands import TranslationContextLocation as Location
from discord.app_commands import TranslationContextTypes, Translator, locale_str

FOLDER: Final = Path(__file__).with_name("translations")
FILES: Final = {
    discord.Locale.german: "de",
    discord.Locale.french: "fr",
    discord.Locale.spain_spanish: "es",
    discord.Locale.latin_american_spanish: "es",
    discord.Locale.japanese: "ja",
}
NAMES: Final = (Location.command_name, Location.group_name, Location.parameter_name)


class Languages(Translator):
    """Looks up what discord.py asks for when it tells Discord the commands."""

    def __init__(self) -> None:
        self.tables = {name: tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8")) for name in set(FILES.values())}

    async def translate(self, string: locale_str, locale: discord.Locale, context: TranslationContextTypes) -> str | None:
        """Give ``string`` in the language of ``locale``, or None where it has no translation."""
        table: dict[str, Any] = self.tables.get(FILES.get(locale, ""), {})
        return table.get("names" if context.location in NAMES else "texts", {}).get(string.message)
