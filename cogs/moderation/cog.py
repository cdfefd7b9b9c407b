"""/moderation: block words and decide what happens to flagged pictures.

Its commands are for members with Manage Server.
"""

import asyncio
import io
from typing import Any, Final

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.message import MESSAGE_LIMIT, NO_MENTIONS, fit_text
from cogs.core.policy.context import Context
from cogs.core.policy.flagged import ACTION_NAMES, rule_text
from cogs.core.policy.permissions import check_can_post
from cogs.core.policy.word_filter import EXPRESSION_LIMIT, Rule, validate_rule
from cogs.core.request.options import matching_choices, server_only
from cogs.core.request.preferences import FlaggedAction, Preferences, Scope
from cogs.core.request.prompt import PROMPT_LIMIT
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

MAX_RULES: Final = 500
CHOICE_LIMIT: Final = 100  # characters of a choice that autocomplete offers
LIST_LIMIT: Final = 1800  # characters of a message
MANAGERS_ONLY: Final = N_("You need the permission Manage Server to do that.")
NOT_CHECKED: Final = N_("⚠️ **Pictures are not checked here.** The bot's operator can change that with `SAFETY_MODEL`.")
CHECKED: Final = N_("**Pictures are checked here.**")
WORDS_SHOWN: Final = 300  # characters of the blocked words in the overview
CHOICES: Final = [Choice(name=name, value=action.value) for action, name in ACTION_NAMES.items()]


