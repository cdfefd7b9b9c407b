"""Which member may see or end what another one asked for."""

from typing import Any

import discord

from cogs.core.storage.creations import Creation
from diffusion.errors import DarkroomError
from diffusion.text import N_

Interaction = discord.Interaction[Any]
NOT_YOURS = N_("Only whoever runs this bot can do that.")


async def check_operator(interaction: Interaction) -> None:
    """Raise `DarkroomError` for everyone but whoever runs the bot."""
    if not await interaction.client.is_owner(interaction.user):
        raise DarkroomError(NOT_YOURS)


def is_here(interaction: Interaction, creation: Creation) -> bool:
    """Whether ``creation`` belongs to the server of ``interaction``, or to its channel where that is in no server."""
    if creation.guild_id is None:
        return creation.channel_id == interaction.channel_id
    return creation.guild_id == interaction.guild_id


def is_age_restricted(interaction: Interaction) -> bool:
    """Whether the channel is; threads are where their channel is, and direct messages never."""
    is_nsfw = getattr(interaction.channel, "is_nsfw", None)
    return is_nsfw is not None and is_nsfw()


def suits(interaction: Interaction, creation: Creation) -> bool:
    """Whether ``creation`` may be shown to all here: what was flagged in an age-restricted channel only in another one."""
    return not (creation.flags and creation.age_restricted) or is_age_restricted(interaction)


def may_see(interaction: Interaction, creation: Creation) -> bool:
    """Whether the member of ``interaction`` may be shown ``creation`` here.

    Their own always; else what was made openly, in this channel or in one of this server that they can read, and whose message
    has not been deleted.
    """
    if creation.owner == interaction.user.id:
        return True
    if creation.private or creation.message_id is None or not is_here(interaction, creation):
        return False
    return creation.channel_id == interaction.channel_id or _permissions(interaction, creation).read_message_history


def may_end(interaction: Interaction, creation: Creation) -> bool:
    """Whether the member of ``interaction`` may cancel ``creation``: its owner, or who may delete messages in its channel."""
    if creation.owner == interaction.user.id:
        return True
    if creation.guild_id is None or not is_here(interaction, creation):
        return False
    return _permissions(interaction, creation).manage_messages


def _permissions(interaction: Interaction, creation: Creation) -> discord.Permissions:
    """Give what the member may do in the channel of ``creation``, which is in this server."""
    if creation.channel_id == interaction.channel_id:
        return interaction.permissions
    channel = interaction.guild.get_channel_or_thread(creation.channel_id) if interaction.guild else None
    if channel is None or not isinstance(interaction.user, discord.Member):  # deleted, or the bot is not in this server
        return discord.Permissions.none()
    try:
        permissions = channel.permissions_for(interaction.user)
    except discord.ClientException:  # a thread whose channel the bot does not see
        return discord.Permissions.none()
    if isinstance(channel, discord.Thread) and channel.is_private() and not permissions.manage_threads:
        return discord.Permissions.none()  # only those in it see it, and who they are is not known here
    return permissions
