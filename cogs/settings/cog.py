"""/settings: what members, channels and servers prefer, and what a server allows."""

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.request.preferences import RANGES, Preferences, Scope
from cogs.core.request.text import clean
from cogs.core.storage.preferences import scopes_of
from cogs.settings.panel import PAGES, Form, PageButton, Values, panel_text, panel_view
from diffusion.errors import DarkroomError
from diffusion.text import N_

Interaction = discord.Interaction[Any]
SERVERS_ONLY = N_("Only servers have such settings. Here there is `/settings mine`.")
MANAGERS_ONLY = N_("Only members who may manage this server can do that. For yourself there is `/settings mine`.")


class SettingsCog(commands.GroupCog, group_name="settings", group_description="What is used where you leave something open"):
    """Shows and changes preferences."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    async def mine(self, interaction: Interaction) -> None:
        """Show and change what you prefer, wherever you are."""
        await self.show(interaction, Scope.MEMBER)

    @app_commands.command()
    async def channel(self, interaction: Interaction) -> None:
        """Show and change what holds in this channel, for managers of the server."""
        await self.show(interaction, Scope.CHANNEL)

    @app_commands.command()
    async def server(self, interaction: Interaction) -> None:
        """Show and change what holds in this server, for its managers."""
        await self.show(interaction, Scope.SERVER)

    @app_commands.command()
    @app_commands.describe(role="Whose members it is for", pictures="How many each may make a day; none: as all others")
    async def allowance(
        self, interaction: Interaction, role: discord.Role, pictures: Range[int, *RANGES["allowance"]] | None = None
    ) -> None:
        """Set how many pictures a day members of a role may make, for managers of the server."""
        async with self.service.answering(interaction):
            subject = self._subject(interaction, Scope.SERVER)
            before = self.service.preference_store.get(Scope.SERVER, subject)
            others = {id: most for id, most in (before.allowances or {}).items() if id != role.id}
            kept = others if pictures is None else {role.id: pictures} | others  # the latest is listed first
            await self.service.preference_store.set(Scope.SERVER, subject, before.with_(allowances=kept or None))
            await interaction.response.send_message(**self._panel(interaction, Scope.SERVER), ephemeral=True)

    async def show(self, interaction: Interaction, scope: Scope) -> None:
        """Send the panel of ``scope``, seen by the member alone."""
        async with self.service.answering(interaction):
            await self.service.preference_store.reload(scope, self._subject(interaction, scope))
            await interaction.response.send_message(**self._panel(interaction, scope), ephemeral=True)

    async def open_page(self, interaction: Interaction, scope: Scope, page: str) -> None:
        """Ask for the values of ``page``."""
        async with self.service.answering(interaction):
            subject = self._subject(interaction, scope)
            if page not in PAGES[scope]:
                raise DarkroomError("There are no such settings here.")

            async def on_values(submitted: Interaction, values: Values) -> None:
                await self.change(submitted, scope, values)

            set_now, language = self.service.preference_store.get(scope, subject), Context.of(interaction).language
            await interaction.response.send_modal(Form(scope, page, set_now, on_values, language))

    async def change(self, interaction: Interaction, scope: Scope, values: Values) -> None:
        """Set ``values`` in ``scope`` and show the panel anew; nothing is set where one of them cannot be."""
        async with self.service.answering(interaction):
            subject = self._subject(interaction, scope)
            if values.get("style"):
                values["style"] = clean(values["style"]) or None
            after = (await self.service.preference_store.reload(scope, subject)).with_(**values)
            self.service.rules.validate_preferences(after)
            await self.service.preference_store.set(scope, subject, after)
            panel = self._panel(interaction, scope)
            try:
                await interaction.response.edit_message(**panel)
            except discord.NotFound:  # the panel was dismissed while the form was open
                await interaction.response.send_message(**panel, ephemeral=True)

    def _subject(self, interaction: Interaction, scope: Scope) -> int:
        """Give the id of what ``scope`` is for ``interaction``; raises `DarkroomError` where its member may not change that."""
        subject = scopes_of(interaction).get(scope)
        if subject is None:
            raise DarkroomError(SERVERS_ONLY)
        if scope is not Scope.MEMBER and not interaction.permissions.manage_guild:
            raise DarkroomError(MANAGERS_ONLY)
        return subject

    def _panel(self, interaction: Interaction, scope: Scope) -> dict[str, Any]:
        at = list(scopes_of(interaction).items())
        wider = at[[known for known, _ in at].index(scope) :]
        layers = {known: self.service.preference_store.get(known, subject) for known, subject in wider}
        language = Context.of(interaction).language
        text = panel_text(scope, layers, self._defaults(), language)
        return {"content": text, "view": panel_view(scope, language), "allowed_mentions": NO_MENTIONS}

    def _defaults(self) -> Preferences:
        model, limits = self.service.engine.model, self.service.engine.config.limits
        return Preferences(
            size=f"{model.sample_side}x{model.sample_side}",
            quality="standard",
            steps=model.defaults.steps,
            guidance=model.defaults.guidance_scale,
            sampler=model.defaults.sampler,
            private=False,
            spoiler=False,
            language="en",
            max_size=limits.side,
            max_steps=limits.steps,
            max_count=limits.count,
            allowance=self.service.rules.daily,
        )


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(PageButton)
    await bot.add_cog(SettingsCog(bot.service))
