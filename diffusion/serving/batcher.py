"""A queue that is fair between owners and chooses the next batch.

It uses neither tensors nor a clock.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from diffusion.serving.deficit import DeficitRoundRobin
from diffusion.serving.lanes import Lane
from diffusion.serving.latency import LatencyModel, Shape
from diffusion.serving.price import Prices, Work

BACKFILL_SHARE: Final = 0.5  # of the longest running item's remaining calls: a waiting item with no more may backfill
MAX_CALL_SECONDS: Final = 2.0  # of a call with several items; nothing can interrupt it for a newcomer


class Item(Protocol):
    """One waiting or running image with ``rows`` per call and ``left`` calls to come.

    Images of one ``group`` have one ``shape`` and share calls. ``lane`` is that of the model that draws it; None if there is
    only one.
    """

    @property
    def owner(self) -> Hashable: ...  # noqa: D102
    @property
    def group(self) -> Hashable: ...  # noqa: D102
    @property
    def lane(self) -> Lane | None: ...  # noqa: D102
    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def left(self) -> float: ...  # noqa: D102


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


def shares(running: Mapping[Hashable, Iterable[Item]]) -> dict[Hashable, float]:
    """Return how many owners' shares of the time each group of ``running`` gets.

    An owner of items in several groups divides a share between them.
    """
    owners = {group: {item.owner for item in items} for group, items in running.items()}
    groups_of = Counter(owner for present in owners.values() for owner in present)
    return {group: sum(1 / groups_of[owner] for owner in present) for group, present in owners.items()}


class Batcher(Generic[T]):
    """Admits waiting items to the running batch; owners get equal seconds.

    Each owner's items are admitted in order, but those whose lane is closed wait. ``max_rows`` bounds the rows of every
    network call and of all admitted items, and a lane's ``rows_by_shape`` those of its calls. An item larger than that runs
    alone. Items of one group step together; several groups, or more rows than a call may have, take turns. All turns are by
    deficit round-robin over the lanes' prices, or ``prices`` without lanes: owners wait for admission as long as the others'
    items cost, and the owners of running groups get equal shares of the time.

    Short items backfill: they join a full batch of long items at once and pass items that wait for room. At most `max_rows`
    further rows are backfilled. An owner that was admitted while another one waits does not backfill before that one is
    admitted, too.
    """

    def __init__(self, max_rows: int, prices: Prices | None = None) -> None:
        self.max_rows = max_rows
        self.prices = prices or Prices(LatencyModel())
        self._waiting: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._running: OrderedDict[Hashable, list[T]] = OrderedDict()
        self._owner_turns: DeficitRoundRobin[Hashable] = DeficitRoundRobin()
        self._group_turns: DeficitRoundRobin[Hashable] = DeficitRoundRobin()
        self._backfilled: set[T] = set()
        # By waiting owner: the owners whose items were admitted since this owner came or had an item admitted.
        self._bypassed_by: dict[Hashable, set[Hashable]] = {}
        self._bypass_count: Counter[Hashable] = Counter()  # by owner: how many waiting owners it has bypassed

    def add(self, item: T) -> None:
        """Queue ``item`` behind its owner's others."""
        if item.owner not in self._waiting:
            self._waiting[item.owner] = deque()
            self._bypassed_by[item.owner] = set()
            self._owner_turns.join(item.owner)
        self._waiting[item.owner].append(item)

    def discard(self, item: T) -> None:
        """Remove ``item``, whether it waits, runs or is gone already."""
        self._backfilled.discard(item)
        if item in (queue := self._waiting.get(item.owner, deque())):
            queue.remove(item)
            if not queue:
                self._end_waiting(item.owner)
        if item in (group := self._running.get(item.group, [])):
            group.remove(item)
            if not group:
                del self._running[item.group]
                self._group_turns.leave(item.group)

    def replace(self, item: T, by: T) -> None:
        """Let ``by`` run in place of the running ``item``."""
        self.discard(item)
        self._run(by)

    def admit_beyond(self, items: Iterable[T]) -> None:
        """Admit those of ``items`` that wait, beyond `max_rows` and into closed lanes."""
        for item in items:
            if item in self._waiting.get(item.owner, ()):
                self.discard(item)
                self._run(item)

    def next_batch(self) -> list[T]:
        """Admit items that fit and return the next batch, empty if there is no work.

        They run, have one group and take at most `max_rows` rows.
        """
        self.admit()
        if not self._running:
            return []
        share = shares(self._running)
        batches = {group: self._first_batch(items) for group, items in self._running.items()}
        costs = {
            group: self._prices(batch[0]).call(batch[0].shape, sum(item.rows for item in batch)) / share[group]
            for group, batch in batches.items()
        }
        group = min(batches, key=lambda group: self._group_turns.due(group, costs[group]))
        self._group_turns.pay(group, costs[group])
        batch = batches[group]
        # More items may run than fit: backfilled ones, those of `admit_beyond`, or all after `max_rows` was lowered.
        self._running[group] = self._running[group][len(batch) :] + batch
        self._running.move_to_end(group)
        return batch

    def _first_batch(self, items: list[T]) -> list[T]:
        """Return the first of ``items`` of a group, as many as one call takes."""
        most = self.call_rows(items[0])
        rows = items[0].rows
        batch = items[:1]
        for item in items[1:]:
            rows += item.rows
            if rows > most:
                break
            batch.append(item)
        return batch

    def call_rows(self, item: Item) -> int:
        """Return the most rows of a call for items of the same group as ``item``."""
        most = min(self.max_rows, item.lane.rows_by_shape.get(item.shape, self.max_rows)) if item.lane else self.max_rows
        prices = self._prices(item)
        if prices.call(item.shape, most) <= MAX_CALL_SECONDS:
            return most
        return max(1, int(MAX_CALL_SECONDS / prices.row(item.shape)))

    def _prices(self, item: Item) -> Prices:
        return item.lane.prices if item.lane else self.prices

    def running(self) -> Iterator[T]:
        """Yield the admitted items."""
        for group in self._running.values():
            yield from group

    def waiting(self) -> Iterator[T]:
        """Yield the waiting items in the order in which they will be admitted."""
        kinds = {(item.lane, item.shape): item for queue in self._waiting.values() for item in queue}
        seconds_per_row = {kind: self._prices(item).row(item.shape) for kind, item in kinds.items()}
        ranked: list[tuple[float, int, int, T]] = []
        for position, (owner, queue) in enumerate(self._waiting.items()):
            cost = 0.0
            for number, item in enumerate(queue):
                cost += item.rows * item.left * seconds_per_row[item.lane, item.shape]
                ranked.append((self._owner_turns.due(owner, cost), number, position, item))
        for *_, item in sorted(ranked, key=lambda rank: rank[:3]):
            yield item

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + sum(map(len, self._running.values()))

    def copy(self, copy_item: Callable[[T], U]) -> "Batcher[U]":
        """Return a copy for a simulation, with a ``copy_item`` for each item."""
        copy: Batcher[U] = Batcher(self.max_rows, self.prices)
        copies = {item: copy_item(item) for item in (*self.running(), *self.waiting())}
        for owner, queue in self._waiting.items():
            copy._waiting[owner] = deque(copies[item] for item in queue)
        for group, items in self._running.items():
            copy._running[group] = [copies[item] for item in items]
        copy._owner_turns = self._owner_turns.copy()
        copy._group_turns = self._group_turns.copy()
        copy._backfilled = {copies[item] for item in self._backfilled}
        copy._bypassed_by = {owner: set(others) for owner, others in self._bypassed_by.items()}
        copy._bypass_count = self._bypass_count.copy()
        return copy

    def groups(self) -> Mapping[Hashable, list[T]]:
        """Return the admitted items by group."""
        return self._running

    def admit(self) -> None:
        """Admit all items that there is room for."""
        while item := self._next():
            queue = self._waiting[item.owner]
            queue.remove(item)
            self._clear_bypasses(item.owner)
            if queue:
                self._waiting.move_to_end(item.owner)
                self._bypassed_by[item.owner] = set()
            else:
                self._end_waiting(item.owner)
            for owner in self._heads():
                if owner != item.owner and item.owner not in self._bypassed_by[owner]:
                    self._bypassed_by[owner].add(item.owner)
                    self._bypass_count[item.owner] += 1
            self._run(item)

    def _run(self, item: T) -> None:
        self._running.setdefault(item.group, []).append(item)
        self._group_turns.join(item.group)

    def _end_waiting(self, owner: Hashable) -> None:
        del self._waiting[owner]
        self._clear_bypasses(owner)
        self._owner_turns.leave(owner)

    def _clear_bypasses(self, owner: Hashable) -> None:
        """Forget who bypassed ``owner``, who stopped waiting or had an item admitted."""
        self._bypass_count -= Counter(self._bypassed_by.pop(owner, ()))

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

    def _next(self) -> T | None:
        """Return the next item to admit, in turn if there is room, else by backfill.

        Charges its owner.
        """
        heads = self._heads()
        if not heads:
            return None
        running = list(self.running())
        costs = {owner: self._cost(head) for owner, head in heads.items()}
        first = min(costs, key=lambda owner: self._owner_turns.due(owner, costs[owner]))
        item = heads[first]
        if has_room(item, (each for each in running if each not in self._backfilled), self.max_rows):
            self._owner_turns.pay(first, costs[first])
            return item
        if sum(each.rows for each in self._backfilled) >= self.max_rows:
            return None
        for owner, item in heads.items():
            if (
                not self._bypass_count[owner]
                and fits_backfill(item, running)
                and has_room(item, self._backfilled, self.max_rows)
            ):
                self._backfilled.add(item)
                self._owner_turns.pay(owner, costs[owner], in_turn=False)
                return item
        return None
