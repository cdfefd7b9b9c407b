"""The button that stars finished pictures."""

from typing import Final

from cogs.core.generation.source import UNKNOWN_RESULT
from cogs.core.i18n.catalogues import say
from cogs.core.messages.views import ResultTarget
from cogs.core.policy.context import Context
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_

STARRED: Final = N_("⭐ This is one of your favourites now. {favourites} lists them; press ⭐ again to take it off.")
TAKEN_BACK: Final = N_("This is none of your favourites any more.")


async def toggle(interaction: Interaction, target: ResultTarget) -> None:
    """Star the pictures, or take the member's star back."""
    service = interaction.client.service
    context = Context.of(interaction)
    creation = await service.creation_store.get(target.creation_id)
    if creation is None:
        raise DarkroomError(UNKNOWN_RESULT)
    is_given = await service.starboard.give(context.member_id, creation)
    if not is_given:
        await service.starboard.take_back(context.member_id, creation.id)
    listing = interaction.client.mention_command("favourites")
    text = say(context.language, STARRED if is_given else TAKEN_BACK, favourites=listing)
    await interaction.response.send_message(text, ephemeral=True)
