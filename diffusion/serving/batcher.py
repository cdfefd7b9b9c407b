"""A queue that is fair between owners and chooses the next batch.

It uses neither tensors nor a clock.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

BACKFILL_SHARE: Final = 0.5  # of the longest running item's remaining calls: a waiting item with no more may backfill


class Item(Protocol):
    """One waiting or running image with ``rows`` per call and ``left`` calls to come."""

    @property
    def owner(self) -> Hashable: ...  # noqa: D102
    @property
    def shape(self) -> Hashable: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def left(self) -> int: ...  # noqa: D102


T = TypeVar("T", bound=Item)
U = TypeVar("U", bound=Item)


def has_room(item: Item, running: Iterable[Item], max_rows: int) -> bool:
    """Whether the rows of ``item`` fit beside those ``running``.

    An item that would run alone always fits.
    """
    rows = sum(each.rows for each in running)
    return not rows or rows + item.rows <= max_rows


def fits_backfill(item: Item, running: Iterable[Item]) -> bool:
    """Whether ``item`` will end long before one of those ``running``."""
    return item.left <= BACKFILL_SHARE * max((each.left for each in running), default=0)


class Batcher(Generic[T]):
    """Admits waiting items to the running batch, round-robin between owners.

    Each owner's items are admitted in order. ``max_rows`` bounds the rows of every network call and of all admitted items. An
    item larger than that runs alone. Items of one shape step together; several shapes, or more rows than a call may have, take
    turns.

    Short items backfill: they join a full batch of long items at once and pass items that wait for room. At most `max_rows`
    further rows are backfilled. Each waiting owner can be bypassed at most once per other owner.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self._closed = False
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._running: OrderedDict[Hashable, list[T]] = OrderedDict()
        self._backfilled: set[T] = set()
        # By waiting owner: the owners whose items were admitted since this owner came or had an item admitted.
        self._bypassed_by: dict[Hashable, set[Hashable]] = {}
        self._bypass_count: Counter[Hashable] = Counter()  # by owner: how many waiting owners it has bypassed

    def add(self, item: T) -> None:
        """Queue ``item`` behind its owner's others."""
        if item.owner not in self._waiting:
            self._waiting[item.owner] = deque()
            self._bypassed_by[item.owner] = set()
        self._waiting[item.owner].append(item)

    def discard(self, item: T) -> None:
        """Remove ``item``, whether it waits, runs or is gone already."""
        self._backfilled.discard(item)
        for groups, key in ((self._waiting, item.owner), (self._running, item.shape)):
            group = groups.get(key)
            if group is not None and item in group:
                group.remove(item)
                if not group:
                    del groups[key]
                    if groups is self._waiting:
                        self._clear_bypasses(key)

    def close(self, last: Iterable[T]) -> None:
        """Admit the waiting items of ``last`` beyond `max_rows`, and no others later."""
        for item in last:
            if item in self._waiting.get(item.owner, ()):
                self.discard(item)
                self._running.setdefault(item.shape, []).append(item)
        self._closed = True

    def next_batch(self) -> list[T]:
        """Admit items that fit and return the next batch, empty if there is no work.

        They run, have one shape and take at most `max_rows` rows.
        """
        self.admit()
        if not self._running:
            return []
        shape, group = next(iter(self._running.items()))
        batch = [group[0]]
        rows = group[0].rows
        for item in group[1:]:
            if rows + item.rows > self.max_rows:
                break
            batch.append(item)
            rows += item.rows
        # More items may run than fit: backfilled ones, the last ones of `close`, or all after `max_rows` was lowered.
        self._running[shape] = group[len(batch) :] + batch
        self._running.move_to_end(shape)
        return batch

    def running(self) -> Iterator[T]:
        """Yield the admitted items."""
        for group in self._running.values():
            yield from group

    def waiting(self) -> Iterator[T]:
        """Yield the waiting items in the order in which they will be admitted."""
        queues = deque(deque(queue) for queue in self._waiting.values())
        while queues:
            queue = queues.popleft()
            yield queue.popleft()
            if queue:
                queues.append(queue)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + sum(map(len, self._running.values()))

    def copy(self, copy_item: Callable[[T], U]) -> "Batcher[U]":
        """Return a copy for a simulation, with a ``copy_item`` for each item."""
        copy: Batcher[U] = Batcher(self.max_rows)
        copies = {item: copy_item(item) for item in (*self.running(), *self.waiting())}
        copy._closed = self._closed
        for owner, queue in self._waiting.items():
            copy._waiting[owner] = deque(copies[item] for item in queue)
        for shape, group in self._running.items():
            copy._running[shape] = [copies[item] for item in group]
        copy._backfilled = {copies[item] for item in self._backfilled}
        copy._bypassed_by = {owner: set(others) for owner, others in self._bypassed_by.items()}
        copy._bypass_count = self._bypass_count.copy()
        return copy

    def admit(self) -> None:
        """Admit all items that there is room for."""
        while not self._closed and (item := self._next()):
            queue = self._waiting[item.owner]
            queue.popleft()
            self._clear_bypasses(item.owner)
            if queue:
                self._waiting.move_to_end(item.owner)
                self._bypassed_by[item.owner] = set()
            else:
                del self._waiting[item.owner]
            for owner in self._waiting:
                if owner != item.owner and item.owner not in self._bypassed_by[owner]:
                    self._bypassed_by[owner].add(item.owner)
                    self._bypass_count[item.owner] += 1
            self._running.setdefault(item.shape, []).append(item)

    def _clear_bypasses(self, owner: Hashable) -> None:
        """Forget who bypassed ``owner``, who stopped waiting or had an item admitted."""
        self._bypass_count -= Counter(self._bypassed_by.pop(owner, ()))

    def _next(self) -> T | None:
        """Return the next item to admit, in turn if there is room, else by backfill."""
        if not self._waiting:
            return None
        running = list(self.running())
        item = next(iter(self._waiting.values()))[0]
        if has_room(item, (each for each in running if each not in self._backfilled), self.max_rows):
            return item
        if sum(each.rows for each in self._backfilled) >= self.max_rows:
            return None
        for owner, queue in self._waiting.items():
            item = queue[0]
            if (
                not self._bypass_count[owner]
                and fits_backfill(item, running)
                and has_room(item, self._backfilled, self.max_rows)
            ):
                self._backfilled.add(item)
                return item
        return None
