"""How pictures formed, and branches from any step of it."""

import asyncio
from typing import Any

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.delivery import NO_MENTIONS, fit_to_limit
from cogs.core.messages.message import Picture, Result
from cogs.core.messages.render import ALT_TEXT_LIMIT, headline
from cogs.core.policy.locale import language_for, language_of
from cogs.core.request.options import checked
from cogs.core.storage.creations import Creation
from cogs.core.storage.images import ImageMissingError
from cogs.results.step_select import BranchForm, StepSelect
from diffusion.errors import DarkroomError
from diffusion.images.timelapse import animate_timelapse, branch_steps
from diffusion.request import ImageRequest
from diffusion.text import N_, plural

Interaction = discord.Interaction[Any]
STEPS = plural("How it formed, in {count} step.", "How it formed, in {count} steps.")
GONE = N_("How this formed is not kept any more. Reroll makes other pictures, whose film is.")


class TimelapseCog(commands.Cog):
    """Shows how pictures formed and lets members go on from there."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._projector = asyncio.Lock()  # encoding takes a core: one film at a time

    async def show(self, interaction: Interaction, creation_id: int | None) -> None:
        """Post the film of a creation; raises `DarkroomError`."""
        creation = await self._creation(creation_id)
        private = _private(interaction)
        try:
            request = await self.service.runner.request_of(creation)
            film = await self.service.image_store.read(creation.film or "")
            pictures = [await self.service.image_store.read(name) for name in creation.pictures or ()]
        except ImageMissingError:
            raise DarkroomError(GONE) from None
        await interaction.response.defer(thinking=True, ephemeral=private)
        async with self._projector:
            data = await asyncio.to_thread(animate_timelapse, film, request, pictures)
            message = film_message(creation, request, data, language_for(interaction, private))
            answer = await fit_to_limit(message, interaction.filesize_limit)
        await interaction.followup.send(**answer.send(), allowed_mentions=NO_MENTIONS)

    async def branch(self, interaction: Interaction, creation_id: int, step: int) -> None:
        """Ask for the prompt that counts from ``step`` on, and make the creation again with it."""
        async with self.service.answering(interaction):
            creation, private = await self._creation(creation_id), _private(interaction)
            if creation.source:
                self.service.rules.check_remix(interaction, creation.owner)
            request = await self.service.runner.request_of(creation)

            async def with_prompt(submitted: Interaction, prompt: str) -> None:
                async def branched() -> ImageRequest:
                    return request.branch_at(step, checked(prompt))

                await self.service.make(submitted, branched, private=private, parent=creation.id)

            form = BranchForm(step, request.prompts[-1], with_prompt, language_of(interaction))
            await interaction.response.send_modal(form)

    async def _creation(self, creation_id: int | None) -> Creation:
        creation = await self.service.creation_store.get(creation_id) if creation_id else None
        if creation is None or creation.film is None or not creation.pictures:
            raise DarkroomError(GONE)
        return creation


def film_message(creation: Creation, request: ImageRequest, film: bytes, language: str) -> Result:
    """Give the message that shows a film and offers its steps."""
    alt = say(language, "How it formed: {prompt}", prompt=" → ".join(request.prompts))[:ALT_TEXT_LIMIT]
    steps = branch_steps(request)
    count = request.steps - request.start_step
    told = [say(language, STEPS, count=count)]
    if steps:
        told.append(say(language, "Choose one to go on from it with another prompt."))
    return Result(
        headline(request, language),
        (Picture("film.webp", film, alt),),
        settings=f"-# {' '.join(told)}",
        rows=lambda: [discord.ui.ActionRow(StepSelect(creation.id, steps, language))] if steps else [],
        spoiler=creation.spoiler,
        language=language,
    )


def _private(interaction: Interaction) -> bool:
    return interaction.message is not None and interaction.message.flags.ephemeral


async def setup(bot: Any) -> None:
    """Add the cog and make its select known."""
    bot.add_dynamic_items(StepSelect)
    await bot.add_cog(TimelapseCog(bot.service))
