"""Whose turn it is. No tensors, no clock: a queue that is fair between owners and a choice of which shape steps next."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

BACKFILL_SHARE: Final = 0.5  # of what the longest running item has left: who needs no more does not wait for room


class Item(Protocol):
    """One image that waits for or takes part in the steps."""

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
    """Whether the rows of ``item`` fit beside those ``running``; where nothing runs everything does."""
    rows = sum(each.rows for each in running)
    return not rows or rows + item.rows <= max_rows


def fits_backfill(item: Item, running: Iterable[Item]) -> bool:
    """Whether ``item`` will have ended long before one of those ``running``."""
    return item.left <= BACKFILL_SHARE * max((each.left for each in running), default=0)


class Batcher(Generic[T]):
    """Admits waiting items to the running batch: first come first served within an owner, round-robin between owners.

    ``max_rows`` bounds the rows of every call of the network and of what is admitted so. An item larger than that runs alone.
    Items of one shape step together; where several shapes run, or more rows than a call may have, they take turns.

    Short items join long ones at once, as guests: beside the others, who are slowed down, and before those who wait for room.
    Up to `max_rows` rows are guests, and of each owner no more than one while the same others wait, so that nobody sees two
    items of another owner begin before theirs.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self._closed = False
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._running: OrderedDict[Hashable, list[T]] = OrderedDict()
        self._backfilled: set[T] = set()
        # For each owner who waits, those of whom an item began since they came or had one begin themselves.
        self._bypassed_by: dict[Hashable, set[Hashable]] = {}
        self._bypass_count: Counter[Hashable] = Counter()  # by how many of those who wait they were seen

    def add(self, item: T) -> None:
        """Put ``item`` behind its owner's others."""
        if item.owner not in self._waiting:
            self._waiting[item.owner] = deque()
            self._bypassed_by[item.owner] = set()
        self._waiting[item.owner].append(item)

    def discard(self, item: T) -> None:
        """Take ``item`` out, whether it waits, runs or is gone already."""
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
        """Admit those of ``last`` that wait, whether or not all fit together, and nothing more."""
        for item in last:
            if item in self._waiting.get(item.owner, ()):
                self.discard(item)
                self._running.setdefault(item.shape, []).append(item)
        self._closed = True

    def next_batch(self) -> list[T]:
        """Admit what fits, then give the items whose turn it is, none when there is no work.

        These are running ones of one shape, as many as `max_rows` holds.
        """
        self.admit()
        if not self._running:
            return []
        shape, group = next(iter(self._running.items()))
        batch, rows = [group[0]], group[0].rows
        for item in group[1:]:
            if rows + item.rows > self.max_rows:
                break
            batch.append(item)
            rows += item.rows
        # More run than fit beside guests, after `max_rows` was lowered or the last were admitted; then they take turns.
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

    def copy(self, stand_in: Callable[[T], U]) -> "Batcher[U]":
        """Give a batcher in the same state with a ``stand_in`` for each item, to play ahead with."""
        copy: Batcher[U] = Batcher(self.max_rows)
        stands = {item: stand_in(item) for item in (*self.running(), *self.waiting())}
        copy._closed = self._closed
        for owner, queue in self._waiting.items():
            copy._waiting[owner] = deque(stands[item] for item in queue)
        for shape, group in self._running.items():
            copy._running[shape] = [stands[item] for item in group]
        copy._backfilled = {stands[item] for item in self._backfilled}
        copy._bypassed_by = {owner: set(others) for owner, others in self._bypassed_by.items()}
        copy._bypass_count = self._bypass_count.copy()
        return copy

    def admit(self) -> None:
        """Let begin what there is room for."""
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
        """Take back what ``owner``, who does not wait any more or had an item begin, has seen of others."""
        self._bypass_count -= Counter(self._bypassed_by.pop(owner, ()))

    def _next(self) -> T | None:
        """Choose who begins next: whose turn it is, where there is room, else the first that may be a guest."""
        if not self._waiting:
            return None
        running = list(self.running())
        item = next(iter(self._waiting.values()))[0]
        if has_room(item, (each for each in running if each not in self._backfilled), self.max_rows):
            return item
        if sum(guest.rows for guest in self._backfilled) >= self.max_rows:
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
