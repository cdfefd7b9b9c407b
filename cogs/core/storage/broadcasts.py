"""What whoever runs the bot broadcasts in one process and all are to do."""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, String, Text, delete, insert, literal, select
from sqlalchemy.orm import Mapped, mapped_column

from cogs.core.storage.database import DATABASE_UNREACHABLE, Base, Database
from cogs.core.storage.lease import Lease, ProcessRow

log = logging.getLogger(__name__)
Handler = Callable[[str], None]


class BroadcastRow(Base):
    """One that the process of ``holder`` has not obeyed yet."""

    __tablename__ = "broadcasts"

    id: Mapped[int] = mapped_column(primary_key=True)
    recipient: Mapped[int] = mapped_column(BigInteger, index=True)
    command: Mapped[str] = mapped_column(String(10))
    argument: Mapped[str] = mapped_column(Text)


class Broadcasts:
    """Passes them on, by the `Lease` of each process; ``handlers`` do what this one is told, by the command."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database, self.lease = database, lease
        self.handlers: dict[str, Handler] = {}

    async def publish(self, command: str, argument: str = "") -> int:
        """Let all other processes do the same within seconds, and give how many there are; raises `DatabaseUnavailableError`."""
        if not self.lease.is_shared:
            return 0
        others = select(ProcessRow.process_id, literal(command), literal(argument)).where(
            ProcessRow.process_id != self.lease.process_id
        )
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.execute(delete(BroadcastRow).where(BroadcastRow.recipient.not_in(select(ProcessRow.process_id))))
            given: Any = await session.execute(insert(BroadcastRow).from_select(["recipient", "command", "argument"], others))
        return given.rowcount

    async def poll(self) -> None:
        """Do what other processes have passed on since, in their broadcast; raises `DatabaseUnavailableError`."""
        ours = (
            delete(BroadcastRow)
            .filter_by(recipient=self.lease.process_id)
            .returning(BroadcastRow.id, BroadcastRow.command, BroadcastRow.argument)
        )
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            broadcasts = (await session.execute(ours)).all()
        for broadcast in sorted(broadcasts, key=lambda broadcast: broadcast.id):
            log.info("ordered from another process: %s %s", broadcast.command, broadcast.argument)
            try:
                self.handlers[broadcast.command](broadcast.argument)
            except Exception:  # of one, which may be of another version's, the others are not to suffer
                log.exception("the broadcast %s failed", broadcast.command)
