"""How long things take on this machine, learned from its own steps. No tensors, no clock."""

import math
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

MEMORY: Final = 0.95  # how much an earlier step still counts after each further one

Shape = tuple[int, ...]


class Pending(Protocol):
    """One image that has ``left`` evaluations of the network before it."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def left(self) -> int: ...  # noqa: D102


T = TypeVar("T", bound=Pending)


class Line:
    """A straight line through points (x, y), fitted by least squares that forget the older ones."""

    def __init__(self) -> None:
        self.n = self.x = self.y = self.xx = self.xy = 0.0

    def add(self, x: float, y: float) -> None:
        """Take another point in."""
        self.n, self.x, self.y = MEMORY * self.n + 1, MEMORY * self.x + x, MEMORY * self.y + y
        self.xx, self.xy = MEMORY * self.xx + x * x, MEMORY * self.xy + x * y

    def at(self, x: float) -> float:
        """Give y at ``x``: proportional to it while all points had the same x, never falling with it."""
        proportional = self.y / self.x
        spread = self.n * self.xx - self.x**2
        if spread < 1e-3 * self.x**2:
            return proportional * x
        slope = min(max((self.n * self.xy - self.x * self.y) / spread, 0.0), proportional)
        return (self.y - slope * self.x) / self.n + slope * x


class Pace:
    """What a call of the network costs, by the shape of its latents and its number of rows."""

    def __init__(self) -> None:
        self._lines: dict[Shape, Line | None] = {}

    def learn(self, shape: Shape, rows: int, seconds: float) -> None:
        """Note that a call took so long. The first one of a shape warms the device up and says nothing."""
        if shape not in self._lines:
            self._lines[shape] = None
            return
        line = self._lines[shape] = self._lines[shape] or Line()
        line.add(rows, seconds)

    def seconds(self, shape: Shape, rows: int) -> float | None:
        """Estimate a call; for a shape never seen, from the one that is nearest in size. None before any was timed."""
        known = {other: line for other, line in self._lines.items() if line}
        if not known:
            return None
        cells = math.prod(shape)
        nearest = shape if shape in known else min(known, key=lambda other: abs(math.log(math.prod(other) / cells)))
        return known[nearest].at(rows) * cells / math.prod(nearest)


def forecast(running: Iterable[T], waiting: Iterable[T], max_rows: int, pace: Pace) -> dict[T, float | None]:
    """Play the steps ahead: in how many seconds each image will be done, None while ``pace`` knows nothing.

    ``waiting`` comes in the order of admission. As the `Batcher` does it, images are admitted while ``max_rows`` holds them and
    shapes take turns.
    """
    active, queue = {item: item.left for item in running}, deque(waiting)
    done: dict[T, float | None] = dict.fromkeys([*active, *queue])
    now = 0.0
    while active or queue:
        rows = sum(item.rows for item in active)
        while queue and (not rows or rows + queue[0].rows <= max_rows):
            item = queue.popleft()
            active[item] = item.left
            rows += item.rows
        together: dict[Shape, int] = {}
        for item in active:
            together[item.shape] = together.get(item.shape, 0) + item.rows
        round_ = [pace.seconds(shape, rows) for shape, rows in together.items()]
        if None in round_:
            return done
        steps = min(active.values())
        now += steps * sum(seconds for seconds in round_ if seconds)
        for item in [item for item in active if active[item] <= steps]:
            done[item] = now
            del active[item]
        active = {item: left - steps for item, left in active.items()}
    return done
