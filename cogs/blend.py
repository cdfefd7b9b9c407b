"""/blend: draw pictures that start from a mixture of two to five others."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.linked import Link, check_origins, given_pictures
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_more_creations
from cogs.core.i18n.catalogues import say
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.messages.components import Form, prompt_input
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.links import split_links
from cogs.core.request.options import TYPED, Options, Prompt, shared_options
from cogs.core.request.prompt import ParsedPrompt, parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.images.io import hstack
from diffusion.images.source import side_by_side
from diffusion.request import (
    BLEND_WEIGHT,
    BLENDED_COUNT,
    MAX_BLEND_WEIGHT,
    MAX_BLENDED,
    MIN_BLENDED,
    ImageRequest,
    are_weights,
    start_step_for,
)
from diffusion.text import N_, Text, plural

if TYPE_CHECKING:
    from bot import Darkroom

DEFAULT_SIMILARITY: Final = 0.4
WEIGHTS_LENGTH: Final = 50  # characters
WEIGHTS: Final = plural(
    "The weights must be {count} number with commas between them, one for each picture, such as {example}.",
    "The weights must be {count} numbers with commas between them, one for each picture, such as {example}.",
)
HOW_IT_BLENDS: Final = N_(
    "I mix shapes and colours of the pictures, and not what they mean: no model here looks at pictures as it reads words."
    " A prompt says what the mixture should become."
)


@dataclass(frozen=True)
class Blend:
    """What a member wants to blend: attached pictures, links to others, and the prompt and weights as typed."""

    pictures: Sequence[discord.Attachment]
    links: Sequence[str] = ()
    prompt: str = ""
    weights: str = ""
    similarity: float = DEFAULT_SIMILARITY


class BlendCog(commands.Cog):
    """Draws pictures that start from several."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        image1="The first picture, whose proportions the blend has; without any picture, I ask for them in a form",
        image2="The second picture",
        image3="A third picture",
        image4="A fourth picture",
        image5="A fifth picture",
        links="Links to pictures or messages on Discord, or ids of pictures, with spaces between them",
        prompt="What the blend should show",
        weights="How much of each picture to take, such as 2,1",
        similarity="How much of the mixture to keep: 0 nearly nothing, 1 nearly everything",
    )
    @app_commands.autocomplete(links=suggest_more_creations)
    @shared_options(
        "model", "style", "negative", "size", "quality", "steps", "guidance", "seed", "count", "lora", "private", "spoiler"
    )
    async def blend(
        self,
        interaction: Interaction,
        options: Options,
        image1: discord.Attachment | None = None,
        image2: discord.Attachment | None = None,
        image3: discord.Attachment | None = None,
        image4: discord.Attachment | None = None,
        image5: discord.Attachment | None = None,
        links: Link | None = None,
        prompt: Prompt | None = None,
        weights: Range[str, 1, WEIGHTS_LENGTH] | None = None,
        similarity: Range[float, 0, 1] = DEFAULT_SIMILARITY,
    ) -> None:
        """Blend two to five pictures into a new one."""
        pictures = [image for image in (image1, image2, image3, image4, image5) if image]
        wanted = Blend(pictures, split_links(links or ""), prompt or "", weights or "", similarity)
        if pictures or wanted.links:
            await blend_pictures(interaction, wanted, options)
            return
        interaction.extras.pop(TYPED, None)  # no form to fix a mistake: Discord lets none of them open the next one
        context = Context.of(interaction)
        _check(context, parse_prompt(wanted.prompt, options.negative), options, weights=(1.0,) * MIN_BLENDED)
        await interaction.response.send_modal(BlendForm(wanted, options, context.language))


class BlendForm(Form):
    """Asks for the pictures to blend, a prompt and weights."""

    is_public = True

    def __init__(self, wanted: Blend, options: Options, language: str) -> None:
        super().__init__(say(language, "Blend pictures"))
        self._wanted = wanted
        self._options = options
        self.pictures: discord.ui.FileUpload[Any] = discord.ui.FileUpload(
            custom_id="pictures", min_values=MIN_BLENDED, max_values=MAX_BLENDED
        )
        self.prompt = prompt_input(wanted.prompt)
        self.weights: discord.ui.TextInput[Any] = discord.ui.TextInput(
            default=wanted.weights, required=False, max_length=WEIGHTS_LENGTH, custom_id="weights"
        )
        self.ask(say(language, "Two to five pictures"), self.pictures)
        self.ask(say(language, "What the blend should show"), self.prompt)
        self.ask(say(language, "How much of each picture to take, such as 2,1"), self.weights)

    async def run(self, interaction: Interaction) -> None:
        """Blend the uploaded pictures."""
        wanted = replace(self._wanted, pictures=self.pictures.values, prompt=self.prompt.value, weights=self.weights.value)
        await blend_pictures(interaction, wanted, self._options)


