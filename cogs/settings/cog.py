"""/settings and /setup: the settings of a member, and of a channel or a server."""

from typing import Final

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.policy.permissions import check_can_post
from cogs.core.request.options import server_only
from cogs.core.request.preferences import RANGES, Scope
from cogs.core.types import Interaction
from cogs.settings.panel import managed_subject, panel_message

THRESHOLDS: Final = RANGES["star_threshold"]


class SettingsCog(commands.GroupCog, group_name="settings", group_description="Set defaults for everything you leave out"):
    """Shows and changes the settings of members."""

    @app_commands.command()
    async def mine(self, interaction: Interaction) -> None:
        """Show and change your own settings, which apply everywhere."""
        await _show(interaction, Scope.MEMBER)


@server_only
@app_commands.default_permissions(manage_guild=True)
class SetupCog(commands.GroupCog, group_name="setup", group_description="Set defaults and limits of this server"):
    """Shows and changes the settings of channels and servers."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def channel(self, interaction: Interaction) -> None:
        """Show and change the settings of this channel (Manage Server)."""
        await _show(interaction, Scope.CHANNEL)

    @app_commands.command()
    async def server(self, interaction: Interaction) -> None:
        """Show and change the settings of this server (Manage Server)."""
        await _show(interaction, Scope.SERVER)

    @app_commands.command()
    @app_commands.describe(
        role="The role whose members it applies to",
        pictures="How many pictures each may make a day; leave it out for the server's allowance",
    )
    async def allowance(
        self, interaction: Interaction, role: discord.Role, pictures: Range[int, *RANGES["allowance"]] | None = None
    ) -> None:
        """Set how many pictures a day members of a role may make (Manage Server)."""
        preference_store = self.service.preference_store
        server = managed_subject(interaction, Scope.SERVER)
        before = preference_store.get(Scope.SERVER, server)
        others = {id: limit for id, limit in (before.allowances or {}).items() if id != role.id}
        allowances = others if pictures is None else {role.id: pictures} | others  # the newest is listed first
        await preference_store.set(Scope.SERVER, server, before.with_(allowances=allowances or None))
        await interaction.response.send_message(**panel_message(interaction, Scope.SERVER), ephemeral=True)

    @app_commands.command()
    @app_commands.describe(
        channel="Where to show pictures with many stars; leave it out for no starboard",
        stars="How many stars a picture needs; leave it out for 3",
    )
    async def starboard(
        self,
        interaction: Interaction,
        channel: discord.TextChannel | None = None,
        stars: Range[int, *THRESHOLDS] | None = None,
    ) -> None:
        """Choose a channel that shows pictures with many stars (Manage Server)."""
        server = managed_subject(interaction, Scope.SERVER)
        if channel:
            check_can_post(channel)
        before = await self.service.preference_store.reload(Scope.SERVER, server)
        changed = before.with_(starboard=channel.id if channel else None, star_threshold=stars if channel else None)
        await self.service.preference_store.set(Scope.SERVER, server, changed)
        await interaction.response.send_message(**panel_message(interaction, Scope.SERVER), ephemeral=True)


async def _show(interaction: Interaction, scope: Scope) -> None:
    await interaction.client.service.preference_store.reload(scope, managed_subject(interaction, scope))
    await interaction.response.send_message(**panel_message(interaction, scope), ephemeral=True)
