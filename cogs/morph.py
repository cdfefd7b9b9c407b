"""/morph: draw an animation that leads from one text to another."""

from typing import TYPE_CHECKING

from discord import app_commands
from discord.app_commands import Choice, Range
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.options import MAX_FRAMES, Options, Prompt, shared_options
from cogs.core.request.prompt import parse_prompt
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.lora.tags import join_loras
from diffusion.request import ANIMATION_NAMES, validate_most

if TYPE_CHECKING:
    from bot import Darkroom

DEFAULT_FRAMES = 12
ANIMATION_CHOICES = [Choice(name=title, value=name) for name, title in ANIMATION_NAMES.items()]


class MorphCog(commands.Cog):
    """Draws animations that lead from text to text."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.rename(start="from", end="to", kind="format")
    @app_commands.describe(
        start="What it shows first",
        end="What it becomes",
        frames="The number of frames: more is smoother and slower",
        kind="WebP is finer and smaller; GIF plays everywhere",
    )
    @app_commands.choices(kind=ANIMATION_CHOICES)
    @shared_options(
        "model",
        "style",
        "negative",
        "size",
        "quality",
        "steps",
        "guidance",
        "sampler",
        "seed",
        "lora",
        "private",
        "spoiler",
    )
    async def morph(
        self,
        interaction: Interaction,
        start: Prompt,
        end: Prompt,
        options: Options,
        frames: Range[int, 2, MAX_FRAMES] | None = None,
        kind: str = "webp",
    ) -> None:
        """Turn one picture into another, as an animation."""
        context = Context.of(interaction)
        first = parse_prompt(start, options.negative)
        last = parse_prompt(end)
        if not last.text and not last.flags and not last.errors:
            raise InvalidRequestError("morph_to", "The second prompt is empty. Please say what the picture should become.")
        if len(first.variants) > 1 or len(last.variants) > 1:
            raise InvalidRequestError("morph_to", "A morph needs two plain prompts. Please choose instead of {…|…}.")
        builder = self.service.builder.of(context, first, options)
        problems = Problems()
        count = frames or min(DEFAULT_FRAMES, context.limits.frames)
        with problems.collect():
            validate_most("frames", count, context.limits.frames)
        with problems.collect():
            request = builder.build(context, first, options)
        with problems.collect():
            target = builder.build(context, last, Options(style=options.style))
        problems.report()
        loras = join_loras(request.loras, target.loras)
        request = request.replace(morph_to=target.prompt, count=count, animation=kind, loras=loras)
        await self.service.accept(context, request, private=options.private, spoiler=options.spoiler)
        if notes := builder.notes(first, last):
            await send_notes(context, notes)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(MorphCog(bot.service))