async def blend_pictures(interaction: Interaction, wanted: Blend, options: Options) -> None:
    """Draw pictures that start from the mixture, once the member has confirmed how many."""
    service = interaction.client.service
    parsed = parse_prompt(wanted.prompt, options.negative)
    asked = Context.of(interaction)
    count = len(wanted.pictures) + len(wanted.links)
    problems = Problems()
    weights: tuple[float, ...] = (1.0,) * min(max(MIN_BLENDED, count), MAX_BLENDED)
    with problems.collect():
        if not MIN_BLENDED <= count <= MAX_BLENDED:
            raise InvalidRequestError("blend", BLENDED_COUNT)
        weights = parse_weights(wanted.weights, count)
    with problems.collect():
        _check(asked, parsed, options, weights=weights)
    problems.report()
    builder = service.builder.of(asked, parsed, options)
    even = replace(options, sampler=builder.model.even_sampler)
    blank = Image.new("RGB", (count, 1))
    pictures = [*((picture, None) for picture in wanted.pictures), *((None, link) for link in wanted.links)]
    given = await given_pictures(asked, pictures)
    if given is None:
        return
    origin = await check_origins(given, options.private)
    context = given[-1].context
    confirmed = await confirm_variants(context, parsed, options.count) if len(parsed.variants) > 1 else context
    if confirmed is None:
        return

    async def prepare() -> ImageRequest:
        fitted: list[Image.Image] = []
        size: dict[str, int] = {}
        for each in given:
            picture = await fetch_image(each.file)
            if not fitted:
                likeness = builder.size_like(picture, confirmed, parsed, options)
                shape = builder.build(confirmed, parsed, even, image=blank, blend=weights, **likeness)
                size = {"width": shape.width, "height": shape.height}
            fitted.append(await asyncio.to_thread(side_by_side, [picture], **size))
        sheet = await asyncio.to_thread(hstack, fitted)
        request = builder.build(confirmed, parsed, even, image=sheet, blend=weights, **size)
        return request.replace(start_step=start_step_for(wanted.similarity, request.steps))

    spoiler = hides_any(*(each.file for each in given)) or options.spoiler
    await service.accept(confirmed, prepare, private=options.private, spoiler=spoiler, origin=origin)
    await send_notes(confirmed, [*builder.notes(parsed), Text(HOW_IT_BLENDS)])


def _check(context: Context, parsed: ParsedPrompt, options: Options, *, weights: tuple[float, ...]) -> None:
    """Raise `InvalidRequestError` unless pictures can be drawn from a mixture by ``weights``, before it is read."""
    builder = context.interaction.client.service.builder.of(context, parsed, options)
    even = replace(options, sampler=builder.model.even_sampler)
    builder.build(context, parsed, even, image=Image.new("RGB", (len(weights), 1)), blend=weights)


def parse_weights(typed: str, count: int) -> tuple[float, ...]:
    """Parse one weight for each of ``count`` pictures, such as "2, 1" or "2:1"; nothing means equal ones.

    Raises `InvalidRequestError`.
    """
    texts = re.split(r"[\s,;:/|]+", typed.strip()[:WEIGHTS_LENGTH]) if typed.strip() else ["1"] * count
    try:
        weights = tuple(map(float, texts))
    except ValueError:
        weights = ()
    if len(weights) != count:
        example = ",".join(map(str, range(count, 0, -1)))
        raise InvalidRequestError("weights", WEIGHTS, count=count, example=example)
    if not are_weights(weights):
        raise InvalidRequestError("weights", BLEND_WEIGHT, most=MAX_BLEND_WEIGHT)
    return weights


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(BlendCog(bot.service))
