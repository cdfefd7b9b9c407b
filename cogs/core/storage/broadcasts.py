"""What whoever runs the bot orders in one process and all are to do."""

import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import BigInteger, String, Text, delete, insert, literal, select
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import Base, Database
from cogs.core.storage.lease import Lease, ProcessRow
from diffusion.text import N_

log = logging.getLogger(__name__)
UNTOLD: Final = N_("I cannot reach my database at the moment. Please try again later.")
Handler = Callable[[str], None]


class BroadcastRow(Base):
    """One that the process of ``holder`` has not obeyed yet."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    holder: Mapped[int] = mapped_column(BigInteger, index=True)
    verb: Mapped[str] = mapped_column(String(10))
    argument: Mapped[str] = mapped_column(Text)


class Broadcasts:
    """Passes them on, by the `Lease` of each process; ``handlers`` do what this one is told, by the verb."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database, self.lease = database, lease
        self.handlers: dict[str, Handler] = {}

    async def give(self, verb: str, argument: str = "") -> int:
        """Let all other processes do the same within seconds, and give how many there are; raises `DatabaseUnavailableError`."""
        if not self.lease.shared:
            return 0
        others = select(ProcessRow.holder, literal(verb), literal(argument)).where(ProcessRow.holder != self.lease.holder)
        async with self._database.transaction(UNTOLD) as session:
            await session.execute(delete(BroadcastRow).where(BroadcastRow.holder.not_in(select(ProcessRow.holder))))
            given: Any = await session.execute(insert(BroadcastRow).from_select(["holder", "verb", "argument"], others))
        return given.rowcount

    async def obey(self) -> None:
        """Do what other processes have passed on since, in their order; raises `DatabaseUnavailableError`."""
        ours = (
            delete(BroadcastRow)
            .filter_by(holder=self.lease.holder)
            .returning(BroadcastRow.id, BroadcastRow.verb, BroadcastRow.argument)
        )
        async with self._database.transaction(UNTOLD) as session:
            orders = (await session.execute(ours)).all()
        for order in sorted(orders, key=lambda order: order.id):
            log.info("ordered from another process: %s %s", order.verb, order.argument)
            try:
                self.handlers[order.verb](order.argument)
            except Exception:  # of one, which may be of another version's, the others are not to suffer
                log.exception("the order %s was not obeyed", order.verb)
