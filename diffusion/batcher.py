"""Whose turn it is. No tensors, no clock: a queue that is fair between owners and a choice of which shape steps next."""

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """One image that waits for or takes part in the steps."""

    @property
    def owner(self) -> Hashable: ...  # noqa: D102
    @property
    def shape(self) -> Hashable: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102


T = TypeVar("T", bound=Item)


class Batcher(Generic[T]):
    """Admits waiting items to the running batch: first come first served within an owner, round-robin between owners.

    ``max_rows`` bounds the rows of all running items together, and so of every call of the network. An item larger than that
    runs alone. Items of one shape step together; where several shapes run, they take turns, step by step.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self._closed = False
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._running: OrderedDict[Hashable, list[T]] = OrderedDict()

    def add(self, item: T) -> None:
        """Put ``item`` behind its owner's others."""
        self._waiting.setdefault(item.owner, deque()).append(item)

    def discard(self, item: T) -> None:
        """Take ``item`` out, whether it waits, runs or is gone already."""
        for groups, key in ((self._waiting, item.owner), (self._running, item.shape)):
            group = groups.get(key)
            if group is not None and item in group:
                group.remove(item)
                if not group:
                    del groups[key]

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
        self._admit()
        if not self._running:
            return []
        shape, group = next(iter(self._running.items()))
        batch, rows = [group[0]], group[0].rows
        for item in group[1:]:
            if rows + item.rows > self.max_rows:
                break
            batch.append(item)
            rows += item.rows
        # More run than fit only after `max_rows` was lowered or the last were admitted; then they take turns.
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

    def _admit(self) -> None:
        rows = sum(item.rows for item in self.running())
        while self._waiting and not self._closed:
            owner, queue = next(iter(self._waiting.items()))
            if rows and rows + queue[0].rows > self.max_rows:
                return
            item = queue.popleft()
            if queue:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]
            rows += item.rows
            self._running.setdefault(item.shape, []).append(item)
