"""Vary region: draw a part of a finished picture anew."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import discord
from PIL import Image, ImageChops

from cogs.core.generation.source import ResultSource
from cogs.core.i18n.catalogues import say
from cogs.core.messages.attachments import fetch_mask, hides_any
from cogs.core.messages.components import INVALID_CHOICE, Form, prompt_input
from cogs.core.messages.confirm import Answers, confirm, confirm_variants
from cogs.core.messages.message import PictureFile
from cogs.core.messages.render import SPOILER_PREFIX
from cogs.core.messages.replies import send_notes
from cogs.core.messages.views import ResultAction, ResultTarget
from cogs.core.policy.context import Context
from cogs.core.request.edit_form import Edit
from cogs.core.request.options import look_for_loras
from cogs.core.request.prompt import parse_prompt
from cogs.core.request.regions import PARTS, pixel_box, region_of
from cogs.core.types import Interaction
from cogs.results.variations import single, with_fresh_seed, with_prompt
from diffusion.errors import DarkroomError, InvalidRequestError, Problems
from diffusion.images.io import fit, to_png
from diffusion.images.masks import EMPTY_MASK, binarize, box_mask, fit_and_fill, outline
from diffusion.request import ImageRequest
from diffusion.text import N_

if TYPE_CHECKING:
    from bot import Darkroom

NO_PART: Final = N_("Nothing marks the part to draw anew. Please choose a part, or upload a mask that is white there.")
PARTS_AND_MASK: Final = N_("Please choose parts or upload a mask, not both.")
FIXED_SIZE: Final = N_("A part keeps the size of its picture. Leave out `--ar`.")
QUESTION: Final = N_("I draw the part inside the line anew, and the rest stays as it is. Shall I?")
ANSWERS: Final = Answers(N_("Draw"), N_("Cancel"), N_("Not started."))
PREVIEW_SIDE: Final = 768  # pixels at most


async def ask_for_region(interaction: Interaction, target: ResultTarget) -> None:
    """Open the form that asks which part of the picture to draw anew."""
    service = interaction.client.service
    context = Context.of(interaction)
    source = await ResultSource.of(service, interaction.message, target.creation_id)
    await service.origin_rules.check(context, source.origin(target, uses_picture=True), source.creation.private)
    request = (await source.request_soon()).drawn()
    await interaction.response.send_modal(RegionForm(source, target, request, context.language))


class RegionForm(Form):
    """Asks for the part, and for what it should show; then shows the part."""

    def __init__(self, source: ResultSource, target: ResultTarget, request: ImageRequest, language: str) -> None:
        super().__init__(say(language, "Vary region"))
        self._source = source
        self._target = target
        self._request = with_fresh_seed(single(request, target.index, request.count_each))
        options = [discord.SelectOption(label=say(language, name), value=part) for part, (name, *_) in PARTS.items()]
        self.parts: discord.ui.Select[Any] = discord.ui.Select(
            options=options, required=False, min_values=0, max_values=len(options), custom_id="parts"
        )
        self.mask: discord.ui.FileUpload[Any] = discord.ui.FileUpload(required=False, max_values=1, custom_id="mask")
        self.prompt = prompt_input(Edit.from_request(self._request).prompt)
        self.ask(say(language, "Which part"), self.parts, say(language, "One or several, which are then drawn as one"))
        self.ask(say(language, "Or a mask"), self.mask, say(language, "A picture that is white where this one is drawn anew"))
        self.ask(say(language, "What it should show"), self.prompt)

    async def run(self, interaction: Interaction) -> None:
        """Show the part with a line around it, and draw it once that is confirmed."""
        service = interaction.client.service
        asked = Context.of(interaction)
        await look_for_loras(interaction, None, self.prompt.value)
        parsed = parse_prompt(self.prompt.value)
        problems = Problems()
        with problems.collect():
            self._check_part()
        request = with_prompt(asked, self._request, parsed, problems, no_aspect=FIXED_SIZE)
        creation = self._source.creation
        hides = bool(creation.spoiler) or hides_any(*self.mask.values)
        async with service.rules.preparing(asked.member_id), service.rules.charging_refused_attachment(asked):
            picture, hole = await self._picture_and_mask()
        shown = await asyncio.to_thread(_preview, picture, hole)
        description = say(asked.language, "The picture with a line around the part that is drawn anew")
        preview = PictureFile(f"{SPOILER_PREFIX if hides else ''}region.png", shown, description)
        context = await confirm(asked, say(asked.language, QUESTION), ANSWERS, picture=preview)
        if context and len(parsed.variants) > 1:
            context = await confirm_variants(context, parsed, request.count_each)
        if context is None:
            return

        async def prepare() -> ImageRequest:
            return await asyncio.to_thread(_redrawn, request, *await self._picture_and_mask())

        origin = self._source.origin(self._target, uses_picture=True)
        await service.accept(context, prepare, private=creation.private, spoiler=hides or None, origin=origin)
        if notes := service.builder.for_model(request.model).notes(parsed):
            await send_notes(context, notes)

    def _check_part(self) -> None:
        """Raise `DarkroomError` unless the form marks a part in one way."""
        if not PARTS.keys() >= set(self.parts.values):
            raise DarkroomError(INVALID_CHOICE)
        if self.parts.values and self.mask.values:
            raise InvalidRequestError("mask", PARTS_AND_MASK)
        if not self.parts.values and not self.mask.values:
            raise InvalidRequestError("mask", NO_PART)

    async def _picture_and_mask(self) -> tuple[Image.Image, Image.Image]:
        """Return the picture and its mask, of any size."""
        picture = await self._source.picture(self._target.index)
        if not self.mask.values:
            return picture, parts_mask(picture.size, self.parts.values)
        return picture, await fetch_mask(self.mask.values[0])


def parts_mask(size: tuple[int, int], parts: Iterable[str]) -> Image.Image:
    """Return the mask of some of `PARTS` in a picture of ``size``."""
    mask = Image.new("L", size, 0)
    for part in parts:
        mask = ImageChops.lighter(mask, box_mask(size, pixel_box(region_of(part), size)))
    return mask


def _preview(picture: Image.Image, mask: Image.Image) -> bytes:
    """Return the picture as a PNG with a line around the part, not larger than needed.

    Raises `InvalidRequestError` if the mask is black everywhere.
    """
    scale = min(1, PREVIEW_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    mask = binarize(mask.resize((width, height)))
    if not mask.getbbox():
        raise InvalidRequestError("mask", EMPTY_MASK)
    return to_png(outline(fit(picture, width, height), mask))


def _redrawn(request: ImageRequest, picture: Image.Image, mask: Image.Image) -> ImageRequest:
    """Return ``request`` for the masked part of ``picture``, from noise."""
    image, hole = fit_and_fill(picture, mask, request.width, request.height)
    return request.img2img(image, 0).replace(mask=hole)


async def setup(bot: "Darkroom") -> None:
    """Register the action."""
    bot.service.result_actions.add(
        ResultAction("vary_region", ask_for_region, N_("Vary region"), "🖌️", N_("Draws a part of it anew"), of_picture=True)
    )
