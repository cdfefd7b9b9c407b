"""/similar: draw pictures that start from another picture."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.linked import LINK_DESCRIPTION, Link, check_one_picture, given_picture
from cogs.core.generation.service import GenerationService
from cogs.core.generation.suggestions import suggest_creations
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.links import take_links
from cogs.core.request.options import Options, Prompt, shared_options
from cogs.core.request.prompt import ParsedPrompt, parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.request import ImageRequest, start_step_for

if TYPE_CHECKING:
    from bot import Darkroom

DEFAULT_SIMILARITY = 0.4


@dataclass(frozen=True)
class Start:
    """What a member wants to start from: an attached picture or a link, and how much of it to keep."""

    image: discord.Attachment | None = None
    link: str | None = None
    similarity: float | None = None
    start_step: int | None = None


class SimilarCog(commands.Cog):
    """Draws pictures that start from another one."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        image="The picture to start from",
        prompt="What the pictures should show",
        link=LINK_DESCRIPTION,
        similarity="How much of the picture to keep: 0 nearly nothing, 1 nearly everything",
        start_step="The step to start from, instead of a similarity",
    )
    @app_commands.autocomplete(link=suggest_creations)
    @shared_options("model", "style", "size", "steps", "guidance", "seed", "count", "lora", "private", "spoiler")
    async def similar(
        self,
        interaction: Interaction,
        options: Options,
        image: discord.Attachment | None = None,
        prompt: Prompt | None = None,
        link: Link | None = None,
        similarity: Range[float, 0, 1] | None = None,
        start_step: Range[int, 0, 149] | None = None,
    ) -> None:
        """Draw pictures similar to another one."""
        words, links = take_links(prompt or "")
        links = [link, *links] if link else links
        problems = Problems()
        with problems.collect():
            check_one_picture(image, *links)
        with problems.collect():
            if similarity is not None and start_step is not None:
                raise InvalidRequestError("start_step", "Please give a similarity or a start step, not both.")
        start = Start(image, links[0] if links else None, similarity, start_step)
        await draw_similar(interaction, start, words, options, problems=problems)


async def draw_similar(
    interaction: Interaction, start: Start, prompt: str, options: Options, *, problems: Problems | None = None
) -> None:
    """Draw pictures that start from another one, once the member has confirmed how many.

    Raises `InvalidRequestError` for what is wrong with the request, together with the ``problems`` found before.
    """
    problems = problems or Problems()
    service = interaction.client.service
    parsed = parse_prompt(prompt, options.negative)
    asked = Context.of(interaction)
    with problems.collect():
        builder = service.builder.of(asked, parsed, options)
        even = replace(options, sampler=options.sampler or builder.model.even_sampler)
        checked = builder.check(asked, parsed, even)
        checked.replace(start_step=start.start_step or 0)
    problems.report()
    given = await given_picture(asked, start.image, start.link)
    if given is None:
        return
    confirmed = await confirm_variants(given.context, parsed, options.count) if len(parsed.variants) > 1 else given.context
    if confirmed is None:
        return

    async def prepare() -> ImageRequest:
        image = await fetch_image(given.file)
        request = similar_request(confirmed, parsed, options, image=image, similarity=start.similarity)
        return request if start.start_step is None else request.replace(start_step=start.start_step)

    spoiler = hides_any(given.file) or options.spoiler
    await service.accept(confirmed, prepare, private=options.private, spoiler=spoiler, origin=given.origin)
    if notes := builder.notes(parsed):
        await send_notes(confirmed, notes)


def similar_request(
    context: Context, parsed: ParsedPrompt, options: Options, *, image: Image.Image, similarity: float | None = None
) -> ImageRequest:
    """Return the request for pictures similar to ``image``, in its proportions unless the member chose others.

    Raises `InvalidRequestError`.
    """
    builder = context.interaction.client.service.builder.of(context, parsed, options)
    size = builder.size_like(image, context, parsed, options)
    even = replace(options, sampler=options.sampler or builder.model.even_sampler)
    request = builder.build(context, parsed, even, image=image, **size)
    kept = DEFAULT_SIMILARITY if similarity is None else similarity
    return request.replace(start_step=start_step_for(kept, request.steps))


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(SimilarCog(bot.service))
