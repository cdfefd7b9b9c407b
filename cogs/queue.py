"""/queue: what is being made, whose turn is next and when it will be done."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.validation import Offering
from cogs.core.policy.locale import language_of
from cogs.core.policy.permissions import Interaction, is_here, may_end, may_see
from diffusion.result import Progress
from diffusion.text import N_

LINES = 10
PROMPT_SHOWN = 40
OPTIONS = 25  # Discord's limit on a select
LABEL_LIMIT = 100  # and on its labels
PAUSED = N_("Everything waits at the moment: whoever runs me has paused me.")
EMPTY = N_("Nobody is waiting. `/imagine` starts at once.")


@dataclass(frozen=True)
class Entry:
    """A line of the queue as one member sees it: ``prompt`` is None where they may not read it."""

    id: int
    owner: int
    prompt: str | None
    progress: Progress
    place: int  # among all who wait; 0 for one under way
    done: datetime | None
    ending: bool  # whether this member may cancel it


def queue_text(entries: list[Entry], elsewhere: int, paused: bool = False, language: str = ENGLISH) -> str:
    """Word the queue, which has ``elsewhere`` requests that are not shown."""
    if not entries and not elsewhere:
        return say(language, PAUSED if paused else EMPTY)
    lines = [_line(entry, language) for entry in entries[:LINES]]
    if len(entries) > LINES:
        lines.append(f"-# {say(language, '… and {count} more', count=len(entries) - LINES)}")
    following = next((entry for entry in entries if entry.place == 1), None)
    notes = [say(language, PAUSED)] if paused else []
    if following:
        notes.append(say(language, "The next turn is {member}'s.", member=f"<@{following.owner}>"))
    if elsewhere == 1:
        notes.append(say(language, "1 request from elsewhere takes turns with these."))
    elif elsewhere:
        notes.append(say(language, "{count} requests from elsewhere take turns with these.", count=elsewhere))
    if notes:
        lines.append(f"-# {' '.join(notes)}")
    return "\n".join(lines)


def _line(entry: Entry, language: str) -> str:
    private = f"*{say(language, 'private')}*"
    prompt = private if entry.prompt is None else render.title(entry.prompt, PROMPT_SHOWN, language)
    percent = 100 * entry.progress.completed // (entry.progress.total or 1)
    state = f"{percent} %" if entry.place == 0 else say(language, "next") if entry.place == 1 else ""
    done = say(language, "done {when}", when=discord.utils.format_dt(entry.done, "R")) if entry.done else ""
    parts = filter(None, (prompt, f"<@{entry.owner}>", state, done))
    return f"{'▶' if entry.place == 0 else f'`{entry.place}.`'} {' · '.join(parts)}"


class RefreshButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template="darkroom:queue:refresh"):
    """Shows the queue as it is now."""

    def __init__(self, language: str = ENGLISH) -> None:
        label = say(language, "Refresh")
        super().__init__(discord.ui.Button(label=label, emoji="🔄", custom_id="darkroom:queue:refresh"))

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew."""
        return cls()

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("QueueCog").refresh(interaction)


class CancelSelect(Offering, discord.ui.DynamicItem[discord.ui.Select[Any]], template="darkroom:queue:cancel"):
    """Offers what this member may cancel."""

    def __init__(self, entries: list[Entry], language: str = ENGLISH) -> None:
        placeholder = say(language, "Cancel one…")
        select: discord.ui.Select[Any] = discord.ui.Select(custom_id="darkroom:queue:cancel", placeholder=placeholder)
        for entry in entries[:OPTIONS]:
            label = " ".join((entry.prompt or "").split()) or say(language, "Pictures without a prompt")
            select.add_option(label=label[:LABEL_LIMIT], value=str(entry.id), description=_state(entry, language))
        super().__init__(select)

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the select anew; what was chosen stands in the interaction."""
        return cls([])

    async def callback(self, interaction: Interaction) -> None:
        """Hand the choice over."""
        await interaction.client.get_cog("QueueCog").cancel(interaction, int(self.item.values[0]))


def _state(entry: Entry, language: str) -> str:
    if entry.place == 0:
        return say(language, "under way")
    return say(language, "number {place} of those waiting", place=entry.place)


class QueueCog(commands.Cog):
    """The line in front of the engine."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def queue(self, interaction: Interaction) -> None:
        """See what is being made, whose turn is next and when; cancel what you asked for."""
        async with self.service.answering(interaction):
            text, view = self._shown(interaction)
            await interaction.response.send_message(text, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)

    async def refresh(self, interaction: Interaction) -> None:
        """Show the queue as it is now in the message whose button was pressed."""
        async with self.service.answering(interaction):
            text, view = self._shown(interaction)
            await interaction.response.edit_message(content=text, view=view, allowed_mentions=NO_MENTIONS)

    async def cancel(self, interaction: Interaction, creation_id: int) -> None:
        """Cancel what was chosen and show what is left."""
        async with self.service.answering(interaction):
            await self.service.cancel(interaction, creation_id)
            text, view = self._shown(interaction)
            await interaction.response.edit_message(content=text, view=view, allowed_mentions=NO_MENTIONS)

    def _shown(self, interaction: Interaction) -> tuple[str, discord.ui.View]:
        entries, elsewhere = self._entries(interaction)
        view, language = discord.ui.View(timeout=None), language_of(interaction)
        view.add_item(RefreshButton(language))
        if ending := [entry for entry in entries if entry.ending]:
            view.add_item(CancelSelect(ending, language))
        return queue_text(entries, elsewhere, self.service.engine.paused, language), view

    def _entries(self, interaction: Interaction) -> tuple[list[Entry], int]:
        """Give what this member is shown, and how many requests besides."""
        entries, elsewhere, place, now = [], 0, 0, discord.utils.utcnow()
        for creation, job, left in self.service.runner.queue_snapshot():
            waits = job.started is None
            place += waits
            if creation.owner != interaction.user.id and not is_here(interaction, creation):
                elsewhere += 1
                continue
            entries.append(
                Entry(
                    id=creation.id,
                    owner=creation.owner,
                    prompt=job.request.prompt if may_see(interaction, creation) else None,
                    progress=job.progress,
                    place=place if waits else 0,
                    done=None if left is None else now + timedelta(seconds=left),
                    ending=may_end(interaction, creation),
                )
            )
        return entries, elsewhere


async def setup(bot: Any) -> None:
    """Add the cog and make its button and select known."""
    bot.add_dynamic_items(RefreshButton, CancelSelect)
    await bot.add_cog(QueueCog(bot.service))
