"""Commands of the operator that one process sends to all others."""

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
    """A command that the process ``recipient`` has not handled yet."""

    __tablename__ = "broadcasts"

    id: Mapped[int] = mapped_column(primary_key=True)
    recipient: Mapped[int] = mapped_column(BigInteger, index=True)
    command: Mapped[str] = mapped_column(String(10))
    argument: Mapped[str] = mapped_column(Text)


class Broadcasts:
    """Sends commands to the other processes and handles theirs.

    ``handlers`` has a function for each command, which is called with the command's argument.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self.lease = lease
        self.handlers: dict[str, Handler] = {}

    async def publish(self, command: str, argument: str = "") -> int:
        """Send a command to all other processes and return how many there are.

        They handle it within seconds. Raises `DatabaseUnavailableError`.
        """
        if not self.lease.is_shared:
            return 0
        living = select(ProcessRow.process_id)
        rows = select(ProcessRow.process_id, literal(command), literal(argument)).where(
            ProcessRow.process_id != self.lease.process_id
        )
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            await session.execute(delete(BroadcastRow).where(BroadcastRow.recipient.not_in(living)))
            inserted: Any = await session.execute(insert(BroadcastRow).from_select(["recipient", "command", "argument"], rows))
        return int(inserted.rowcount)

    async def poll(self) -> None:
        """Handle the commands that have arrived, in their order.

        Raises `DatabaseUnavailableError`.
        """
        received = (
            delete(BroadcastRow)
            .filter_by(recipient=self.lease.process_id)
            .returning(BroadcastRow.id, BroadcastRow.command, BroadcastRow.argument)
        )
        async with self._database.transaction(DATABASE_UNREACHABLE) as session:
            broadcasts = (await session.execute(received)).all()
        for broadcast in sorted(broadcasts, key=lambda broadcast: broadcast.id):
            log.info("command from another process: %s %s", broadcast.command, broadcast.argument)
            try:
                self.handlers[broadcast.command](broadcast.argument)
            except Exception:  # it may come from another version; the other commands have to be handled
                log.exception("the broadcast %s failed", broadcast.command)
