"""Take part in a jam: the buttons Join and Leave, and the form for a prompt."""

from typing import TYPE_CHECKING, Any, Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages import render
from cogs.core.messages.components import Form, PersistentButton, prompt_input, view_of
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.replies import ERROR_VIEW
from cogs.core.policy.context import Context
from cogs.core.request.prompt import parse_prompt
from cogs.core.storage.creations import request_to_json
from cogs.core.storage.jam_rows import JamEntryRow, JamRow, Stage
from cogs.core.storage.jams import OVER
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.request import ImageRequest
from diffusion.text import N_, Template, Text

if TYPE_CHECKING:
    from cogs.jam.host import JamHost

JOIN: Final = N_("Join")
EDIT_AGAIN: Final = N_("Edit again")
ENTERED: Final = N_("You take part with {prompt}. Until {when} you can press Join again to change it, or Leave.")
LEFT: Final = N_("You do not take part in this jam any more.")
NOT_IN: Final = N_("You do not take part in this jam. Press Join to do so.")
NO_PROMPT: Final = N_("A jam needs a prompt. Write what the picture should show.")
ONE_PICTURE: Final = N_("A jam takes one picture of each member. Leave out the braces, or write one of the alternatives.")


class JoinButton(PersistentButton, name="jam:join"):
    """Opens the form for the member's prompt."""

    jam_id: int

    def __init__(self, jam_id: int, language: str = ENGLISH, label: Template = JOIN) -> None:
        look: discord.ui.Button[Any] = discord.ui.Button(
            label=say(language, label), emoji="✏️", style=discord.ButtonStyle.primary
        )
        super().__init__(look, jam_id=jam_id)

    async def run(self, interaction: Interaction) -> None:
        """Open the form, filled in with what the member submitted or was refused."""
        jam = await open_jam(interaction, self.jam_id)
        context = Context.of(interaction)
        if denial := interaction.client.service.rules.denial(context):
            raise denial
        drafts = host_of(interaction).drafts
        typed = drafts.get(context.member_id, jam.id)
        if typed is None:
            entries = await interaction.client.service.stores.jam_store.entries(jam.id)
            typed = next((entry.prompt for entry in entries if entry.member == context.member_id), "")
        await interaction.response.send_modal(JamForm(jam, typed, context.language))


class LeaveButton(PersistentButton, name="jam:leave"):
    """Takes the member's prompt back."""

    jam_id: int

    def __init__(self, jam_id: int, language: str = ENGLISH) -> None:
        super().__init__(discord.ui.Button(label=say(language, "Leave")), jam_id=jam_id)

    async def run(self, interaction: Interaction) -> None:
        """Delete the entry."""
        host = host_of(interaction)
        if not await host.store.withdraw(self.jam_id, interaction.user.id):
            raise DarkroomError(NOT_IN)
        host.drafts.drop(interaction.user.id, self.jam_id)
        host.wake(self.jam_id)
        await interaction.response.send_message(say(Context.of(interaction).language, LEFT), ephemeral=True)


class JamForm(Form):
    """Asks for one prompt; a later one takes its place until the jam is drawn."""

    def __init__(self, jam: JamRow, typed: str, language: str) -> None:
        super().__init__(say(language, "Your prompt for the jam"))
        self._jam_id = jam.id
        self.prompt = prompt_input(typed, required=True)
        self.ask(say(language, "What the picture should show"), self.prompt, jam.theme or None)

    async def run(self, interaction: Interaction) -> None:
        """Enter the prompt, or say why it cannot be drawn, with a way back into the form."""
        host = host_of(interaction)
        context = Context.of(interaction)
        host.drafts.keep(context.member_id, self._jam_id, self.prompt.value)
        jam = await open_jam(interaction, self._jam_id)
        interaction.extras[ERROR_VIEW] = view_of(JoinButton(jam.id, context.language, EDIT_AGAIN))
        request, notes = request_of(context, self.prompt.value)
        service = interaction.client.service
        if service.closed_reason:
            raise DarkroomError(service.closed_reason)
        # It is drawn later, so what the member has in the queue now does not matter.
        async with service.rules.admit(context, request, service.builder.typed_texts, is_prepared=True) as charge:
            entry = JamEntryRow(
                jam_id=jam.id,
                member=context.member_id,
                creation_id=interaction.id,
                number=0,
                request=request_to_json(request),
                counted=charge,
                spoiler=bool(context.preferences.spoiler),
            )
            await host.store.enter(entry)
        host.drafts.drop(context.member_id, jam.id)
        host.wake(jam.id)
        when = discord.utils.format_dt(jam.ends, "R")
        lines = [say(context.language, ENTERED, prompt=render.title(request.prompt), when=when)]
        lines += [translate(context.language, note) for note in notes]
        await interaction.response.send_message("\n".join(lines)[:2000], ephemeral=True, allowed_mentions=NO_MENTIONS)


def host_of(interaction: Interaction) -> "JamHost":
    """Return the host of all jams of this process."""
    cog: Any = interaction.client.get_cog("JamCog")
    host: JamHost = cog.host
    return host


async def open_jam(interaction: Interaction, jam_id: int) -> JamRow:
    """Return a jam that takes prompts; raises `DarkroomError` for others."""
    jam = await host_of(interaction).store.get(jam_id)
    if jam is None or jam.stage != Stage.OPEN or jam.ends <= discord.utils.utcnow():
        raise DarkroomError(OVER)
    return jam


def request_of(context: Context, typed: str) -> tuple[ImageRequest, tuple[Text, ...]]:
    """Return the request for one picture, and notes on its prompt; raises `DarkroomError`."""
    parsed = parse_prompt(typed)
    if not parsed.text:
        raise InvalidRequestError("prompt", NO_PROMPT)
    if len(parsed.variants) > 1:
        raise InvalidRequestError("prompt", ONE_PICTURE)
    builder = context.interaction.client.service.builder.of(context, parsed)
    return builder.build(context, parsed, count=1), builder.notes(parsed)
