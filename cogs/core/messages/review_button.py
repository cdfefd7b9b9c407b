"""The buttons under held pictures in the moderators' channel. They hold no logic: the cog `ReviewRow` has it."""

import re
from typing import Any, Final, Self

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.storage.reviews import Decision
from diffusion.text import N_

LOOKS: Final = {
    Decision.APPROVE: (N_("Approve"), discord.ButtonStyle.success),
    Decision.SPOILER: (N_("Spoiler"), discord.ButtonStyle.secondary),
    Decision.DELETE: (N_("Delete"), discord.ButtonStyle.danger),
}
CUSTOM_ID: Final = rf"darkroom:review:(?P<decision>{'|'.join(Decision)}):(?P<creation>[0-9]+)"


class ReviewButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=CUSTOM_ID):
    """Hands over what a moderator decides for a creation."""

    def __init__(self, decision: Decision, creation_id: int, language: str = ENGLISH) -> None:
        label, style = say(language, LOOKS[decision][0]), LOOKS[decision][1]
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"darkroom:review:{decision}:{creation_id}"))
        self.decision, self.creation_id = decision, creation_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        """Make the button anew from its custom_id."""
        return cls(Decision(match["decision"]), int(match["creation"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("ReviewCog").press(interaction, self.decision, self.creation_id)


def asks_about(message: discord.Message, creation_id: int) -> bool:
    """Whether ``message`` asks the moderators about that creation."""
    custom_ids = [getattr(child, "custom_id", None) for row in message.components for child in getattr(row, "children", ())]
    return f"darkroom:review:{Decision.APPROVE}:{creation_id}" in custom_ids
