"""The buttons under the pictures that moderators review."""

from typing import Any, Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import PersistentButton, custom_ids
from cogs.core.storage.reviews import Decision
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_

DECISION_LABELS: Final = {
    Decision.APPROVE: N_("Approve"),
    Decision.SPOILER: N_("Spoiler"),
    Decision.DELETE: N_("Delete"),
}
DECISION_STYLES: Final = {
    Decision.APPROVE: discord.ButtonStyle.success,
    Decision.SPOILER: discord.ButtonStyle.secondary,
    Decision.DELETE: discord.ButtonStyle.danger,
}
MODERATORS_ONLY: Final = N_("You need the permission Manage Messages in this channel to decide that.")


class ReviewButton(PersistentButton, name="review"):
    """Records the decision of a moderator; the first decision counts."""

    decision: Decision
    creation_id: int

    def __init__(self, decision: Decision, creation_id: int, language: str = ENGLISH) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(
            label=say(language, DECISION_LABELS[decision]), style=DECISION_STYLES[decision]
        )
        super().__init__(button, decision=decision, creation_id=creation_id)

    async def run(self, interaction: Interaction) -> None:
        """Record the decision and resume the creation.

        Raises `DarkroomError` if it was decided already.
        """
        service = interaction.client.service
        if not interaction.permissions.manage_messages:
            raise DarkroomError(MODERATORS_ONLY)
        await interaction.response.defer()
        review, is_first = await service.review_store.decide(self.creation_id, self.decision, interaction.user.id)
        if review is None:
            raise DarkroomError("These pictures have been deleted, so there is nothing left to decide.")
        if not is_first:
            if review.moderator is None:
                raise DarkroomError("That has been decided already.")
            raise DarkroomError("{moderator} has decided already.", moderator=f"<@{review.moderator}>")
        await service.resume_reviewed(self.creation_id)


def asks_about(message: discord.Message, creation_id: int) -> bool:
    """Return whether ``message`` asks the moderators about that creation."""
    return ReviewButton.custom_id_of(decision=Decision.APPROVE, creation_id=creation_id) in custom_ids(message)
