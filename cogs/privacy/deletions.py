"""Stop showing pictures to others once their message was deleted."""

import contextlib
from collections.abc import Iterable

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.storage.database import DatabaseUnavailableError


class DeletionsCog(commands.Cog):
    """Listens for deleted messages."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @commands.Cog.listener()
    async def on_raw_message_delete(self, event: discord.RawMessageDeleteEvent) -> None:
        """Withdraw the pictures of a deleted message."""
        await self._withdraw([event.message_id])

    @commands.Cog.listener()
    async def on_raw_bulk_message_delete(self, event: discord.RawBulkMessageDeleteEvent) -> None:
        """Withdraw the pictures of each deleted message."""
        await self._withdraw(event.message_ids)

    async def _withdraw(self, message_ids: Iterable[int]) -> None:
        message_ids = [*filter(self.service.message_index.may_contain, message_ids)]
        if not message_ids:
            return
        with contextlib.suppress(DatabaseUnavailableError):  # the store has logged it, and /show looks at the message too
            if await self.service.personal_data.erasure.withdraw(message_ids):
                self.service.background.start(self.service.message_eraser.run())
            await self.service.creation_store.forget_messages(message_ids)
