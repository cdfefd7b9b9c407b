"""What is deleted stays deleted: pictures whose message is gone are not shown to others again."""

import contextlib
from collections.abc import Iterable
from typing import Any

import discord
from discord.ext import commands

from cogs.core.generation.service import Studio
from cogs.core.storage.database import DatabaseFailed


class Withdrawal(commands.Cog):
    """Listens for deleted messages."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    @commands.Cog.listener()
    async def on_raw_message_delete(self, deleted: discord.RawMessageDeleteEvent) -> None:
        """Note one."""
        await self._note([deleted.message_id])

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, deleted: discord.RawBulkMessageDeleteEvent) -> None:
        """Note many."""
        await self._note(deleted.message_ids)

    async def _note(self, messages: Iterable[int]) -> None:
        with contextlib.suppress(DatabaseFailed):  # logged; /show looks at the message besides
            await self.studio.archive.withdraw(list(messages))


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(Withdrawal(bot.studio))
