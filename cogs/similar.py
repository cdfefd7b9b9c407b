"""/similar: draw pictures that start from another picture."""

from dataclasses import replace
from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.app_commands import Range
from discord.ext import commands
from PIL import Image

from cogs.core.generation.service import GenerationService
from cogs.core.messages.attachments import fetch_image, hides_any
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.options import Options, Prompt, shared_options
from cogs.core.request.prompt import ParsedPrompt, parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.request import ImageRequest, start_step_for

if TYPE_CHECKING:
    from bot import Darkroom

DEFAULT_SIMILARITY = 0.4


class SimilarCog(commands.Cog):
    """Draws pictures that start from an attached one."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(
        image="The picture to start from",
        prompt="What the pictures should show",
        similarity="How much of the picture to keep: 0 nearly nothing, 1 nearly everything",
        start_step="The step to start from, instead of a similarity",
    )
    @shared_options("model", "style", "size", "steps", "guidance", "seed", "count", "lora", "private", "spoiler")
    async def similar(
        self,
        interaction: Interaction,
        image: discord.Attachment,
        options: Options,
        prompt: Prompt | None = None,
        similarity: Range[float, 0, 1] | None = None,
        start_step: Range[int, 0, 149] | None = None,
    ) -> None:
        """Draw pictures similar to an attached one."""
        parsed = parse_prompt(prompt or "")
        asked = Context.of(interaction)
        problems = Problems()
        with problems.collect():
            if similarity is not None and start_step is not None:
                raise InvalidRequestError("start_step", "Please give a similarity or a start step, not both.")
        builder = self.service.builder.of(asked, parsed, options)
        with problems.collect():
            even = replace(options, sampler=builder.model.even_sampler)
            checked = builder.check(asked, parsed, even)
            checked.replace(start_step=start_step or 0)
        problems.report()
        context = await confirm_variants(asked, parsed, options.count) if len(parsed.variants) > 1 else asked
        if context is None:
            return

        async def prepare() -> ImageRequest:
            request = similar_request(context, parsed, options, image=await fetch_image(image), similarity=similarity)
            return request if start_step is None else request.replace(start_step=start_step)

        await self.service.accept(context, prepare, private=options.private, spoiler=hides_any(image) or options.spoiler)
        if notes := builder.notes(parsed):
            await send_notes(context, notes)


def similar_request(
    context: Context, parsed: ParsedPrompt, options: Options, *, image: Image.Image, similarity: float | None = None
) -> ImageRequest:
    """Return the request for pictures similar to ``image``, in its proportions unless the member chose others.

    Raises `InvalidRequestError`.
    """
    builder = context.interaction.client.service.builder.of(context, parsed, options)
    size = builder.size_like(image, context, parsed, options)
    request = builder.build(context, parsed, replace(options, sampler=builder.model.even_sampler), image=image, **size)
    kept = DEFAULT_SIMILARITY if similarity is None else similarity
    return request.replace(start_step=start_step_for(kept, request.steps))


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(SimilarCog(bot.service))
