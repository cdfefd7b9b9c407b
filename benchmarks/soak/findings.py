"""What a soak showed, as figures and as goals that were missed."""

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.soak.crowd import Asked, Crowd
from cogs.core.simulator.loopback import LoopbackDiscord

GROWTH = 0.02
SETTLED, LAST = (0.2, 0.3), (0.9, 1.0)  # parts of the time of which memory is compared: caches are full after the first fifth
UNFINISHED = ("accepted", "running", "rendered")


@dataclass(frozen=True)
class Memory:
    """What the bot's process holds at a time, in MiB: what it allocated, and all that is resident."""

    at: float
    anonymous: float
    resident: float


@dataclass(frozen=True)
class Findings:
    """Everything in seconds, moments as ``time.perf_counter`` tells them.

    ``overtaken`` counts for each modest request the flooder's pictures that were begun before it although it waited already;
    ``picture_seconds`` is the median time of a picture in the running batch.
    """

    began: float
    stopped: float
    ended: float
    asked: list[Asked]
    flooder: int
    wrong: list[str]
    lags: list[float]
    memory: list[Memory]
    overtaken: list[int]
    picture_seconds: float
    errors: int

    @property
    def growth(self) -> float:
        """The part by which the anonymous memory grew."""
        return self._anonymous(LAST) / self._anonymous(SETTLED) - 1

    def _anonymous(self, part: tuple[float, float]) -> float:
        since, until = (self.began + share * (self.stopped - self.began) for share in part)
        return median(sample.anonymous for sample in self.memory if since <= sample.at <= until)

    def missed(self) -> Iterator[str]:
        """Yield the goals that were missed, but for that of the memory."""
        if self.wrong:
            yield f"{len(self.wrong)} requests were not answered exactly once: {'; '.join(self.wrong[:5])}"
        if not self.overtaken or max(self.overtaken) > 1:
            yield f"the flooder overtook modest members by {max(self.overtaken, default=0)} pictures"
        if self.errors:
            yield f"the bot logged {self.errors} errors"

    def tell(self) -> None:
        """Print what was seen."""
        drawn = [asked for asked in self.asked if asked.pictures]
        pictures, asking = sum(asked.pictures for asked in drawn), self.stopped - self.began
        print(f"{len(self.asked)} requests in {asking:.0f} s, the last answered {self.ended - self.stopped:.0f} s later:")
        print(f"  {pictures} pictures, {pictures / (self.ended - self.began):.2f} a second, for", end=" ")
        print(", ".join(f"{count} {kind}" for kind, count in Counter(asked.kind for asked in drawn).most_common()))
        told = Counter((_gist(asked), asked.member.id == self.flooder) for asked in self.asked if asked.sentence)
        for (sentence, flooding), count in told.most_common():
            print(f"  {count} times to {'the flooder' if flooding else 'modest members'}: {sentence}")
        p50, p99 = (1000 * quantiles(self.lags, n=100)[cut] for cut in (49, 98))
        print(f"lag      p50 {p50:.1f} ms   p99 {p99:.1f} ms   max {1000 * max(self.lags):.1f} ms")
        print(
            f"memory   {self._anonymous(SETTLED):.1f} MiB after warming up, {self._anonymous(LAST):.1f} MiB at the end:",
            end=" ",
        )
        print(f"{self.growth:+.2%}; {self.memory[-1].resident:.0f} MiB resident")
        print(f"waits    until the answer; in brackets: in times that a picture is in the batch, {self.picture_seconds:.2f} s")
        for name, flooding in (("modest", False), ("flooder", True)):
            waits = [asked.wait for asked in drawn if (asked.member.id == self.flooder) is flooding]
            each = (f"{word} {wait:.1f} s ({wait / self.picture_seconds:.0f})" for word, wait in _extremes(waits))
            print(f"  {name:8}{'   '.join(each)}")
        times = ", ".join(f"{count} times by {pictures}" for pictures, count in sorted(Counter(self.overtaken).items()))
        print(f"  pictures of the flooder by which a modest member was overtaken: {times}")


def _extremes(waits: list[float]) -> Iterable[tuple[str, float]]:
    return [("median", median(waits)), ("worst", max(waits))] if waits else []


def _gist(asked: Asked) -> str:
    return re.sub(r"^\*\*.*\n| in about .*", "", asked.sentence)


def wrong_answers(crowd: Crowd, wire: LoopbackDiscord, folder: Path) -> Iterator[str]:
    """Name what was not answered exactly once, or otherwise than the journal in ``folder`` says."""
    with contextlib.closing(sqlite3.connect(folder / "darkroom.sqlite")) as connection:
        creation_store = dict(connection.execute("SELECT id, state FROM creations"))
    posts = Counter(number for post in wire.posted for number in set(re.findall(r"darkroom:result:reroll:\d+:(\d+)", post)))
    for asked in crowd.asked:
        interaction = asked.interaction
        state, posted, told = creation_store.get(interaction.id), posts[str(interaction.id)], len(interaction.followup_ids)
        told += not asked.pictures and interaction.message_id in wire.backend.messages[interaction.channel_id]
        name = f"{asked.kind} {interaction.id} ({state})"
        if asked.answered is None:
            yield f"{name} got no answer"
        elif asked.pictures:
            if (asked.pictures, posted, state, told) != (asked.wanted, 1, "delivered", 0):
                yield f"{name} got {asked.pictures} of {asked.wanted} pictures in {posted} posts and {told} sentences"
        elif posted or told != 1 or state not in (None, "failed", "cancelled"):
            yield f"{name} got {asked.sentence!r} in {told} messages and {posted} posts"
    yield from (f"button {pressed.id} got no answer" for pressed in crowd.pressed if not pressed.responded)
    yield from (f"{number} is still {state}" for number, state in creation_store.items() if state in UNFINISHED)


def turns_taken(turns: Iterable[list[str]], flooder: int) -> tuple[list[int], float]:
    """Read from ``turns`` what `Findings` calls overtaken and picture_seconds."""
    floods = 0
    overtaken: list[int] = []
    durations: list[float] = []
    waiting: dict[str, int] = {}  # by request: what the flooder had begun when it came
    begun: dict[str, float] = {}
    for at, what, owner, job, picture in turns:
        if what == "waits":
            waiting[job] = floods
        elif what == "begun":
            begun[picture] = float(at)
            if int(owner) == flooder:
                floods += 1
            elif job in waiting:
                overtaken.append(floods - waiting.pop(job))
        elif picture in begun:
            durations.append(float(at) - begun.pop(picture))
    return overtaken, median(durations) if durations else 0.0
