"""/moderation: which words a server does not take, and what becomes of flagged pictures. For those who manage the server."""

import asyncio
import io
from typing import Any, Final

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.policy.flagged import ACTION_NAMES, rule_text
from cogs.core.policy.locale import language_of
from cogs.core.policy.word_filter import EXPRESSION_LIMIT, Rule, validate_rule
from cogs.core.request.options import PROMPT_LIMIT, matching_choices, server_only
from cogs.core.request.preferences import FlaggedAction, Preferences, Scope
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

Interaction = discord.Interaction[Any]
MOST_RULES: Final = 500
CHOICE_LIMIT: Final = 100  # Discord's, on what autocomplete offers
SHOWN: Final = 1800  # characters of a message
MANAGERS_ONLY: Final = N_("Only members who may manage this server can do that.")
UNCHECKED: Final = N_("Pictures are not checked here: whoever runs this bot can set `SAFETY_MODEL`.")
NEEDED: Final = discord.Permissions(view_channel=True, send_messages=True, attach_files=True)
CHOICES: Final = [Choice(name=text, value=action.value) for action, text in ACTION_NAMES.items()]


@server_only
@app_commands.default_permissions(manage_guild=True)
class ModerationCog(commands.GroupCog, group_name="moderation", group_description="What is not wanted in this server"):
    """Sets a server's rules."""

    words = app_commands.Group(name="words", description="Which words prompts may not have")

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._turn = asyncio.Lock()  # what one changes, the next must see

    @words.command()
    @app_commands.describe(
        word="A word, or several in a row: whole words, however they are disguised",
        expression="Whether it is a regular expression instead",
    )
    async def add(self, interaction: Interaction, word: Range[str, 1, EXPRESSION_LIMIT], expression: bool = False) -> None:
        """Take no more prompts with a word."""
        async with self.service.answering(interaction), self._turn:
            server = _managed(interaction)
            rule = await asyncio.to_thread(validate_rule, Rule(word.strip(), expression))
            rules = _rules(self._of(server))
            if rule in rules:
                raise DarkroomError("{rule} is listed already.", rule=_quoted(rule))
            if len(rules) == MOST_RULES:
                raise DarkroomError(
                    plural(
                        "There is {most} word already, which is all I take. Please remove it first.",
                        "There are {most} words already, which is all I take. Please remove some first.",
                        by="most",
                    ),
                    most=MOST_RULES,
                )
            await self._set(server, [*rules, rule])
            language = language_of(interaction)
            await _say(interaction, say(language, "Prompts with {rule} are not taken any more.", rule=_quoted(rule)))

    @words.command()
    @app_commands.describe(word="One that is listed")
    async def remove(self, interaction: Interaction, word: Range[str, 1, EXPRESSION_LIMIT + 2]) -> None:
        """Take prompts with a word again."""
        async with self.service.answering(interaction), self._turn:
            server = _managed(interaction)
            rules = _rules(self._of(server))
            kept = [rule for rule in rules if word.strip() not in (str(rule), _choice(rule))]
            if len(kept) == len(rules):
                raise DarkroomError("This is not listed. `/moderation words list` shows what is.")
            await self._set(server, kept)
            language = language_of(interaction)
            await _say(interaction, say(language, "Prompts with {rule} are taken again.", rule=_quoted(word.strip())))

    @remove.autocomplete("word")
    async def listed(self, interaction: Interaction, current: str) -> list[Choice[str]]:
        """Offer what is listed."""
        if interaction.guild_id is None or not interaction.permissions.manage_guild:
            return []
        return matching_choices(map(_choice, _rules(self._of(interaction.guild_id))), current)

    @words.command(name="list")
    async def show_words(self, interaction: Interaction) -> None:
        """Show which words prompts may not have."""
        async with self.service.answering(interaction), self._turn:
            server = _managed(interaction)
            rules = _rules(self._of(server))
            text, language = ", ".join(map(_quoted, rules)), language_of(interaction)
            if len(text) <= SHOWN:
                await _say(interaction, text or say(language, "No words are listed."))
                return
            file = discord.File(io.BytesIO("\n".join(map(str, rules)).encode()), "words.txt")
            counted = say(language, plural("{count} word:", "{count} words:"), count=len(rules))
            await interaction.response.send_message(counted, file=file, ephemeral=True)

    @app_commands.command()
    @app_commands.describe(text="A prompt, as a member might write it")
    async def test(self, interaction: Interaction, text: Range[str, 1, PROMPT_LIMIT]) -> None:
        """Say what would become of a prompt."""
        async with self.service.answering(interaction):
            _managed(interaction)
            broken = await self.service.rules.broken(interaction, text)
            language = language_of(interaction)
            if broken:
                await _say(interaction, say(language, "Not taken: {rule}.", rule=_quoted(broken)))
            else:
                await _say(interaction, say(language, "No word of it is listed."))

    @app_commands.command()
    @app_commands.describe(channel="Where moderators look at held pictures; none: pictures cannot be held")
    async def channel(self, interaction: Interaction, channel: discord.TextChannel | None = None) -> None:
        """Set where flagged pictures are held until a moderator decides."""
        async with self.service.answering(interaction), self._turn:
            server = _managed(interaction)
            if channel:
                _check_reach(channel)
            after = self._of(server).with_(moderators=channel.id if channel else None)
            await self.service.preference_store.set(Scope.SERVER, server, after)
            await _say(interaction, self._rule_text(server, language_of(interaction)))

    @app_commands.command()
    @app_commands.describe(
        flagged="What becomes of flagged pictures", age_restricted="What becomes of them in age-restricted channels"
    )
    @app_commands.choices(flagged=CHOICES, age_restricted=CHOICES)
    async def rule(self, interaction: Interaction, flagged: str | None = None, age_restricted: str | None = None) -> None:
        """Show and set what becomes of flagged pictures."""
        async with self.service.answering(interaction), self._turn:
            server = _managed(interaction)
            changes: dict[str, Any] = {}
            if flagged is not None:
                changes["flagged"] = FlaggedAction(flagged)
            if age_restricted is not None:
                changes["flagged_restricted"] = FlaggedAction(age_restricted)
            if changes:
                await self.service.preference_store.set(Scope.SERVER, server, self._of(server).with_(**changes))
            await _say(interaction, self._rule_text(server, language_of(interaction)))

    def _of(self, server: int) -> Preferences:
        return self.service.preference_store.of(Scope.SERVER, server)

    async def _set(self, server: int, rules: list[Rule]) -> None:
        words = tuple(rule.text for rule in rules if not rule.is_expression)
        expressions = tuple(rule.text for rule in rules if rule.is_expression)
        after = self._of(server).with_(words=words or None, expressions=expressions or None)
        await self.service.preference_store.set(Scope.SERVER, server, after)

    def _rule_text(self, server: int, language: str) -> str:
        text = rule_text(self._of(server), language)
        return text if self.service.engine.can_screen else f"{text}\n{say(language, UNCHECKED)}"


def _managed(interaction: Interaction) -> int:
    """Give the id of the server; raises `DarkroomError` for members who do not manage it, whoever may see the command."""
    if interaction.guild_id is None or not interaction.permissions.manage_guild:
        raise DarkroomError(MANAGERS_ONLY)
    return interaction.guild_id


def _rules(server: Preferences) -> list[Rule]:
    return [*map(Rule, server.words or ()), *(Rule(text, is_expression=True) for text in server.expressions or ())]


def _choice(rule: Rule) -> str:
    return str(rule)[:CHOICE_LIMIT]


def _check_reach(channel: discord.TextChannel) -> None:
    permissions = channel.permissions_for(channel.guild.me)
    if not permissions.is_superset(NEEDED):
        raise DarkroomError(
            "In {channel} I need the permissions View Channel, Send Messages and Attach Files."
            " Please allow me these, or choose another.",
            channel=channel.mention,
        )


def _quoted(rule: Rule | str) -> str:
    return f"`{str(rule).replace('`', '')}`"


async def _say(interaction: Interaction, text: str) -> None:
    await interaction.response.send_message(text, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(ModerationCog(bot.service))
