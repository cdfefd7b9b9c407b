"""/presets: words and flags that members add to their prompts."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say, translate
from cogs.core.messages.message import MESSAGE_LIMIT, NO_MENTIONS, fit_text
from cogs.core.messages.render import escape
from cogs.core.policy.context import Context
from cogs.core.request.options import matching_choices
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.request.presets import MAX_PRESETS, NAME_LIMIT, TEXT_LIMIT, find_preset, read_preset, read_suffix
from cogs.core.request.prompt import clean
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from bot import Darkroom

TOO_MANY: Final = plural(
    "You have {count} preset, which is the most. Delete one first: `/presets delete`.",
    "You have {count} presets, which is the most. Delete one first: `/presets delete`.",
)
NO_NAME: Final = N_("Please name the preset with letters or digits.")
SAVED: Final = N_("Saved as {name}. `/presets use` adds it to all of your prompts, `--preset {plain}` to one.")
NONE_SAVED: Final = N_("You have no presets. Save words or flags that you often write: `/presets save`.")


class PresetsCog(commands.GroupCog, group_name="presets", group_description="Save words and flags to add to your prompts"):
    """Saves, uses and deletes the presets of members."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._lock = asyncio.Lock()  # so that no change of one member overwrites another one of theirs

    @app_commands.command()
    @app_commands.describe(name="How to call it", text="Words and flags, such as: oil painting --ar 3:2 --steps 30")
    async def save(self, interaction: Interaction, name: Range[str, 1, NAME_LIMIT], text: Range[str, 1, TEXT_LIMIT]) -> None:
        """Save words and flags under a name."""
        parsed = read_preset(text)
        wanted = clean(name)
        if not any(character.isalnum() for character in wanted):
            raise DarkroomError(NO_NAME)
        async with self._lock:
            before = await self._of(interaction)
            presets = {known: kept for known, kept in (before.presets or {}).items() if known.lower() != wanted.lower()}
            if len(presets) == MAX_PRESETS:
                raise DarkroomError(TOO_MANY, count=MAX_PRESETS)
            is_in_use = before.preset is not None and before.preset.lower() == wanted.lower()
            used = {"preset": wanted} if is_in_use else {}
            await self._set(interaction, before.with_(presets={**presets, wanted: clean(text)}, **used))
        language = Context.of(interaction).language
        plain = wanted if " " not in wanted else f'"{wanted}"'
        notes = (translate(language, note) for note in parsed.notes)
        saved = say(language, SAVED, name=f"**{escape(wanted)}**", plain=plain.replace("`", ""))
        await _reply(interaction, "\n".join([saved, *notes]))

    @app_commands.command()
    @app_commands.describe(name="One of your presets; leave it out to use none")
    async def use(self, interaction: Interaction, name: Range[str, 1, NAME_LIMIT] | None = None) -> None:
        """Add a preset to all of your prompts, or none."""
        async with self._lock:
            before = await self._of(interaction)
            found = find_preset(before.presets, name) if name else None
            await self._set(interaction, before.with_(preset=found))
        language = Context.of(interaction).language
        if found is None:
            await _reply(interaction, say(language, "No preset is added to your prompts any more."))
            return
        text = say(language, "{name} is added to all of your prompts now.", name=f"**{escape(found)}**")
        await _reply(interaction, f"{text}\n-# {escape((before.presets or {})[found])}")

    @app_commands.command()
    @app_commands.describe(text="Words to add to all of your prompts; leave it out to add none")
    async def suffix(self, interaction: Interaction, text: Range[str, 1, TEXT_LIMIT] | None = None) -> None:
        """Add words to all of your prompts, or none."""
        words = read_suffix(text) if text else None
        async with self._lock:
            await self._set(interaction, (await self._of(interaction)).with_(suffix=words))
        language = Context.of(interaction).language
        if words is None:
            await _reply(interaction, say(language, "No words are added to your prompts any more."))
        else:
            await _reply(interaction, say(language, "All of your prompts end with “{words}” now.", words=escape(words)))

    @app_commands.command(name="list")
    async def list_presets(self, interaction: Interaction) -> None:
        """List your presets, the one in use and your suffix."""
        language = Context.of(interaction).language
        preferences = await self._of(interaction)
        lines = []
        for name, text in (preferences.presets or {}).items():
            in_use = f" ({say(language, 'in use')})" if name == preferences.preset else ""
            lines.append(f"**{escape(name)}**{in_use}: {escape(text)}")
        if not lines:
            lines.append(say(language, NONE_SAVED))
        if preferences.suffix:
            lines.append(say(language, "Suffix: {words}", words=escape(preferences.suffix)))
        await _reply(interaction, "\n".join(lines))

    @app_commands.command()
    @app_commands.describe(name="One of your presets")
    async def delete(self, interaction: Interaction, name: Range[str, 1, NAME_LIMIT]) -> None:
        """Delete a preset."""
        async with self._lock:
            before = await self._of(interaction)
            found = find_preset(before.presets, name)
            kept = {known: text for known, text in (before.presets or {}).items() if known != found}
            in_use = None if before.preset == found else before.preset
            await self._set(interaction, before.with_(presets=kept or None, preset=in_use))
        await _reply(interaction, say(Context.of(interaction).language, "{name} is deleted.", name=f"**{escape(found)}**"))

    @use.autocomplete("name")
    @delete.autocomplete("name")
    async def suggest_names(self, interaction: Interaction, current: str) -> list[Choice[str]]:
        """Suggest the member's presets."""
        presets = self.service.preference_store.get(Scope.MEMBER, interaction.user.id).presets or {}
        return matching_choices(presets, current)

    async def _of(self, interaction: Interaction) -> Preferences:
        return await self.service.preference_store.reload(Scope.MEMBER, interaction.user.id)

    async def _set(self, interaction: Interaction, preferences: Preferences) -> None:
        await self.service.preference_store.set(Scope.MEMBER, interaction.user.id, preferences)


async def _reply(interaction: Interaction, text: str) -> None:
    shown: dict[str, Any] = {"ephemeral": True, "allowed_mentions": NO_MENTIONS}
    await interaction.response.send_message(fit_text(text, MESSAGE_LIMIT), **shown)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(PresetsCog(bot.service))
