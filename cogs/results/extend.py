"""Zoom out and Pan: continue a finished picture beyond its edges."""

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

import discord

from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages.components import Form, prompt_input
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.messages.views import ResultAction, ResultTarget
from cogs.core.policy.context import Context
from cogs.core.request.edit_form import Edit
from cogs.core.request.extension import Extension, extended
from cogs.core.request.options import look_for_loras
from cogs.core.request.prompt import parse_prompt
from cogs.core.types import Interaction
from cogs.results.variations import single, with_fresh_seed, with_prompt
from diffusion.errors import InvalidRequestError, Problems
from diffusion.request import ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

EXTENSIONS: Final = {  # by the action
    "zoom_out_1_5": Extension("all", 0.5),
    "zoom_out_2": Extension("all", 1.0),
    "pan_left": Extension("left", 0.5),
    "pan_right": Extension("right", 0.5),
    "pan_up": Extension("up", 0.5),
    "pan_down": Extension("down", 0.5),
}
LEAST_ZOOM: Final = 1.1
MOST_ZOOM: Final = 2.0
DEFAULT_ZOOM: Final = 1.5
ZOOM: Final = N_("The zoom must be a number from {least} to {most}, such as 1.5.")
KEEPS_PROPORTIONS: Final = N_(
    "A zoom keeps the proportions of the picture. Leave out `--ar`, or use Pan to make it wider or higher."
)


async def extend(interaction: Interaction, target: ResultTarget) -> None:
    """Continue the chosen picture on one side or on all."""
    service = interaction.client.service
    context = Context.of(interaction)
    source = await ResultSource.of(service, interaction.message, target.creation_id)

    async def prepare() -> ImageRequest:
        request = _plain((await source.request()).drawn(), target.index, context)
        return await _extended(context, source, target.index, request, EXTENSIONS[target.action])

    origin = source.origin(target, uses_picture=True)
    await service.accept(context, prepare, private=source.creation.private, origin=origin)


async def ask_for_zoom(interaction: Interaction, target: ResultTarget) -> None:
    """Open the form that asks how far to zoom out, and what to show around the picture."""
    service = interaction.client.service
    context = Context.of(interaction)
    source = await ResultSource.of(service, interaction.message, target.creation_id)
    await service.origin_rules.check(context, source.origin(target, uses_picture=True), source.creation.private)
    request = _plain((await source.request_soon()).drawn(), target.index, context)
    await interaction.response.send_modal(ZoomForm(source, target, request, context.language))


class ZoomForm(Form):
    """Asks how far to zoom out, and for another prompt."""

    is_public = True

    def __init__(self, source: ResultSource, target: ResultTarget, request: ImageRequest, language: str) -> None:
        super().__init__(say(language, "Zoom out"))
        self._source = source
        self._target = target
        self._request = request
        self.zoom: discord.ui.TextInput[Any] = discord.ui.TextInput(default=str(DEFAULT_ZOOM), max_length=10, custom_id="zoom")
        self.prompt = prompt_input(Edit.from_request(request).prompt)
        self.ask(say(language, "How far, from {least} to {most}", least=LEAST_ZOOM, most=f"{MOST_ZOOM:g}"), self.zoom)
        self.ask(say(language, "What the whole picture should show"), self.prompt)

    async def run(self, interaction: Interaction) -> None:
        """Draw the picture again on a larger canvas."""
        service = interaction.client.service
        asked = Context.of(interaction)
        await look_for_loras(interaction, None, self.prompt.value)
        parsed = parse_prompt(self.prompt.value)
        problems = Problems()
        with problems.collect():
            extension = Extension("all", _parse_zoom(self.zoom.value) - 1)
        request = with_prompt(asked, self._request, parsed, problems, no_aspect=KEEPS_PROPORTIONS)
        context = await confirm_variants(asked, parsed, request.count_each) if len(parsed.variants) > 1 else asked
        if context is None:
            return

        async def prepare() -> ImageRequest:
            return await _extended(context, self._source, self._target.index, request, extension)

        origin = self._source.origin(self._target, uses_picture=True)
        await service.accept(context, prepare, private=self._source.creation.private, origin=origin)
        if notes := service.builder.for_model(request.model).notes(parsed):
            await send_notes(context, notes)


def _parse_zoom(typed: str) -> float:
    try:
        zoom = float(typed.strip().lower().removesuffix("x").replace(",", "."))
    except ValueError:
        zoom = math.nan
    if not LEAST_ZOOM <= zoom <= MOST_ZOOM:
        raise InvalidRequestError("zoom", ZOOM, least=LEAST_ZOOM, most=f"{MOST_ZOOM:g}")
    return zoom


def _plain(request: ImageRequest, index: int, context: Context) -> ImageRequest:
    """Return the request for pictures like the one of that ``index``, with other seeds and evenly spaced steps."""
    model = context.interaction.client.service.engine.model_of(request.model)
    return with_fresh_seed(single(request, index, request.count_each)).replace(sampler=model.even_sampler)


async def _extended(
    context: Context, source: ResultSource, index: int, request: ImageRequest, extension: Extension
) -> ImageRequest:
    """Return ``request`` for the picture of that ``index``, on a canvas with the area of the model's square."""
    builder = context.interaction.client.service.builder.for_model(request.model)
    picture = await source.picture(index)
    size = builder.fit_aspect(extension.grow(picture.size), context.limits)
    return await asyncio.to_thread(extended, request, picture, extension, size=size, cell=builder.model.latent_factor)


async def setup(bot: "Darkroom") -> None:
    """Register the actions."""
    texts = {
        "zoom_out_1_5": (N_("Zoom out 1.5x"), "🔭", N_("Adds half of its size around it")),
        "zoom_out_2": (N_("Zoom out 2x"), "🔭", N_("Adds its whole size around it")),
        "pan_left": (N_("Pan left"), "⬅️", N_("Continues it to the left")),
        "pan_right": (N_("Pan right"), "➡️", N_("Continues it to the right")),
        "pan_up": (N_("Pan up"), "⬆️", N_("Continues it upwards")),
        "pan_down": (N_("Pan down"), "⬇️", N_("Continues it downwards")),
    }
    bot.service.result_actions.add(
        *(ResultAction(name, extend, *shown, of_picture=True) for name, shown in texts.items()),
        ResultAction(
            "zoom_out", ask_for_zoom, N_("Zoom out…"), "🔭", N_("Asks how far, and for another prompt"), of_picture=True
        ),
    )
