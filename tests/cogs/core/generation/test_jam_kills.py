"""kill -9 at random moments of a jam: nobody's prompt is lost, nothing is posted twice. ``--jam-kills 20`` for 30 members."""

import asyncio
import contextlib
import json
import random
import sqlite3
from collections import Counter

from cogs.core.messages.components import PREFIX
from cogs.core.simulator.loopback import LoopbackDiscord
from tests.support.bot_process import END_SECONDS, count_deliveries, start_bot, states_in_database
from tests.support.waiting import until

MOMENTS = ("before", "after", "before post", "after post")
MANY_KILLS, MANY_MEMBERS, FEW_MEMBERS = 20, 30, 4


class Players:
    """Members who take part in a jam, and repeat what a dead bot did not answer."""

    def __init__(self, wire, folder):
        self.wire, self.folder = wire, folder
        self.entered, self.voted = set(), set()

    def saying(self, words):
        """The messages that say ``words``."""
        return [message for message in self.wire.messages() if words in f"{message.content}{json.dumps(message.components)}"]

    def with_button(self, name):
        """A message with a button of a jam, and the first custom_id of it; None if there is none."""
        for message in self.wire.messages():
            found = [each for each in _custom_ids(message.components) if each.startswith(f"{PREFIX}:jam:{name}:")]
            if found:
                return message, found
        return None

    def stage(self):
        with contextlib.closing(sqlite3.connect(self.folder / "darkroom.sqlite")) as connection:
            row = connection.execute("SELECT stage FROM jams").fetchone()
        return row and row[0]

    async def play(self):
        """Bring the jam from where it is to its end."""
        await until(lambda: (self.folder / "darkroom.sqlite").exists())
        while not self.is_over():
            stage = self.stage()
            if stage is None and not self.entered:
                await self.answered(
                    self.wire.slash(self.wire.members[0], self.wire.channel, "jam start", theme="x", minutes=60)
                )
            elif stage == "open":
                for member in self.wire.members:
                    if member.id not in self.entered:
                        await self.join(member)
                await self.command("end")
            elif stage == "voting" and self.with_button("vote"):
                for member in self.wire.members:
                    if member.id not in self.voted:
                        await self.vote(member)
                await self.command("end")
            await asyncio.sleep(0.05)

    def is_over(self):
        return bool(self.entered) and self.stage() is None and bool(self.saying("This jam is over"))

    async def join(self, member):
        message, (join, *_) = await until(lambda: self.with_button("join"))
        pressed = await self.answered(self.wire.press(member, message, join))
        form = await self.answered(self.wire.submit(member, message, pressed.modal, prompt=f"leaf of {member.id} --steps 3"))
        if "You take part" in self.answer_of(form):
            self.entered.add(member.id)

    async def vote(self, member):
        message, buttons = self.with_button("vote")
        if "You voted" in self.answer_of(await self.answered(self.wire.press(member, message, buttons[0]))):
            self.voted.add(member.id)
        else:  # it is their own
            await self.answered(self.wire.press(member, message, buttons[-1]))
            self.voted.add(member.id)

    async def command(self, name, **options):
        await self.answered(self.wire.slash(self.wire.members[0], self.wire.channel, f"jam {name}", **options))

    async def answered(self, asking):
        """The interaction once the bot has answered it."""
        interaction = await asking
        await until(lambda: interaction.responded)
        return interaction

    def answer_of(self, interaction):
        sent = self.wire.backend.get_message(interaction.channel_id, interaction.message_id)
        return sent.content


def _custom_ids(components):
    for component in components or ():
        if component.get("custom_id"):
            yield component["custom_id"]
        yield from _custom_ids(component.get("components"))


def kill_later(wire, process, chance, dead):
    """Kill ``process`` right before or after Discord carries out one of its requests."""
    moment = chance.choice(MOMENTS)
    count = chance.randint(1, 3 if "post" in moment else 6)

    def kill(stage):
        nonlocal count
        count -= stage == moment
        if count <= 0:
            process.kill()
            dead.set()
        return dead.is_set()

    wire.on_request = kill


async def test_killed_bot_loses_no_prompt_of_a_jam_and_posts_nothing_twice(tmp_path, pytestconfig):
    kills, chance = pytestconfig.getoption("jam_kills"), random.Random(pytestconfig.getoption("kill_seed"))
    killed = 0
    async with LoopbackDiscord(members=MANY_MEMBERS if kills >= MANY_KILLS else FEW_MEMBERS) as wire:
        players = Players(wire, tmp_path)
        is_over = False
        while not is_over:
            dead = asyncio.Event()
            wire.on_request = lambda stage: False
            async with start_bot(wire, tmp_path) as process:
                if killed < kills:
                    kill_later(wire, process, chance, dead)
                playing, dying = asyncio.create_task(players.play()), asyncio.create_task(dead.wait())
                await asyncio.wait([playing, dying], timeout=END_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                is_over = playing.done() and not playing.exception()
                killed += dead.is_set()
                playing.cancel()
                dying.cancel()
                await asyncio.wait([playing, dying])
        shown = count_deliveries(wire)
        posts = Counter(len(players.saying(words)) for words in ("The vote is over", "wins with"))
    states = Counter(states_in_database(tmp_path).values())
    twice = sum(count > 1 for count in shown.values())
    print(f"\n{killed} kills, {len(wire.members)} members: {len(shown)} pictures, {twice} of them twice")
    assert killed == kills and len(players.entered) == len(wire.members)
    assert len(shown) == len(wire.members) and set(shown.values()) == {1} and states == {"delivered": len(wire.members)}
    assert posts == {1: 2}
