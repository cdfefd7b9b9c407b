"""Which messages may be the bot's own, known without the database.

Discord reports every deleted message of every server. Looking each of them up would cost a query each.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from sqlalchemy import select

from cogs.core.storage.creations import Creation
from cogs.core.storage.database import DATABASE_UNREACHABLE, Database
from cogs.core.storage.reviews import ReviewRow

IDS_PER_QUERY: Final = 10_000
BITS: Final = 2**26  # 8 MiB: of 1,000,000 messages of others, about 900 cost a query where 1,000,000 are the bot's own
FACTORS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)  # odd, so that each spreads ids over all of 64 bits


class MessageIndex:
    """A Bloom filter of message ids: it forgets none, and takes few others for known.

    Until it is loaded, and where several processes post for one bot, it knows no message to be of others.
    """

    def __init__(self, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        self._is_loaded = False
        self._bits = bytearray(BITS // 8)

    def add(self, message_id: int) -> None:
        """Remember a message of the bot."""
        for place in _places(message_id):
            self._bits[place // 8] |= 1 << place % 8

    def may_contain(self, message_id: int) -> bool:
        """Return whether the message may be the bot's."""
        if self._is_shared or not self._is_loaded:
            return True
        return all(self._bits[place // 8] >> place % 8 & 1 for place in _places(message_id))

    async def load(self, database: Database) -> None:
        """Add the messages that the database knows; raises `DatabaseUnavailableError`."""
        for column in (Creation.message_id, ReviewRow.message_id):
            last = 0
            while True:
                query = select(column).where(column > last).order_by(column).limit(IDS_PER_QUERY)
                found = await database.scalars(query, DATABASE_UNREACHABLE)
                await asyncio.to_thread(self._add_all, found)
                if len(found) < IDS_PER_QUERY:
                    break
                last = found[-1]
        self._is_loaded = True

    def _add_all(self, message_ids: Iterable[int]) -> None:
        for message_id in message_ids:
            self.add(message_id)


def _places(message_id: int) -> list[int]:
    return [(message_id * factor % 2**64) * BITS >> 64 for factor in FACTORS]
