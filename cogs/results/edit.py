"""Edit: a form that draws finished pictures again with other settings."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import discord

from cogs.core.generation.service import GenerationService
from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages.components import Form
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.drafts import Drafts
from cogs.core.messages.replies import ERROR_VIEW, send_notes
from cogs.core.messages.views import ResultAction, ResultTarget, edit_again_view
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.request.edit_form import MAX_GUIDANCE, Edit
from cogs.core.request.options import look_for_loras
from cogs.core.request.prompt import PROMPT_LIMIT, parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError, Problems
from diffusion.request import MAX_SEED, ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

UNCHANGED: Final = N_("Nothing was changed. Please change a field, or use Reroll for other pictures.")


class Editor:
    """Opens the form and accepts the edited request.

    It keeps rejected edits, so that members need not type them again.
    """

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._drafts: Drafts[Edit] = Drafts()
        service.forgetters.append(self._drafts.forget)

    async def open(self, interaction: Interaction, target: ResultTarget) -> None:
        """Open the form."""
        context = Context.of(interaction)
        source = await ResultSource.of(self.service, interaction.message, target.creation_id)
        await self.service.origin_rules.check(context, Origin(source.creation), source.creation.private)
        request = (await source.request_soon()).drawn()
        draft = self._drafts.get(context.member_id, target.creation_id)
        await interaction.response.send_modal(EditForm(self, context, source, draft or Edit.from_request(request)))

    async def submit(self, interaction: Interaction, source: ResultSource, edit: Edit) -> None:
        """Draw the pictures with other settings.

        The seed stays unless it is edited, so that members see the effect of their change.
        """
        context = Context.of(interaction)
        original = source.creation
        self._drafts.keep(context.member_id, original.id, edit)
        error_view = edit_again_view(context.member_id, original.id, context.language)
        interaction.extras[ERROR_VIEW] = error_view
        await look_for_loras(interaction, None, edit.prompt)
        parsed = parse_prompt(edit.prompt, edit.negative)
        request = (await source.request_soon()).drawn()
        problems = Problems()
        fields: dict[str, Any] = {}
        with problems.collect():
            fields = edit.request_fields(context.limits.steps)
        with problems.collect():
            edited = self.service.builder.edit(context, request, parsed, **fields)
        problems.report()
        if edited == request:
            raise DarkroomError(UNCHANGED)
        confirmed = await confirm_variants(context, parsed, edited.count_each) if len(parsed.variants) > 1 else context
        if confirmed is None:
            return
        confirmed.interaction.extras[ERROR_VIEW] = error_view

        async def prepare() -> ImageRequest:
            return edited

        await self.service.accept(confirmed, prepare, private=original.private, origin=Origin(original, action="edit"))
        self._drafts.drop(context.member_id, original.id)
        if notes := self.service.builder.for_model(edited.model).notes(parsed):
            await send_notes(confirmed, notes)


class EditForm(Form):
    """Asks for other settings."""

    is_public = True

    def __init__(self, editor: Editor, context: Context, source: ResultSource, filled: Edit) -> None:
        super().__init__(say(context.language, "Edit"))
        self._editor = editor
        self._source = source
        self._filled = filled
        texts = asdict(filled)
        for name, label, max_length in _fields(context, is_morph=filled.target is not None):
            style = discord.TextStyle.paragraph if max_length == PROMPT_LIMIT else discord.TextStyle.short
            field: discord.ui.TextInput[Any] = discord.ui.TextInput(
                style=style, default=texts[name][:max_length], required=False, max_length=max_length, custom_id=name
            )
            self.ask(label, field)

    async def run(self, interaction: Interaction) -> None:
        """Pass on what the member typed."""
        typed = {item.custom_id: item.value for item in self.walk_children() if isinstance(item, discord.ui.TextInput)}
        await self._editor.submit(interaction, self._source, replace(self._filled, **typed))


def _fields(context: Context, is_morph: bool) -> list[tuple[str, str, int]]:
    """Return the name, label and length of each field; Discord shows five.

    A morph has its second prompt instead of the guidance, which ``--cfg`` in the first prompt still sets.
    """
    language = context.language
    fields = {
        "prompt": (say(language, "What it shows first") if is_morph else say(language, "Prompt"), PROMPT_LIMIT),
        "target": (say(language, "What it becomes"), PROMPT_LIMIT),
        "negative": (say(language, "What it should not show"), PROMPT_LIMIT),
        "steps": (say(language, "Steps, from 1 to {most}", most=context.limits.steps), 10),
        "guidance": (say(language, "Guidance, from 0 to {most}", most=MAX_GUIDANCE), 10),
        "seed": (say(language, "Seed; leave it empty for another one"), len(str(MAX_SEED)) + 2),
    }
    del fields["guidance" if is_morph else "target"]
    return [(name, label, max_length) for name, (label, max_length) in fields.items()]


async def setup(bot: "Darkroom") -> None:
    """Register the actions."""
    editor = Editor(bot.service)
    bot.service.result_actions.add(
        ResultAction("edit", editor.open, N_("Edit"), "✏️", N_("Changes the prompt or the settings"), rank=50),
        ResultAction("edit_again", editor.open),
    )
