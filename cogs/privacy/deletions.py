"""What is deleted stays deleted: pictures whose message is gone are not shown to others again."""

import contextlib
from collections.abc import Iterable
from typing import Any

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.storage.database import DatabaseUnavailableError


class DeletionsCog(commands.Cog):
    """Listens for deleted messages."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @commands.Cog.listener()
    async def on_raw_message_delete(self, deleted: discord.RawMessageDeleteEvent) -> None:
        """Note one."""
        await self._note([deleted.message_id])

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, deleted: discord.RawBulkMessageDeleteEvent) -> None:
        """Note many."""
        await self._note(deleted.message_ids)

    async def _note(self, messages: Iterable[int]) -> None:
        with contextlib.suppress(DatabaseUnavailableError):  # logged; /show looks at the message besides
            await self.service.creation_store.forget_messages(list(messages))


async def setup(bot: Any) -> None:
    """Add the cog."""
    await bot.add_cog(DeletionsCog(bot.service))
