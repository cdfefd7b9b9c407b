"""The select under a film and the form that it opens. They hold no logic: the cog `TimelapseCog` has it."""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Self

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.validation import Bounded, Offering
from cogs.core.messages.views import FORM_SECONDS
from cogs.core.request.options import PROMPT_LIMIT

CUSTOM_ID: Final = r"darkroom:branch:(?P<creation>[0-9]+)"


class StepSelect(Offering, discord.ui.DynamicItem[discord.ui.Select[Any]], template=CUSTOM_ID):
    """Hands over from which step of a creation a member wants to branch."""

    def __init__(self, creation_id: int, steps: Iterable[int] = (), language: str = ENGLISH) -> None:
        select: discord.ui.Select[Any] = discord.ui.Select(
            custom_id=f"darkroom:branch:{creation_id}", placeholder=say(language, "Branch from step…")
        )
        for step in steps:
            select.add_option(label=say(language, "After step {step}", step=step), value=str(step))
        super().__init__(select)
        self.creation_id = creation_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        """Make the select anew; what was chosen stands in the interaction."""
        return cls(int(match["creation"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Hand the choice over."""
        await interaction.client.get_cog("TimelapseCog").branch(interaction, self.creation_id, int(self.item.values[0]))


class BranchForm(Bounded, discord.ui.Modal):
    """Asks for the prompt that counts from ``step`` on; what becomes of it is up to ``on_prompt``."""

    def __init__(
        self,
        step: int,
        prompt: str,
        on_prompt: Callable[[discord.Interaction[Any], str], Awaitable[None]],
        language: str = ENGLISH,
    ) -> None:
        super().__init__(title=say(language, "Branch from step {step}", step=step), timeout=FORM_SECONDS)
        self._on_prompt = on_prompt
        self.prompt: discord.ui.TextInput[Any] = discord.ui.TextInput(
            label=say(language, "What it should become"),
            style=discord.TextStyle.paragraph,
            default=prompt[:PROMPT_LIMIT],
            max_length=PROMPT_LIMIT,
            custom_id="prompt",
        )
        self.add_item(self.prompt)

    async def on_submit(self, interaction: discord.Interaction[Any]) -> None:
        """Hand the prompt over."""
        await self._on_prompt(interaction, self.prompt.value)
