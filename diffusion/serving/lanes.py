"""Which models are in memory, and which of them comes next.

It uses neither tensors nor a clock.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeVar

from diffusion.serving.latency import LatencyModel, Shape
from diffusion.serving.price import Prices

ASSUMED_BYTES_PER_SECOND: Final = 0.5e9  # of loading, before a model was loaded once
ASSUMED_START_SECONDS: Final = 2.0
TURN_LOADS: Final = 4.0  # of two models that do not fit together: a turn lasts as often as long as loading both


@dataclass(eq=False)
class Lane:
    """A model as the queue knows it; its items are admitted only while it ``is_open``.

    It takes ``bytes`` of memory. ``opened`` is when its turn began, ``used`` when it drew last, and ``wanted`` since when work
    waits for it that it is not loaded for. All times are in seconds of one clock.
    """

    name: str = ""
    bytes: int = 0
    prices: Prices = field(default_factory=lambda: Prices(LatencyModel()))
    rows_by_shape: dict[Shape, int] = field(default_factory=dict)  # the most rows of a call that memory holds
    measured_load_seconds: float | None = None
    is_open: bool = False
    is_loaded: bool = False
    is_loading: bool = False
    opened: float = 0.0
    used: float = 0.0
    wanted: float | None = None

    @property
    def load_seconds(self) -> float:
        """The seconds that loading takes."""
        if self.measured_load_seconds is None:
            return ASSUMED_START_SECONDS + self.bytes / ASSUMED_BYTES_PER_SECOND
        return self.measured_load_seconds

    def open(self, now: float) -> None:
        """Begin a turn."""
        self.is_loaded = self.is_open = True
        self.is_loading = False
        self.opened = self.used = now
        self.wanted = None

    def close(self) -> None:
        """End a turn: what runs is finished, and nothing more is admitted."""
        self.is_open = False

    def evict(self) -> None:
        """Leave the memory."""
        self.is_loaded = self.is_open = False

    def copy(self) -> "Lane":
        """Return a copy for a simulation."""
        names = ("name", "bytes", "prices", "rows_by_shape", "measured_load_seconds", "is_open", "is_loaded", "is_loading")
        times = {name: getattr(self, name) for name in ("opened", "used", "wanted")}
        return Lane(**{name: getattr(self, name) for name in names} | times)


L = TypeVar("L", bound=Lane)


class Move(Enum):
    """What to do with a lane next."""

    LOAD = auto()
    CLOSE = auto()
    EVICT = auto()
    REOPEN = auto()


def next_move(
    lanes: Iterable[L], running: Collection[L], waiting: Collection[L], *, room: float, now: float
) -> tuple[Move, L] | None:
    """Return what brings work nearer to a model that is not loaded, None if nothing is to be done now.

    Lanes have jobs that are ``running``, which finish with their model, and ``waiting`` ones. All loaded models together take
    at most ``room`` bytes, or there is only one. The least recently used idle model leaves first. If none is idle, the one
    whose turn has lasted longest stops taking jobs once the turn is over (`turn_end`), and leaves when it has finished.
    """
    lanes = list(lanes)
    if any(lane.is_loading for lane in lanes):
        return None
    loaded = [lane for lane in lanes if lane.is_loaded]
    wanted = [lane for lane in lanes if lane.wanted is not None and not lane.is_loaded]
    if not wanted:
        closed = next((lane for lane in loaded if not lane.is_open), None)
        return (Move.REOPEN, closed) if closed else None
    first = min(wanted, key=lambda lane: lane.wanted or 0.0)
    if not loaded or sum(lane.bytes for lane in loaded) + first.bytes <= room:
        return Move.LOAD, first
    idle = [lane for lane in loaded if lane not in running and not (lane.is_open and lane in waiting)]
    if idle:
        return Move.EVICT, min(idle, key=lambda lane: lane.used)
    if any(not lane.is_open for lane in loaded):
        return None
    ended = [lane for lane in loaded if now >= turn_end(lane, first)]
    return (Move.CLOSE, min(ended, key=lambda lane: lane.opened)) if ended else None


def turn_end(lane: Lane, waiting: Lane) -> float:
    """Return when the turn of ``lane`` is over if ``waiting`` needs its memory.

    Loading both takes at most a fifth of the time then.
    """
    return lane.opened + TURN_LOADS * (lane.load_seconds + waiting.load_seconds)
