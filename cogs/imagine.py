"""/imagine: draw pictures from a text."""

from typing import TYPE_CHECKING

from discord import app_commands
from discord.ext import commands

from cogs.core.generation.linked import check_one_picture
from cogs.core.generation.service import GenerationService
from cogs.core.messages.confirm import confirm_variants
from cogs.core.messages.replies import send_notes
from cogs.core.policy.context import Context
from cogs.core.request.links import take_links
from cogs.core.request.options import Options, Prompt, shared_options
from cogs.core.request.prompt import parse_prompt
from cogs.core.types import Interaction
from cogs.similar import Start, draw_similar

if TYPE_CHECKING:
    from bot import Darkroom

PROMPT_DESCRIPTION = "What the picture should show; {red|blue} makes one of each, --ar 3:2 --no text and other flags work"


class ImagineCog(commands.Cog):
    """Draws pictures from a text."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(prompt=PROMPT_DESCRIPTION)
    @shared_options(
        "model",
        "style",
        "negative",
        "size",
        "quality",
        "steps",
        "guidance",
        "sampler",
        "steer",
        "steer_strength",
        "seed",
        "count",
        "variety",
        "upscale",
        "lora",
        "private",
        "spoiler",
    )
    async def imagine(self, interaction: Interaction, prompt: Prompt, options: Options) -> None:
        """Draw a picture from a text."""
        if "://" in prompt:
            words, links = take_links(prompt)
            if links:
                check_one_picture(None, *links)
                await draw_similar(interaction, Start(link=links[0]), words, options)
                return
        parsed = parse_prompt(prompt, options.negative)
        asked = Context.of(interaction)
        builder = self.service.builder.of(asked, parsed, options)
        request = builder.build(asked, parsed, options)
        context = await confirm_variants(asked, parsed, options.count) if len(parsed.variants) > 1 else asked
        if context is None:
            return
        await self.service.accept(context, request, private=options.private, spoiler=options.spoiler)
        notes = builder.notes(parsed) if parsed.notes or parsed.plain_notes else ()
        if request.loras:
            notes += builder.lora_notes(request)
        if notes:
            await send_notes(context, notes)


async def setup(bot: "Darkroom") -> None:
    """Add the cog."""
    await bot.add_cog(ImagineCog(bot.service))
