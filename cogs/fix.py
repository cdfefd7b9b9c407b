"""Fix: a form with what was typed, under the errors of a command."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, command_name, say
from cogs.core.messages.components import Form, PersistentButton, view_of
from cogs.core.messages.drafts import Drafts
from cogs.core.policy.context import Context
from cogs.core.request.links import MAX_LINK
from cogs.core.request.options import SHARED, TYPED
from cogs.core.request.prompt import PROMPT_LIMIT
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError, InvalidRequestError, Problems
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

MAX_FIELDS: Final = 5  # Discord's limit on a form
VALUE_LENGTH: Final = 100
PROMPTS: Final = {"prompt": "prompt", "start": "from", "end": "to"}  # texts of commands, by parameter, as members read them
TOO_LATE: Final = N_("This was too long ago to be fixed. Please use the command again.")
LINKS: Final = ("link", "links")
WHOLE_NUMBERS: Final = ("steps", "seed", "count", "variety", "upscale", "frames", "start_step")
NUMBERS: Final = ("guidance", "steer_strength", "similarity")
# The options that a member can change to correct an error about a field.
OPTIONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "width": ("size",),
    "height": ("size",),
    "negative_prompt": ("negative",),
    "guidance_scale": ("guidance",),
    "guide_label": ("steer",),
    "label_scale": ("steer_strength",),
    "loras": ("lora",),
    "request": ("size", "steps", "count"),
    "start_step": ("start_step", "similarity", "steps"),
    "image": ("link",),
    "mask": ("region",),
    "blend": ("links",),
}
OFFERED_EMPTY: Final = {"request", "image", "mask", "blend"}  # errors that options which were left out correct, too


@dataclass(frozen=True)
class Draft:
    """What a member typed, by parameter, and the command that refused ``wrong`` parameters."""

    command: Any
    typed: Mapping[str, Any]
    wrong: tuple[str, ...]


class FixCog(commands.Cog):
    """Offers the form under errors, and keeps what was typed."""

    def __init__(self, service: GenerationService) -> None:
        self.drafts: Drafts[Draft] = Drafts()
        service.error_views.append(self.view)
        service.forgetters.append(self.drafts.forget)

    def view(self, interaction: Interaction, error: Exception) -> discord.ui.View | None:
        """Return the button under ``error``, if the member can correct it by other options; keep what was typed."""
        fields = [single.field for single in getattr(error, "errors", (error,)) if hasattr(single, "field")]
        if TYPED not in interaction.extras or not fields:
            return None
        command, typed = interaction.extras[TYPED]
        named = dict.fromkeys(option for field in fields for option in OPTIONS_OF.get(field, (field,)) if option not in PROMPTS)
        is_any = not OFFERED_EMPTY.isdisjoint(fields)
        wrong = [option for option in named if option in typed and (is_any or typed[option] is not None)]
        texts = [name for name in PROMPTS if name in typed]
        if not texts and not wrong:
            return None
        draft = Draft(command, typed, (*texts, *wrong)[:MAX_FIELDS])
        self.drafts.keep(interaction.user.id, interaction.id, draft)
        return view_of(FixButton(interaction.id, Context.of(interaction).language))


class FixButton(PersistentButton, name="fix"):
    """Opens the form for a refused command."""

    is_public = True

    draft_id: int

    def __init__(self, draft_id: int, language: str = ENGLISH) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(label=say(language, "Fix"), emoji="✏️")
        super().__init__(button, draft_id=draft_id)

    async def run(self, interaction: Interaction) -> None:
        """Open the form."""
        cog: Any = interaction.client.get_cog(FixCog.__name__)
        draft: Draft | None = cog.drafts.get(interaction.user.id, self.draft_id)
        if draft is None:
            raise DarkroomError(TOO_LATE)
        await interaction.response.send_modal(FixForm(draft, Context.of(interaction).language))


class FixForm(Form):
    """Asks again for the texts and the options that were wrong, filled in with what was typed."""

    is_public = True

    def __init__(self, draft: Draft, language: str) -> None:
        super().__init__(say(language, "Fix"))
        self._draft = draft
        for name in draft.wrong:
            typed = draft.typed[name]
            is_text = name in PROMPTS or name == "negative"
            most = PROMPT_LIMIT if is_text else MAX_LINK if name in LINKS else VALUE_LENGTH
            control: discord.ui.TextInput[Any] = discord.ui.TextInput(
                style=discord.TextStyle.paragraph if is_text else discord.TextStyle.short,
                default=None if typed is None else f"{typed:g}"[:most] if isinstance(typed, float) else str(typed)[:most],
                required=False,
                max_length=most,
                custom_id=name,
            )
            label = command_name(language, PROMPTS.get(name, name)).replace("_", " ").capitalize()
            hint = say(language, SHARED[name].description) if name in SHARED else None
            self.ask(label, control, hint)

    async def run(self, interaction: Interaction) -> None:
        """Use the command again with what was typed now."""
        entered = {item.custom_id: item.value for item in self.walk_children() if isinstance(item, discord.ui.TextInput)}
        # If that is wrong, too, the next form begins with it.
        interaction.extras[TYPED] = self._draft.command, {**self._draft.typed, **entered}
        problems = Problems()
        values: dict[str, Any] = {}
        for name, text in entered.items():
            with problems.collect():
                values[name] = _value(name, text)
        problems.report()
        await self._draft.command(interaction, **{**self._draft.typed, **values})


def _value(name: str, text: str) -> Any:
    """Return the value of an option that a member typed as text; raises `InvalidRequestError`."""
    text = text.strip()
    if name in PROMPTS:
        return text
    if not text:
        return None
    try:
        if name in WHOLE_NUMBERS:
            return int(text)
        return float(text.replace(",", ".")) if name in NUMBERS else text
    except ValueError:
        template = N_("The {field} must be a whole number.") if name in WHOLE_NUMBERS else N_("The {field} must be a number.")
        raise InvalidRequestError(name, template) from None


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(FixCog(bot.service))
