"""Buttons and the modal. They hold no logic: each names an action of the `Buttons` cog and whose message it is on.

All are `DynamicItem`s: what they need stands in their custom_id, so they work after a restart.
"""

import re
from typing import Any, Self

import discord

from cogs.options import PROMPT_LIMIT

RESULT_BUTTONS = {
    "reroll": ("Reroll", "🎲", discord.ButtonStyle.secondary),
    "more": ("More like this", "🔁", discord.ButtonStyle.secondary),
    "edit": ("Edit prompt", "✏️", discord.ButtonStyle.secondary),
    "delete": ("Delete", "🗑️", discord.ButtonStyle.danger),
}
CANCEL = ("Cancel", "✖️", discord.ButtonStyle.secondary)
FORM_SECONDS = 3600.0  # then a form is forgotten: nobody tells the bot of those that are closed
CUSTOM_ID = rf"darkroom:(?P<action>{'|'.join([*RESULT_BUTTONS, 'cancel'])}):(?P<owner>[0-9]+):(?P<subject>[0-9]+)"


class ActionButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=CUSTOM_ID):
    """A button that hands the press to the cog named Buttons."""

    def __init__(self, action: str, owner: int, subject: int = 0) -> None:
        label, emoji, style = CANCEL if action == "cancel" else RESULT_BUTTONS[action]
        custom_id = f"darkroom:{action}:{owner}:{subject}"
        super().__init__(discord.ui.Button(label=label, emoji=emoji, style=style, custom_id=custom_id))
        self.action, self.owner, self.subject = action, owner, subject

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        """Make the button anew from its custom_id."""
        return cls(match["action"], int(match["owner"]), int(match["subject"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("Buttons").press(interaction, self.action, self.owner, self.subject)


class EditPrompt(discord.ui.Modal, title="Edit prompt"):
    """Asks for another prompt; what becomes of it is up to ``on_prompt``."""

    prompt: discord.ui.TextInput[Any] = discord.ui.TextInput(
        label="Prompt", style=discord.TextStyle.paragraph, max_length=PROMPT_LIMIT, custom_id="prompt"
    )

    def __init__(self, prompt: str, on_prompt: Any) -> None:
        super().__init__(timeout=FORM_SECONDS)
        self.prompt.default = prompt[:PROMPT_LIMIT]
        self._on_prompt = on_prompt

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        """Hand the new prompt over."""
        await self._on_prompt(interaction, self.prompt.value)


def result_rows(owner: int, creation_id: int) -> list[discord.ui.ActionRow[Any]]:
    """Give the buttons under the finished pictures of a creation of the member ``owner``."""
    return [discord.ui.ActionRow(*(ActionButton(action, owner, creation_id) for action in RESULT_BUTTONS))]


def cancel_view(owner: int, creation_id: int) -> discord.ui.View:
    """Give the button under a creation under way."""
    view = discord.ui.View(timeout=None)
    view.add_item(ActionButton("cancel", owner, creation_id))
    return view
