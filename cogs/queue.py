"""/queue: show what is being made, who is next and when it will be done."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.components import PersistentButton, PersistentSelect, view_of
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.policy.permissions import is_here, may_cancel, may_see
from cogs.core.types import Interaction
from diffusion.result import Progress
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from bot import Darkroom

MAX_LINES = 10
BAR_CELLS = 8
PROMPT_LENGTH = 40  # characters of a prompt in a line
MAX_SELECT_OPTIONS = 25  # Discord's limit
MAX_LABEL_LENGTH = 100  # Discord's limit on an option's label
BOT_PAUSED = N_("The bot is paused. All requests wait until its operator resumes it.")
EMPTY = N_("Nobody is waiting. `/imagine` starts at once.")
HIDDEN_REQUESTS = plural(
    "{count} request from another server or channel shares this queue.",
    "{count} requests from other servers or channels share this queue.",
)


@dataclass(frozen=True)
class Entry:
    """A line of the queue as one member sees it.

    ``prompt`` is None if they may not read it.
    """

    id: int
    owner: int
    prompt: str | None
    progress: Progress
    place: int  # among the waiting requests; 0 if it runs
    done: datetime | None
    cancellable: bool  # by this member


@dataclass(frozen=True)
class Queue:
    """The queue as one member sees it.

    ``hidden`` counts the requests from other servers and channels.
    """

    entries: list[Entry]
    hidden: int


def queue_text(queue: Queue, paused: bool = False, language: str = ENGLISH) -> str:
    """Return the queue as text."""
    if not queue.entries and not queue.hidden:
        return say(language, BOT_PAUSED if paused else EMPTY)
    lines = [_line(entry, language) for entry in queue.entries[:MAX_LINES]]
    if len(queue.entries) > MAX_LINES:
        lines.append(f"-# {say(language, '… and {count} more', count=len(queue.entries) - MAX_LINES)}")
    notes = [say(language, BOT_PAUSED)] if paused else []
    if following := next((entry for entry in queue.entries if entry.place == 1), None):
        notes.append(say(language, "{member} is next.", member=f"<@{following.owner}>"))
    if queue.hidden:
        notes.append(say(language, HIDDEN_REQUESTS, count=queue.hidden))
    if notes:
        lines.append(f"-# {' '.join(notes)}")
    return "\n".join(lines)


def _line(entry: Entry, language: str) -> str:
    if entry.prompt is None:
        prompt = f"*{say(language, 'private')}*"
    else:
        prompt = render.title(entry.prompt, PROMPT_LENGTH, language)
    state = ""
    if entry.place == 0:
        share = entry.progress.completed / (entry.progress.total or 1)
        state = f"{_bar(share)} {100 * share:.0f} %"
    elif entry.place == 1:
        state = say(language, "next")
    done = say(language, "done {when}", when=discord.utils.format_dt(entry.done, "R")) if entry.done else ""
    parts = filter(None, (prompt, f"<@{entry.owner}>", state, done))
    marker = f"`{entry.place}.`" if entry.place else "▶"
    return f"{marker} {' · '.join(parts)}"


def _bar(share: float) -> str:
    filled = int(BAR_CELLS * share)
    return "▰" * filled + "▱" * (BAR_CELLS - filled)


def _state(entry: Entry, language: str) -> str:
    if entry.place == 0:
        return say(language, "running")
    return say(language, "number {place} in the queue", place=entry.place)


class RefreshButton(PersistentButton, name="queue:refresh"):
    """Shows the queue as it is now."""

    edits_message = True

    def __init__(self, language: str = ENGLISH) -> None:
        super().__init__(discord.ui.Button(label=say(language, "Refresh"), emoji="🔄"))

    async def run(self, interaction: Interaction) -> None:
        """Show the queue as it is now."""
        await refresh(interaction)


class CancelSelect(PersistentSelect, name="queue:cancel"):
    """Offers the requests that this member may cancel."""

    edits_message = True

    def __init__(self, entries: list[Entry], language: str = ENGLISH) -> None:
        select: discord.ui.Select[Any] = discord.ui.Select(placeholder=say(language, "Cancel one…"))
        for entry in entries[:MAX_SELECT_OPTIONS]:
            label = " ".join((entry.prompt or "").split()) or say(language, "Pictures without a prompt")
            select.add_option(label=label[:MAX_LABEL_LENGTH], value=str(entry.id), description=_state(entry, language))
        super().__init__(select)

    async def run(self, interaction: Interaction) -> None:
        """Cancel the chosen request and show the rest of the queue."""
        await interaction.client.service.cancel(Context.of(interaction), int(self.values[0]))
        await refresh(interaction)


async def refresh(interaction: Interaction) -> None:
    """Update the message of the pressed component with the present queue."""
    text, view = queue_message(interaction)
    await interaction.response.edit_message(content=text, view=view, allowed_mentions=NO_MENTIONS)


def queue_message(interaction: Interaction) -> tuple[str, discord.ui.View]:
    """Return the queue as text, and the buttons that the member can use."""
    queue = visible_queue(interaction)
    language = Context.of(interaction).language
    view = view_of(RefreshButton(language))
    if cancellable := [entry for entry in queue.entries if entry.cancellable]:
        view.add_item(CancelSelect(cancellable, language))
    return queue_text(queue, interaction.client.service.engine.paused, language), view


def visible_queue(interaction: Interaction) -> Queue:
    """Return the part of the queue that this member may see."""
    context = Context.of(interaction)
    entries: list[Entry] = []
    hidden = 0
    place = 0
    now = discord.utils.utcnow()
    for creation, job, seconds_left in interaction.client.service.runner.queue_snapshot():
        is_waiting = job.started is None
        place += is_waiting
        if creation.owner != context.member_id and not is_here(context, creation):
            hidden += 1
            continue
        entries.append(
            Entry(
                id=creation.id,
                owner=creation.owner,
                prompt=job.request.prompt if may_see(context, creation) else None,
                progress=job.progress,
                place=place if is_waiting else 0,
                done=None if seconds_left is None else now + timedelta(seconds=seconds_left),
                cancellable=may_cancel(context, creation),
            )
        )
    return Queue(entries, hidden)


class QueueCog(commands.Cog):
    """Shows the requests that wait or run."""

    @app_commands.command()
    async def queue(self, interaction: Interaction) -> None:
        """See what is being made, whose turn is next and when; cancel your own requests."""
        text, view = queue_message(interaction)
        await interaction.response.send_message(text, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(QueueCog())
