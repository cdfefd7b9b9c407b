"""The permissions of members on creations: see, show, cancel."""

from typing import Final

import discord

from cogs.core.policy.context import Context
from cogs.core.storage.creations import Creation
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_

CHANNEL_PERMISSIONS: Final = discord.Permissions(view_channel=True, send_messages=True, attach_files=True)
OPERATORS_ONLY = N_("Only the bot's operator can do that.")


async def check_operator(interaction: Interaction) -> None:
    """Raise `DarkroomError` unless the member runs the bot."""
    if not await interaction.client.is_owner(interaction.user):
        raise DarkroomError(OPERATORS_ONLY)


def check_can_post(channel: discord.TextChannel) -> None:
    """Raise `DarkroomError` unless the bot may post pictures in ``channel``."""
    if not channel.permissions_for(channel.guild.me).is_superset(CHANNEL_PERMISSIONS):
        raise DarkroomError(
            "I need the permissions View Channel, Send Messages and Attach Files in {channel}."
            " Please grant them, or choose another channel.",
            channel=channel.mention,
        )


def is_here(context: Context, creation: Creation) -> bool:
    """Return whether ``creation`` belongs to this server.

    Outside servers, it must belong to this channel.
    """
    if creation.guild_id is None:
        return creation.channel_id == context.interaction.channel_id
    return creation.guild_id == context.guild_id


def fits_channel(context: Context, creation: Creation) -> bool:
    """Return whether everyone here may see ``creation``.

    Flagged pictures from an age-restricted channel stay in such channels.
    """
    return not (creation.flags and creation.age_restricted) or context.is_age_restricted


def may_see(context: Context, creation: Creation) -> bool:
    """Return whether the member may see ``creation`` here.

    They see their own everywhere. They see others' if these are public, not deleted, and in this channel or in a channel of
    this server whose history they can read.
    """
    if creation.owner == context.member_id:
        return True
    if creation.private or creation.message_id is None or not is_here(context, creation):
        return False
    in_this_channel = creation.channel_id == context.interaction.channel_id
    return in_this_channel or permissions_in(context, creation.channel_id).read_message_history


def may_cancel(context: Context, creation: Creation) -> bool:
    """Return whether the member may cancel ``creation``.

    Its owner may, and so may anyone who can delete messages in its channel.
    """
    if creation.owner == context.member_id:
        return True
    if creation.guild_id is None or not is_here(context, creation):
        return False
    return permissions_in(context, creation.channel_id).manage_messages


def permissions_in(context: Context, channel_id: int) -> discord.Permissions:
    """Return the member's permissions in a channel or thread of this server, none in others."""
    interaction = context.interaction
    if channel_id == interaction.channel_id:
        return interaction.permissions
    channel = interaction.guild.get_channel_or_thread(channel_id) if interaction.guild else None
    if channel is None or not isinstance(interaction.user, discord.Member):  # deleted, or the bot is not in this server
        return discord.Permissions.none()
    try:
        permissions = channel.permissions_for(interaction.user)
    except discord.ClientException:  # a thread whose channel the bot does not see
        return discord.Permissions.none()
    if isinstance(channel, discord.Thread) and channel.is_private() and not permissions.manage_threads:
        return discord.Permissions.none()  # only its members see it, and the bot does not know them
    return permissions
