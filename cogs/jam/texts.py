"""What the messages of a jam say."""

from collections.abc import Sequence
from typing import Final

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.message import LAYOUT_LIMIT, fit_text
from cogs.core.storage.jam_rows import JamEntryRow, JamRow, Stage
from cogs.core.storage.jams import VOTE_OVER, Candidate
from diffusion.text import N_, plural

PROMPT_LENGTH: Final = 60  # characters of a prompt in a list
LEAST_SHOWN: Final = 8  # of them; fewer say nothing
ROOM: Final = LAYOUT_LIMIT - 200
ROOM_OF_LIST: Final = ROOM - 500
TITLE: Final = N_("Prompt jam: {theme}")
HOW_TO_JOIN: Final = N_(
    "{member} started it. Press Join and write one prompt for the theme, until {when}. Then I draw all of them,"
    " and everyone votes."
)
HIDDEN: Final = N_("The prompts stay hidden until then.")
TAKE_PART = plural("{count} member takes part:", "{count} members take part:")
NOBODY_YET: Final = N_("Nobody takes part yet.")
DRAWING = plural(
    "I am drawing {count} prompt now. Then comes the vote.", "I am drawing {count} prompts now. Then comes the vote."
)
VOTE: Final = N_("Vote for the best picture by its number, until {when}. You can change your vote, but not vote for your own.")
NOT_SHOWN = plural(
    "{count} picture is not shown: it was cancelled, could not be drawn, or the safety check holds it back.",
    "{count} pictures are not shown: they were cancelled, could not be drawn, or the safety check holds them back.",
)
TO_THE_VOTE: Final = N_("Everything is drawn. [Vote here]({link}), until {when}.")
NO_ENTRIES: Final = N_("This jam is over. Nobody wrote a prompt for it. `/jam start` begins another one.")
NO_PICTURES: Final = N_("This jam is over. None of its pictures can be shown, so nobody wins.")
NO_VOTES: Final = N_("This jam is over. Nobody voted, so nobody wins.")
OVER: Final = N_("This jam is over.")
CANCELLED: Final = N_("This jam was cancelled.")
WINS = plural("👑 {member} wins with {count} vote!", "👑 {member} wins with {count} votes!")
TIE = plural(
    "👑 It is a tie! {members} win together, with {count} vote each.",
    "👑 It is a tie! {members} win together, with {count} votes each.",
)
ONLY_ONE: Final = N_("👑 {member} wins: theirs is the only picture.")
VOTES = plural("{count} vote", "{count} votes")


def title(jam: JamRow) -> str:
    """Return the first line of a message of ``jam``."""
    return f"**{say(jam.language, TITLE, theme=render.escape(jam.theme))}**"


def invitation(jam: JamRow, entries: Sequence[JamEntryRow]) -> str:
    """Return the text of the message that members join by."""
    language = jam.language
    when = discord.utils.format_dt(jam.ends, "R")
    lines = [title(jam), say(language, HOW_TO_JOIN, member=f"<@{jam.starter}>", when=when)]
    if not jam.is_open:
        lines.append(say(language, HIDDEN))
    if not entries:
        return "\n".join([*lines, say(language, NOBODY_YET)])
    heading = say(language, TAKE_PART, count=len(entries))
    if jam.is_open:
        room = max(1, (ROOM - sum(map(len, lines))) // len(entries) - 40)
        prompts = [fit_text(entry.prompt, min(room, 2 * PROMPT_LENGTH), render.escape) for entry in entries]
        listed = [f"- <@{entry.member}>: {prompt}" for entry, prompt in zip(entries, prompts, strict=True)]
        return "\n".join([*lines, heading, *listed])
    return "\n".join([*lines, f"{heading} {' '.join(f'<@{entry.member}>' for entry in entries)}"])


def ballot(jam: JamRow, candidates: Sequence[Candidate], missing: int, *, has_prompts: bool = True) -> str:
    """Return the text of the vote; ``missing`` entries have no picture to show."""
    language = jam.language
    when = discord.utils.format_dt(jam.ends, "R")
    return "\n".join([title(jam), say(language, VOTE, when=when), *_listed(jam, candidates, missing, has_prompts=has_prompts)])


def results(jam: JamRow, candidates: Sequence[Candidate], missing: int, *, has_prompts: bool = True) -> str:
    """Return the text that takes the place of the vote: everyone's picture and votes."""
    lines = [title(jam), say(jam.language, VOTE_OVER)]
    lines += _listed(jam, candidates, missing, has_prompts=has_prompts, has_votes=True)
    return "\n".join(lines)


def _listed(
    jam: JamRow, candidates: Sequence[Candidate], missing: int, *, has_prompts: bool, has_votes: bool = False
) -> list[str]:
    lines = []
    for candidate in candidates:
        line = _linked_number(candidate)
        ends = [f"<@{candidate.entry.member}>", say(jam.language, VOTES, count=candidate.votes)] if has_votes else []
        room = min(PROMPT_LENGTH, ROOM_OF_LIST // len(candidates) - len(line) - sum(len(end) + 3 for end in ends))
        prompts = [fit_text(candidate.entry.prompt, room, render.escape)] if has_prompts and room >= LEAST_SHOWN else []
        lines.append(f"{line} {' · '.join([*prompts, *ends])}")
    if missing:
        lines.append(f"-# {say(jam.language, NOT_SHOWN, count=missing)}")
    return lines


def _linked_number(candidate: Candidate) -> str:
    """Return the number of an entry, which leads to the message with its picture."""
    creation = candidate.creation
    link = render.message_link(creation.guild_id, creation.channel_id, creation.message_id)
    return f"[**{candidate.entry.number}**]({link})"


def announcement(jam: JamRow, winners: Sequence[Candidate], *, is_only: bool) -> str:
    """Return the text that names the winners; ``is_only`` is whether nobody could vote for another."""
    members = " ".join(f"<@{winner.entry.member}>" for winner in winners)
    votes = winners[0].votes
    if is_only:
        line = say(jam.language, ONLY_ONE, member=members)
    else:
        line = say(jam.language, TIE if len(winners) > 1 else WINS, member=members, members=members, count=votes)
    return "\n".join([title(jam), line, " · ".join(map(_linked_number, winners))])


def ended(jam: JamRow, sentence: str) -> str:
    """Return the text of the first message of a jam that is over; a cancelled one may have lost its theme."""
    return f"{title(jam)}\n{sentence}" if jam.theme and jam.stage != Stage.CANCELLED else sentence
