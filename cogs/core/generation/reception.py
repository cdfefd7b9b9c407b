"""How a request is accepted: its row in the journal, its member's first answer, and what it starts from."""

import asyncio
from typing import Any

import discord
from discord import ui

from cogs.core.messages import render
from cogs.core.messages.delivery import NO_MENTIONS, token_note
from cogs.core.policy.locale import language_for
from cogs.core.policy.permissions import is_age_restricted
from cogs.core.storage.creations import Creation, CreationStore, request_to_json
from cogs.core.storage.images import ImageStore
from cogs.core.storage.preferences import PreferenceStore
from diffusion.request import ImageRequest

Interaction = discord.Interaction[Any]


class Reception:
    """Writes down what members were promised."""

    def __init__(self, creation_store: CreationStore, preference_store: PreferenceStore, image_store: ImageStore) -> None:
        self._creation_store, self._preference_store, self._image_store = creation_store, preference_store, image_store

    async def accept(
        self,
        interaction: Interaction,
        private: bool | None,
        spoiler: bool | None,
        request: ImageRequest | None = None,
        parent: int | None = None,
    ) -> Creation:
        """Write down that the member was promised an answer; raises `CreationStoreError`."""
        preferred = self._preference_store.effective_for(interaction)
        private = bool(preferred.private) if private is None else private
        if spoiler is None:  # what comes of hidden pictures is hidden, too
            origin = await self._creation_store.get(parent) if parent else None
            spoiler = bool(preferred.spoiler or (origin and origin.spoiler))
        creation = Creation(
            id=interaction.id,
            parent_id=parent,
            owner=interaction.user.id,
            guild_id=interaction.guild_id,
            channel_id=interaction.channel_id,
            application_id=interaction.application_id,
            token=interaction.token,
            expires=interaction.expires_at,
            private=private,
            token_only=private or not _sees_channel(interaction),
            language=language_for(interaction, private),
            spoiler=spoiler,
            age_restricted=is_age_restricted(interaction),
            counted=request.count if request else 0,
            request=request_to_json(request) if request else None,
        )
        await self._creation_store.add(creation)
        return creation

    async def respond(self, interaction: Interaction, creation: Creation, text: str, view: ui.View | None = None) -> None:
        """Give the first answer, which progress and result will take the place of; raises `CreationStoreError`."""
        options: dict[str, Any] = {"view": view} if view else {}
        response = await interaction.response.send_message(
            f"{text}\n{token_note(creation.language)}" if creation.token_only else text,
            ephemeral=creation.private,
            allowed_mentions=NO_MENTIONS,
            **options,
        )
        await self._creation_store.update(creation, message_id=response.message_id)

    async def write_down(self, creation: Creation, request: ImageRequest) -> None:
        """Add what is wanted to what was accepted; raises `CreationStoreError` and what the gallery raises."""
        source = await asyncio.to_thread(render.encode_source, request)
        name = await self._image_store.save(source) if source else None
        await self._creation_store.update(creation, request=request_to_json(request), source=name, counted=request.count)


def _sees_channel(interaction: Interaction) -> bool:
    """Whether the bot itself, not only the interaction, reaches the channel: not where a member installed it alone."""
    guild = interaction.client.get_guild(interaction.guild_id) if interaction.guild_id else None
    return guild is not None and interaction.app_permissions.view_channel
