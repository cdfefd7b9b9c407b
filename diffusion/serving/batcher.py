"""A queue that is fair between owners and chooses the next batch.

It uses neither tensors nor a clock.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

from diffusion.serving.fair_share import FairShare
from diffusion.serving.lanes import Lane
from diffusion.serving.latency import LatencyModel, Shape, is_decoding
from diffusion.serving.price import Prices, Work

PREEMPTION_ROOM: Final = 4  # times as many rows as a call may have run or pause, once items are due before running ones
MAX_CALL_SECONDS: Final = 2.0  # of a call with several items; nothing can interrupt it for a newcomer
MAX_DECODED: Final = 4  # by one call, about as long as a step: more win little
LONG_CALL_SECONDS: Final = 0.1  # of a call for which others need not wait
SHORT_SHARE: Final = 0.25  # of a long call's time that a call beside it may take: the next long one waits for its end


class Item(Protocol):
    """One waiting or running image with ``rows`` per call and ``left`` calls to come.

    Images of one ``group`` have one ``shape`` and share calls. ``lane`` is that of the model that draws it; None if there is
    only one. ``network`` is what its next call uses: calls of different ones can run side by side. ``decoding`` is the shape
    of a further call after those; None if there is none, or if it is the next.
    """

    @property
    def owner(self) -> Hashable: ...  # noqa: D102
    @property
    def group(self) -> Hashable: ...  # noqa: D102
    @property
    def lane(self) -> Lane | None: ...  # noqa: D102
    @property
    def network(self) -> Hashable: ...  # noqa: D102
    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def left(self) -> float: ...  # noqa: D102
    @property
    def decoding(self) -> Shape | None: ...  # noqa: D102


T = TypeVar("T", bound=Item)
U = TypeVar("U", bound=Item)


class Batcher(Generic[T]):
    """Admits waiting items to the running batch; owners get equal shares of the time, and short items come first.

    Each owner's items are admitted in order, but those whose lane is closed wait. An item is due when it would end if all
    owners shared the time equally, by the lanes' prices, or ``prices`` without lanes (`FairShare`). Items are admitted in this
    order, as many as a call takes; those that are due before running ones are admitted even so.

    A step is a call of one group: that of the running item that is due first. The next ones of the group join it, as many as
    `call_rows` allows: ``max_rows``, or else as many as are useful for their shape. The others pause. An item larger than that
    runs alone.
    """

    def __init__(self, max_rows: int | None = None, prices: Prices | None = None) -> None:
        self.max_rows = max_rows
        self.prices = prices or Prices(LatencyModel())
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._running: dict[T, float] = {}  # when each is due
        self._turns: FairShare[Hashable] = FairShare()

    def add(self, item: T) -> None:
        """Queue ``item`` behind its owner's others."""
        if item.owner not in self._waiting:
            self._waiting[item.owner] = deque()
            self._turns.join(item.owner)
        self._waiting[item.owner].append(item)

    def discard(self, item: T) -> None:
        """Remove ``item``, whether it waits, runs or is gone already."""
        if item in self._waiting.get(item.owner, ()):
            self._remove_waiting(item)
        elif item in self._running:
            del self._running[item]
            self._turns.give_back(item.owner, self._cost(item))

    def replace(self, item: T, by: T) -> None:
        """Let ``by`` run in place of the running ``item``."""
        self._running[by] = self._running.pop(item)

    def postpone(self, item: T) -> None:
        """Let all other running items come before ``item``, which cannot go on."""
        if item in self._running:
            self._running[item] = max(self._running.values())
            self._running[item] = self._running.pop(item)  # the last of those that are due at once

    def admit_beyond(self, items: Iterable[T]) -> None:
        """Admit those of ``items`` that wait, though there is no room and into closed lanes."""
        for item in items:
            if item in self._waiting.get(item.owner, ()):
                self._run(item)

    def next_batch(self) -> list[T]:
        """Admit items that fit and return the next batch, empty if there is no work.

        They run, have one group and take at most `call_rows` rows.
        """
        self.admit()
        if not self._running:
            return []
        by_due = sorted(self._running, key=self._running.__getitem__)
        return self._take(by_due, self.call_rows(by_due[0]))

    def is_long(self, batch: Sequence[T]) -> bool:
        """Whether the call of ``batch`` takes so long that short ones should run beside it."""
        return self._call_seconds(batch) >= LONG_CALL_SECONDS

    def next_beside(self, batch: Sequence[T]) -> list[T]:
        """Return the next batch for a call beside the long one of ``batch``, which is under way; empty if there is none.

        Its call is short, by another network, and due before ``batch``: else it would be next. Items are admitted as by
        `next_batch`.
        """
        self.admit()
        due = min((self._running[item] for item in batch if item in self._running), default=0.0)
        seconds = SHORT_SHARE * self._call_seconds(batch)
        busy = {item.network for item in batch}
        by_due = sorted(
            (item for item, its_due in self._running.items() if its_due < due and item.network not in busy),
            key=self._running.__getitem__,
        )
        short = [item for item in by_due if self._call_seconds([item]) <= seconds]
        if not short:
            return []
        most = int(seconds / self._prices(short[0]).row(short[0].shape))
        return self._take(short, min(most, self.call_rows(short[0])))

    def _take(self, items: Sequence[T], most: int) -> list[T]:
        """Return the first of ``items`` and the next ones of its group, with at most ``most`` rows if it is not alone."""
        batch = [items[0]]
        rows = items[0].rows
        for item in items[1:]:
            if item.group == batch[0].group:
                rows += item.rows
                if rows > most:
                    break
                batch.append(item)
        owners = {item.owner for item in self._running} | self._waiting.keys()
        self._turns.work(sum(item.rows for item in batch) * self._prices(batch[0]).row(batch[0].shape), len(owners))
        return batch

    def _call_seconds(self, batch: Sequence[T]) -> float:
        return self._prices(batch[0]).call(batch[0].shape, sum(item.rows for item in batch))

    def call_rows(self, item: Item) -> int:
        """Return the most rows of a call for items of the same group as ``item``."""
        prices = self._prices(item)
        most = self.max_rows or prices.useful_rows(item.shape)
        if is_decoding(item.shape):
            most = min(most, MAX_DECODED)
        if item.lane:
            most = min(most, item.lane.rows_by_shape.get(item.shape, most))
        if prices.call(item.shape, most) <= MAX_CALL_SECONDS:
            return most
        return max(1, int(MAX_CALL_SECONDS / prices.row(item.shape)))

    def _prices(self, item: Item) -> Prices:
        return item.lane.prices if item.lane else self.prices

    def running(self) -> Iterator[T]:
        """Yield the admitted items."""
        yield from self._running

    def waiting(self) -> Iterator[T]:
        """Yield the waiting items in the order in which they will be admitted."""
        kinds = {(item.lane, item.shape): item for queue in self._waiting.values() for item in queue}
        seconds_per_row = {kind: self._prices(item).row(item.shape) for kind, item in kinds.items()}
        ranked: list[tuple[float, int, int, T]] = []
        for position, (owner, queue) in enumerate(self._waiting.items()):
            cost = 0.0
            for number, item in enumerate(queue):
                cost += item.rows * item.left * seconds_per_row[item.lane, item.shape]
                ranked.append((self._turns.due(owner, cost), number, position, item))
        for *_, item in sorted(ranked, key=lambda rank: rank[:3]):
            yield item

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._running)

    def copy(self, copy_item: Callable[[T], U]) -> "Batcher[U]":
        """Return a copy for a simulation, with a ``copy_item`` for each item."""
        copy: Batcher[U] = Batcher(self.max_rows, self.prices)
        for owner, queue in self._waiting.items():
            copy._waiting[owner] = deque(map(copy_item, queue))
        copy._running = {copy_item(item): due for item, due in self._running.items()}
        copy._turns = self._turns.copy()
        return copy

    def admit(self) -> None:
        """Admit the items that are due first, as long as there is room, and those that are due before running ones."""
        while heads := self._heads():
            due = {owner: self._turns.due(owner, self._cost(head)) for owner, head in heads.items()}
            owner = min(due, key=due.__getitem__)
            item = heads[owner]
            if self._running:
                rows = sum(each.rows for each in self._running) + item.rows
                most = max(map(self.call_rows, {each.group: each for each in (item, *self._running)}.values()))
                preempts = due[owner] < max(self._running.values())
                if rows > (PREEMPTION_ROOM * most if preempts else most):
                    return
            self._run(item)

    def _run(self, item: T) -> None:
        self._running[item] = self._turns.take(item.owner, self._cost(item))
        self._remove_waiting(item)
        if item.owner in self._waiting:
            self._waiting.move_to_end(item.owner)

    def _remove_waiting(self, item: T) -> None:
        queue = self._waiting[item.owner]
        queue.remove(item)
        if not queue:
            del self._waiting[item.owner]
            self._turns.leave(item.owner)

    def _cost(self, item: T) -> float:
        return self._prices(item).price(Work(item.shape, item.rows * item.left))

    def _heads(self) -> dict[Hashable, T]:
        """Return each owner's first waiting item whose lane is open, if there is one."""
        heads = {}
        for owner, queue in self._waiting.items():
            head = next((item for item in queue if item.lane is None or item.lane.is_open), None)
            if head is not None:
                heads[owner] = head
        return heads
