"""How it formed: an animation of the steps of finished pictures."""

import asyncio
from typing import TYPE_CHECKING

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import say
from cogs.core.messages.message import PictureFile, Result
from cogs.core.messages.render import ALT_TEXT_LIMIT, STEPS_FILE, headline
from cogs.core.messages.uploads import send_followup
from cogs.core.messages.views import ResultAction, ResultTarget
from cogs.core.policy.context import Context
from cogs.core.storage.creations import Creation
from cogs.core.storage.images import ImageMissingError
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.images.timelapse import animate_timelapse, step_sheet
from diffusion.request import ImageRequest
from diffusion.text import N_, plural

if TYPE_CHECKING:
    from bot import Darkroom

STEPS = plural("How it formed, in {count} step.", "How it formed, in {count} steps.")
ANIMATION_DELETED = N_("The animation of these pictures has been deleted. Use Reroll to make new ones.")


class Timelapse:
    """Posts the animations."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._encoding = asyncio.Lock()  # an animation takes a processor core: one at a time

    async def show(self, interaction: Interaction, target: ResultTarget) -> None:
        """Post the animation of a creation."""
        creation = await animated_creation(self.service, target.creation_id)
        private = is_private(interaction)
        try:
            request = await self.service.runner.request_of(creation)
            timelapse = await self.service.image_store.read(creation.timelapse or "")
            pictures = [await self.service.image_store.read(name) for name in creation.pictures or ()]
        except ImageMissingError:
            raise DarkroomError(ANIMATION_DELETED) from None
        await interaction.response.defer(thinking=True, ephemeral=private)
        async with self._encoding:
            animation = await asyncio.to_thread(animate_timelapse, timelapse, request, pictures)
            steps = await asyncio.to_thread(step_sheet, timelapse, request)
        message = self._message(creation, request, (animation, steps), Context.of(interaction).language_for(private))
        await send_followup(interaction, message, ephemeral=private)

    def _message(self, creation: Creation, request: ImageRequest, files: tuple[bytes, bytes], language: str) -> Result:
        animation, steps = files
        alt = say(language, "How it formed: {prompt}", prompt=" → ".join(request.prompts))[:ALT_TEXT_LIMIT]
        count = request.steps - request.start_step
        pictures = [PictureFile("timelapse.webp", animation, alt)]
        if steps:
            pictures.append(PictureFile(STEPS_FILE, steps, say(language, "The steps from which you can branch")))
        return Result(
            headline(request, language),
            tuple(pictures),
            footer=f"-# {say(language, STEPS, count=count)}",
            rows=lambda: [row for make in self.service.timelapse_rows if (row := make(creation, request, language))],
            spoiler=creation.spoiler,
            apart=True,
            language=language,
        )


async def animated_creation(service: GenerationService, creation_id: int) -> Creation:
    """Return the creation of that id; raises `DarkroomError` if it has no animation."""
    creation = await service.creation_store.get(creation_id)
    if creation is None or creation.timelapse is None or not creation.pictures:
        raise DarkroomError(ANIMATION_DELETED)
    return creation


def is_private(interaction: Interaction) -> bool:
    """Return whether only the member sees the message of the pressed component."""
    return interaction.message is not None and interaction.message.flags.ephemeral


async def setup(bot: "Darkroom") -> None:
    """Register the action."""
    bot.service.result_actions.add(
        ResultAction(
            "timelapse",
            Timelapse(bot.service).show,
            N_("How it formed"),
            "🎞️",
            N_("Shows all steps as an animation, and goes on from any of them"),
            rank=70,
            is_offered=lambda creation: creation.timelapse is not None,
        )
    )
