"""The results of a soak test: measurements, mistakes and missed goals."""

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.soak.crowd import Crowd, SentRequest
from cogs.core.simulator.loopback import LoopbackDiscord

# A modest member waits until it has earned what its picture costs, while the flooder may have earned one in advance.
MAX_OVERTAKEN = 2.0
MAX_MEMORY_GROWTH = 0.01
# Part of the time. Tokens of interactions and refused drafts are kept for 15 minutes, and only then as many leave as come.
WARMED_UP_PART = (0.6, 0.7)
FINAL_PART = (0.9, 1.0)
UNFINISHED = ("accepted", "running", "rendered")


@dataclass(frozen=True)
class Memory:
    """The memory of the bot's process in MiB: allocated and all that is resident."""

    at: float
    anonymous: float
    resident: float


@dataclass(frozen=True)
class Findings:
    """The results of a soak test; all times are seconds of ``time.perf_counter``.

    ``overtaken`` has for each modest request the flooder's work that started before it while it waited, in dearest pictures.
    ``picture_seconds`` is the median time of a picture in the running batch.
    """

    started: float
    stopped: float
    ended: float
    requests: list[SentRequest]
    flooder: int
    mistakes: list[str]
    lags: list[float]
    memory: list[Memory]
    overtaken: list[float]
    picture_seconds: float
    errors: int

    @property
    def growth(self) -> float:
        """The growth of the anonymous memory, as a share."""
        return self._anonymous(FINAL_PART) / self._anonymous(WARMED_UP_PART) - 1

    def _anonymous(self, part: tuple[float, float]) -> float:
        since, until = (self.started + share * (self.stopped - self.started) for share in part)
        return median(sample.anonymous for sample in self.memory if since <= sample.at <= until)

    def missed_goals(self) -> Iterator[str]:
        """Yield the missed goals, except that of the memory."""
        if self.mistakes:
            yield f"{len(self.mistakes)} requests were not answered exactly once: {'; '.join(self.mistakes[:5])}"
        if not self.overtaken or max(self.overtaken) > MAX_OVERTAKEN:
            yield f"the flooder overtook modest members by {max(self.overtaken, default=0):.1f} of the dearest pictures"
        if self.errors:
            yield f"the bot logged {self.errors} errors"

    def print_report(self) -> None:
        """Print all results."""
        drawn = [request for request in self.requests if request.pictures]
        pictures = sum(request.pictures for request in drawn)
        sending_seconds = self.stopped - self.started
        last_seconds = self.ended - self.stopped
        print(f"{len(self.requests)} requests in {sending_seconds:.0f} s, the last answered {last_seconds:.0f} s later:")
        print(f"  {pictures} pictures, {pictures / (self.ended - self.started):.2f} per second, for", end=" ")
        print(", ".join(f"{count} {kind}" for kind, count in Counter(request.kind for request in drawn).most_common()))
        replies = Counter(
            (_without_details(request), request.member.id == self.flooder) for request in self.requests if request.text_reply
        )
        for (text_reply, flooding), count in replies.most_common():
            print(f"  {count} times to {'the flooder' if flooding else 'modest members'}: {text_reply}")
        p50, p99 = (1000 * quantiles(self.lags, n=100)[cut] for cut in (49, 98))
        print(f"lag      p50 {p50:.1f} ms   p99 {p99:.1f} ms   max {1000 * max(self.lags):.1f} ms")
        warm = self._anonymous(WARMED_UP_PART)
        final = self._anonymous(FINAL_PART)
        growth = f"{self.growth:+.2%}; {self.memory[-1].resident:.0f} MiB resident"
        print(f"memory   {warm:.1f} MiB after warming up, {final:.1f} MiB at the end: {growth}")
        print(f"waits    until the answer; in brackets: in times of a picture in the batch, {self.picture_seconds:.2f} s")
        for name, flooding in (("modest", False), ("flooder", True)):
            waits = [request.wait for request in drawn if (request.member.id == self.flooder) is flooding]
            each = (f"{word} {wait:.1f} s ({wait / self.picture_seconds:.0f})" for word, wait in _median_and_worst(waits))
            print(f"  {name:8}{'   '.join(each)}")
        print(f"  the flooder overtook {sum(map(bool, self.overtaken))} of {len(self.overtaken)} modest requests", end=", ")
        print(f"by {max(self.overtaken, default=0):.1f} of the dearest pictures at most")


def _median_and_worst(waits: list[float]) -> Iterable[tuple[str, float]]:
    return [("median", median(waits)), ("worst", max(waits))] if waits else []


def _without_details(request: SentRequest) -> str:
    return re.sub(r"^\*\*.*\n| in about .*", "", request.text_reply)


def find_mistakes(crowd: Crowd, wire: LoopbackDiscord, folder: Path) -> Iterator[str]:
    """Yield each request without exactly one answer, or unlike its database row."""
    with contextlib.closing(sqlite3.connect(folder / "darkroom.sqlite")) as connection:
        states = dict(connection.execute("SELECT id, state FROM creations"))
    posts = Counter(number for post in wire.posted for number in set(re.findall(r"darkroom:result:reroll:\d+:(\d+)", post)))
    for request in crowd.requests:
        interaction = request.interaction
        state = states.get(interaction.id)
        posted = posts[str(interaction.id)]
        replies = len(interaction.followup_ids)
        replies += not request.pictures and interaction.message_id in wire.backend.messages[interaction.channel_id]
        name = f"{request.kind} {interaction.id} ({state})"
        if request.answered_at is None:
            yield f"{name} got no answer"
        elif request.pictures:
            if (request.pictures, posted, state, replies) != (request.picture_count, 1, "delivered", 0):
                pictures = f"{request.pictures} of {request.picture_count} pictures"
                yield f"{name} got {pictures} in {posted} posts and {replies} text replies"
        elif posted or replies != 1 or state not in (None, "failed", "cancelled"):
            yield f"{name} got {request.text_reply!r} in {replies} messages and {posted} posts"
    yield from (f"button {pressed.id} got no answer" for pressed in crowd.presses if not pressed.responded)
    yield from (f"{number} is still {state}" for number, state in states.items() if state in UNFINISHED)


def read_turns(turns: Iterable[list[str]], flooder: int) -> tuple[list[float], float]:
    """Return ``overtaken`` and ``picture_seconds`` of `Findings`."""
    flood = 0.0  # seconds of the flooder's pictures that have started
    dearest = 0.0
    overtaken: list[float] = []
    durations: list[float] = []
    waiting: dict[str, float] = {}  # request: the flood before it came
    begun_at: dict[str, float] = {}
    for at, event, owner, job, picture, price in turns:
        dearest = max(dearest, float(price))
        if event == "waits":
            waiting[job] = flood
        elif event == "begun":
            begun_at[picture] = float(at)
            if int(owner) == flooder:
                flood += float(price)
            elif job in waiting:
                overtaken.append(flood - waiting.pop(job))
        elif picture in begun_at:
            durations.append(float(at) - begun_at.pop(picture))
    overtaken = [seconds / dearest for seconds in overtaken]
    return overtaken, median(durations) if durations else 0.0
