"""/privacy: export or delete a member's data, and control remixes."""

import io
from typing import Final

import discord
from discord import app_commands
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.components import view_of
from cogs.core.policy.context import Context
from cogs.core.request.preferences import Scope
from cogs.core.types import Interaction
from cogs.privacy.export import Export
from cogs.privacy.forget import ForgetButton
from diffusion.text import N_, plural

WARNING: Final = N_(
    "This deletes your requests, pictures and settings (including your remix opt-out), and removes your pictures from my"
    " messages where possible. It cannot be undone. `/privacy export` gives you a copy first."
)
REMIX_ALLOWED: Final = N_("Others may start from your avatar and your pictures.")
REMIX_FORBIDDEN: Final = N_("Nobody else may start from your avatar and your pictures.")
LEFT_OUT: Final = plural(
    "{count} picture, the oldest one, did not fit into the files that Discord allows here.",
    "{count} pictures, the oldest ones, did not fit into the files that Discord allows here.",
)


class PrivacyCog(commands.GroupCog, group_name="privacy", group_description="Export or delete what I keep about you"):
    """Exports and deletes what the bot keeps about a member."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def export(self, interaction: Interaction) -> None:
        """Download a copy of your requests, settings and pictures."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        language = Context.of(interaction).language
        documents = self.service.personal_data.export(interaction.user.id)
        export = Export(documents, self.service.image_store, interaction.filesize_limit)
        part = 0
        async for data in export:
            part += 1
            file = discord.File(io.BytesIO(data), f"darkroom-{part}.zip")
            text = say(language, "All that I keep about you:") if part == 1 else ""
            await interaction.followup.send(text, file=file, ephemeral=True)
        if export.left_out:
            await interaction.followup.send(say(language, LEFT_OUT, count=export.left_out), ephemeral=True)

    @app_commands.command()
    async def forget(self, interaction: Interaction) -> None:
        """Delete everything that I keep about you, including your pictures."""
        language = Context.of(interaction).language
        view = view_of(ForgetButton(interaction.user.id, language))
        await interaction.response.send_message(say(language, WARNING), view=view, ephemeral=True)

    @app_commands.command()
    @app_commands.describe(allowed="Whether others may start from your avatar and your pictures")
    async def remix(self, interaction: Interaction, allowed: bool) -> None:
        """Allow or forbid others to start from your avatar and your pictures."""
        preference_store = self.service.preference_store
        before = await preference_store.reload(Scope.MEMBER, interaction.user.id)
        await preference_store.set(Scope.MEMBER, interaction.user.id, before.with_(remix=None if allowed else False))
        text = say(Context.of(interaction).language, REMIX_ALLOWED if allowed else REMIX_FORBIDDEN)
        await interaction.response.send_message(text, ephemeral=True)
