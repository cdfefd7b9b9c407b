"""Edit: a form that draws finished pictures again with other settings."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import discord

from cogs.core.generation.service import GenerationService
from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages import render
from cogs.core.messages.components import Form, view_of
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.drafts import Drafts
from cogs.core.messages.lineage import Relative, changes
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.messages.replies import ERROR_VIEW, send_notes
from cogs.core.messages.views import ActionButton, ResultAction, ResultTarget, edit_again_view
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.request.edit_form import MAX_GUIDANCE, Edit
from cogs.core.request.options import look_for_loras
from cogs.core.request.prompt import PROMPT_LIMIT, ParsedPrompt, parse_prompt
from cogs.core.storage.creations import request_to_json
from cogs.core.types import Interaction
from cogs.results.look import LookForm
from diffusion.errors import DarkroomError, Problems
from diffusion.request import MAX_SEED, ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

LOOK: Final = "look"
DRAW: Final = "draw_edit"
NO_DRAFT: Final = N_("I keep an edit for 15 minutes, and this one is gone. Please edit the picture again.")
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
        filled = self._drafts.get(context.member_id, target.creation_id) or Edit.from_request(request)
        if target.action == LOOK:

            async def submit(answered: Interaction, edit: Edit) -> None:
                await self.show_look(answered, source, edit)

            form: Form = LookForm(context, request, filled, builder=self.service.builder, submit=submit)
        else:
            form = EditForm(self, context, source, filled)
        await interaction.response.send_modal(form)

    async def show_look(self, interaction: Interaction, source: ResultSource, edit: Edit) -> None:
        """Show what the member changes, who then draws it, or changes the words, too."""
        context = Context.of(interaction)
        creation = source.creation
        self._drafts.keep(context.member_id, creation.id, edit)
        interaction.extras[ERROR_VIEW] = _buttons(context, creation.id, LOOK, "edit")
        request = (await source.request_soon()).drawn()
        _, edited = self._edited(context, request, edit)
        if edited == request:
            raise DarkroomError(UNCHANGED)
        before, after = (Relative(creation.id, None, request_to_json(each)) for each in (request, edited))
        changed = render.escape(changes(before, after, context.language))
        text = f"{render.headline(edited, context.language)}\n{changed}"
        view = _buttons(context, creation.id, DRAW, "edit")
        await interaction.response.send_message(text, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)

    async def draw(self, interaction: Interaction, target: ResultTarget) -> None:
        """Draw what the member was shown."""
        edit = self._drafts.get(interaction.user.id, target.creation_id)
        if edit is None:
            raise DarkroomError(NO_DRAFT)
        source = await ResultSource.of(self.service, interaction.message, target.creation_id)
        await self.submit(interaction, source, edit)

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
        request = (await source.request_soon()).drawn()
        parsed, edited = self._edited(context, request, edit)
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

    def _edited(self, context: Context, request: ImageRequest, edit: Edit) -> tuple[ParsedPrompt, ImageRequest]:
        """Return the prompt of ``edit`` and the edited ``request``; raises `InvalidRequestError`."""
        parsed = edit.with_flags(parse_prompt(edit.prompt, edit.negative))
        problems = Problems()
        fields: dict[str, Any] = {}
        with problems.collect():
            fields = edit.request_fields(context.limits.steps)
        with problems.collect():
            edited = self.service.builder.edit(context, request, parsed, **fields)
            if edit.quality:
                model = self.service.engine.model_of(edited.model)
                edited = model.in_quality(edited, edit.quality, context.limits.steps)
        problems.report()
        return parsed, edited


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
        typed: dict[str, Any] = {
            item.custom_id: item.value for item in self.walk_children() if isinstance(item, discord.ui.TextInput)
        }
        await self._editor.submit(interaction, self._source, replace(self._filled, **typed))


def _buttons(context: Context, creation_id: int, *actions: str) -> discord.ui.View:
    """Return the buttons of an edit that was refused or is shown."""
    language = context.language
    looks: dict[str, discord.ui.Button[Any]] = {
        DRAW: discord.ui.Button(label=say(language, "Draw"), emoji="🖌️", style=discord.ButtonStyle.primary),
        LOOK: discord.ui.Button(label=say(language, "Model and look"), emoji="🎚️"),
        "edit": discord.ui.Button(label=say(language, "Words and numbers"), emoji="✏️"),
    }
    return view_of(*(ActionButton(each, context.member_id, creation_id, look=looks[each]) for each in actions))


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
        ResultAction(LOOK, editor.open, N_("Model and look"), "🎚️", N_("Changes model, style, size, quality, sampler or LoRAs")),
        ResultAction("edit_again", editor.open),
        ResultAction(DRAW, editor.draw),
    )
