"""/jam: start a prompt jam, end its present part early, or cancel it."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import discord
from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.i18n.catalogues import say
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.render import escape
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.options import server_only
from cogs.core.request.prompt import clean
from cogs.core.storage.jam_rows import MAX_THEME, JamRow, Stage
from cogs.core.types import Interaction
from cogs.jam.host import JamHost
from cogs.jam.layouts import invitation_view
from diffusion.errors import DarkroomError
from diffusion.text import N_, Text

if TYPE_CHECKING:
    from bot import Darkroom

MAX_MINUTES: Final = 1440
DEFAULT_VOTING_MINUTES: Final = 5
HIDDEN: Final = "hidden"
PROMPTS_CHOICES: Final = [Choice(name=N_("hidden until the end"), value=HIDDEN), Choice(name=N_("open"), value="open")]
NEEDED: Final = discord.Permissions(view_channel=True, send_messages=True, attach_files=True, read_message_history=True)
NEEDED_IN_THREAD: Final = discord.Permissions(
    view_channel=True, send_messages_in_threads=True, attach_files=True, read_message_history=True
)
NO_THEME: Final = N_("A jam needs a theme. Write what the pictures should be about.")
NOT_WRITABLE: Final = N_(
    "For a jam I need the permissions View Channel, Send Messages, Attach Files and Read Message History here."
    " Please grant them, or start it in another channel."
)
NOT_PINNABLE: Final = N_("I will not pin the winner, because I lack the permission Pin Messages here.")
NO_JAM: Final = N_("There is no jam in this channel. {start} begins one.")
NOT_YOURS: Final = N_("Only the member who started the jam or a moderator can do that.")
STILL_DRAWING: Final = N_("The pictures are being drawn now, and the vote comes by itself. Please wait for them.")


@server_only
class JamCog(commands.GroupCog, group_name="jam", group_description="Draw and vote together on a theme"):
    """Begins and ends jams; the host does the rest."""

    def __init__(self, bot: "Darkroom") -> None:
        self.host = JamHost(bot)
        bot.service.background.start_daemon(self.host.run())

    @app_commands.command()
    @app_commands.describe(
        theme="What the pictures should be about",
        minutes="For how many minutes members can submit prompts",
        prompts="Whether everyone can read the prompts before they are drawn",
        voting="For how many minutes everyone can vote",
    )
    @app_commands.choices(prompts=PROMPTS_CHOICES)
    async def start(
        self,
        interaction: Interaction,
        theme: Range[str, 1, MAX_THEME],
        minutes: Range[int, 1, MAX_MINUTES],
        prompts: str = HIDDEN,
        voting: Range[int, 1, MAX_MINUTES] = DEFAULT_VOTING_MINUTES,
    ) -> None:
        """Start a prompt jam: everyone writes a prompt on a theme, I draw all of them, and you vote."""
        service = interaction.client.service
        context = Context.of(interaction)
        if service.closed_reason:
            raise DarkroomError(service.closed_reason)
        if denial := service.rules.denial(context):
            raise denial
        needed = NEEDED_IN_THREAD if isinstance(interaction.channel, discord.Thread) else NEEDED
        if not interaction.app_permissions.is_superset(needed):
            raise DarkroomError(NOT_WRITABLE)
        theme = clean(theme)[:MAX_THEME]
        if not theme:
            raise DarkroomError(NO_THEME)
        await service.rules.check_words(context, [theme])
        jam = JamRow(
            id=interaction.id,
            guild_id=context.guild_id,
            channel_id=interaction.channel_id,
            starter=context.member_id,
            theme=theme,
            is_open=prompts != HIDDEN,
            voting_minutes=voting,
            language=context.channel_language,
            age_restricted=context.is_age_restricted,
            stage=Stage.OPEN,
            ends=discord.utils.utcnow() + timedelta(minutes=minutes),
        )
        await self.host.store.start(jam)
        try:
            view = invitation_view(jam, [])
            response = await interaction.response.send_message(view=view, allowed_mentions=NO_MENTIONS)
        except discord.HTTPException:
            await self.host.store.delete(jam.id)
            raise
        await self.host.store.update(jam.id, message_id=response.message_id)
        self.host.wake(jam.id)
        if not interaction.app_permissions.pin_messages:
            await send_notes(context, [Text(NOT_PINNABLE)])

    @app_commands.command()
    async def end(self, interaction: Interaction) -> None:
        """End the writing or the vote of the jam in this channel now."""
        jam = await self._manageable(interaction)
        if jam.stage not in (Stage.OPEN, Stage.VOTING):
            raise DarkroomError(STILL_DRAWING)
        await self.host.store.update(jam.id, Stage(jam.stage), ends=discord.utils.utcnow())
        self.host.wake(jam.id)
        language = Context.of(interaction).language
        text = say(language, N_("The writing ends now.") if jam.stage == Stage.OPEN else N_("The vote ends now."))
        await interaction.response.send_message(text, ephemeral=True)

    @app_commands.command()
    async def cancel(self, interaction: Interaction) -> None:
        """Cancel the jam in this channel."""
        jam = await self._manageable(interaction)
        stages = (Stage.OPEN, Stage.DRAWING, Stage.VOTING)
        if not await self.host.store.update(jam.id, *stages, stage=Stage.CANCELLED):
            raise DarkroomError(NO_JAM, start=interaction.client.mention_command("jam start"))
        self.host.wake(jam.id)
        text = say(Context.of(interaction).language, "The jam “{theme}” is cancelled.", theme=escape(jam.theme))
        await interaction.response.send_message(text, ephemeral=True)

    async def _manageable(self, interaction: Interaction) -> JamRow:
        """Return the jam in this channel; raises `DarkroomError` if there is none, or it is not the member's to end."""
        jam = await self.host.store.of_channel(interaction.channel_id or 0)
        if jam is None:
            raise DarkroomError(NO_JAM, start=interaction.client.mention_command("jam start"))
        if jam.starter != interaction.user.id and not interaction.permissions.manage_messages:
            raise DarkroomError(NOT_YOURS)
        return jam