@server_only
@app_commands.default_permissions(manage_guild=True)
class ModerationCog(commands.GroupCog, group_name="moderation", group_description="Block words and review flagged pictures"):
    """Changes the rules of a server."""

    words = app_commands.Group(name="words", description="Choose which words prompts may not contain")

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._lock = asyncio.Lock()  # each change starts from the result of the one before

    @words.command()
    @app_commands.describe(
        word="A word, or several in a row: whole words, however they are disguised",
        expression="Whether it is a regular expression instead",
    )
    async def add(self, interaction: Interaction, word: Range[str, 1, EXPRESSION_LIMIT], expression: bool = False) -> None:
        """Block prompts that contain a word."""
        async with self._lock:
            server = _managed_server(interaction)
            rule = await asyncio.to_thread(validate_rule, Rule(word.strip(), expression))
            rules = _rules_of(self._preferences(server))
            if rule in rules:
                raise DarkroomError("{rule} is blocked already.", rule=_quoted(rule))
            if len(rules) == MAX_RULES:
                raise DarkroomError(
                    plural(
                        "The limit of {count} blocked word is reached. Please remove one first.",
                        "The limit of {count} blocked words is reached. Please remove some first.",
                    ),
                    count=MAX_RULES,
                )
            await self._save(server, [*rules, rule])
            text = say(Context.of(interaction).language, "Prompts that contain {rule} are blocked now.", rule=_quoted(rule))
            await _reply(interaction, text)

    @words.command()
    @app_commands.describe(word="A blocked word")
    async def remove(self, interaction: Interaction, word: Range[str, 1, EXPRESSION_LIMIT + 2]) -> None:
        """Allow prompts that contain a word again."""
        async with self._lock:
            server = _managed_server(interaction)
            rules = _rules_of(self._preferences(server))
            kept = [rule for rule in rules if word.strip() not in (str(rule), _choice(rule))]
            if len(kept) == len(rules):
                raise DarkroomError("This word is not blocked. `/moderation words list` shows which ones are.")
            await self._save(server, kept)
            text = say(
                Context.of(interaction).language, "Prompts that contain {rule} are allowed again.", rule=_quoted(word.strip())
            )
            await _reply(interaction, text)

    @remove.autocomplete("word")
    async def complete_word(self, interaction: Interaction, current: str) -> list[Choice[str]]:
        """Offer the blocked words to those who may manage them."""
        if interaction.guild_id is None or not interaction.permissions.manage_guild:
            return []
        return matching_choices(map(_choice, _rules_of(self._preferences(interaction.guild_id))), current)

    @words.command(name="list")
    async def list_words(self, interaction: Interaction) -> None:
        """List the blocked words."""
        server = _managed_server(interaction)
        rules = _rules_of(self._preferences(server))
        text = ", ".join(map(_quoted, rules))
        language = Context.of(interaction).language
        if len(text) <= LIST_LIMIT:
            await _reply(interaction, text or say(language, "No words are blocked."))
            return
        file = discord.File(io.BytesIO("\n".join(map(str, rules)).encode()), "words.txt")
        heading = say(language, plural("{count} word:", "{count} words:"), count=len(rules))
        await interaction.response.send_message(heading, file=file, ephemeral=True)

    @app_commands.command()
    async def show(self, interaction: Interaction) -> None:
        """See which rules hold here, the most important first."""
        server = _managed_server(interaction)
        language = Context.of(interaction).language
        rules = _rules_of(self._preferences(server))
        words = say(language, "No words are blocked.")
        if rules:
            heading = say(language, plural("{count} blocked word:", "{count} blocked words:"), count=len(rules))
            words = f"{heading} {fit_text(', '.join(map(_quoted, rules)), WORDS_SHOWN)}"
        pictures = self._rule_text(server, language) if self.service.engine.can_screen else say(language, NOT_CHECKED)
        change = say(language, "Change this with `/moderation rule`, `/moderation channel` and `/moderation words`.")
        await _reply(interaction, f"{pictures}\n{words}\n-# {change}")

    @app_commands.command()
    @app_commands.describe(text="A prompt, as a member might write it")
    async def test(self, interaction: Interaction, text: Range[str, 1, PROMPT_LIMIT]) -> None:
        """Test whether a prompt would be blocked."""
        _managed_server(interaction)
        broken = await self.service.rules.broken_rule(Context.of(interaction), text)
        language = Context.of(interaction).language
        if broken:
            await _reply(interaction, say(language, "Blocked by {rule}.", rule=_quoted(broken)))
        else:
            await _reply(interaction, say(language, "This prompt contains no blocked word."))

    @app_commands.command()
    @app_commands.describe(channel="Where moderators review flagged pictures; leave it out to turn reviews off")
    async def channel(self, interaction: Interaction, channel: discord.TextChannel | None = None) -> None:
        """Set the channel in which moderators review flagged pictures."""
        async with self._lock:
            server = _managed_server(interaction)
            if channel:
                check_can_post(channel)
            await self._change(server, moderators=channel.id if channel else None)
            await _reply(interaction, self._rule_text(server, Context.of(interaction).language))

    @app_commands.command()
    @app_commands.describe(
        flagged="What happens to flagged pictures", age_restricted="What happens to them in age-restricted channels"
    )
    @app_commands.choices(flagged=CHOICES, age_restricted=CHOICES)
    async def rule(self, interaction: Interaction, flagged: str | None = None, age_restricted: str | None = None) -> None:
        """Show or set what happens to flagged pictures."""
        async with self._lock:
            server = _managed_server(interaction)
            changes: dict[str, Any] = {}
            if flagged is not None:
                changes["flagged"] = FlaggedAction(flagged)
            if age_restricted is not None:
                changes["flagged_restricted"] = FlaggedAction(age_restricted)
            if changes:
                await self._change(server, **changes)
            await _reply(interaction, self._rule_text(server, Context.of(interaction).language))

    def _preferences(self, server: int) -> Preferences:
        return self.service.preference_store.get(Scope.SERVER, server)

    async def _change(self, server: int, **changes: Any) -> None:
        await self.service.preference_store.set(Scope.SERVER, server, self._preferences(server).with_(**changes))

    async def _save(self, server: int, rules: list[Rule]) -> None:
        words = tuple(rule.text for rule in rules if not rule.is_expression)
        expressions = tuple(rule.text for rule in rules if rule.is_expression)
        await self._change(server, words=words or None, expressions=expressions or None)

    def _rule_text(self, server: int, language: str) -> str:
        checked = say(language, CHECKED if self.service.engine.can_screen else NOT_CHECKED)
        return f"{checked}\n{rule_text(self._preferences(server), language)}"


def _managed_server(interaction: Interaction) -> int:
    """Return the id of the server that the member may manage.

    Raises `DarkroomError` for members without Manage Server: servers can show them the command.
    """
    if interaction.guild_id is None or not interaction.permissions.manage_guild:
        raise DarkroomError(MANAGERS_ONLY)
    return interaction.guild_id


def _rules_of(server: Preferences) -> list[Rule]:
    return [*map(Rule, server.words or ()), *(Rule(text, is_expression=True) for text in server.expressions or ())]


def _choice(rule: Rule) -> str:
    return str(rule)[:CHOICE_LIMIT]


def _quoted(rule: Rule | str) -> str:
    return f"`{str(rule).replace('`', '')}`"


async def _reply(interaction: Interaction, text: str) -> None:
    await interaction.response.send_message(fit_text(text, MESSAGE_LIMIT), ephemeral=True, allowed_mentions=NO_MENTIONS)
