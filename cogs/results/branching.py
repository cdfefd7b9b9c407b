"""Branching: continue finished pictures from one of their steps."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import Form, PersistentSelect, prompt_input
from cogs.core.policy.context import Context
from cogs.core.policy.origins import Origin
from cogs.core.request.prompt import clean_later_prompt
from cogs.core.storage.creations import Creation
from cogs.core.types import Interaction
from cogs.results.timelapse import animated_creation, is_private
from diffusion.images.timelapse import branch_steps
from diffusion.request import ImageRequest
from diffusion.text import N_

BRANCH: Final = "branch"  # the name of what members do here

if TYPE_CHECKING:
    from bot import Darkroom


class StepSelect(PersistentSelect, name="branch"):
    """Offers steps of a creation from which to branch."""

    creation_id: int

    def __init__(self, creation_id: int, steps: Iterable[int] = (), language: str = ENGLISH) -> None:
        select: discord.ui.Select[Any] = discord.ui.Select(placeholder=say(language, "Branch from step…"))
        for step in steps:
            select.add_option(label=say(language, "After step {step}", step=step), value=str(step))
        super().__init__(select, creation_id=creation_id)

    async def run(self, interaction: Interaction) -> None:
        """Ask for the prompt that replaces the first one from the chosen step on."""
        service = interaction.client.service
        context = Context.of(interaction)
        creation = await animated_creation(service, self.creation_id)
        await service.origin_rules.check(context, Origin(creation), is_private(interaction))
        request = await service.runner.request_of(creation)
        await interaction.response.send_modal(BranchForm(creation, request, int(self.values[0]), context.language))


class BranchForm(Form):
    """Asks for the prompt that applies from a step on."""

    is_public = True

    def __init__(self, creation: Creation, request: ImageRequest, step: int, language: str) -> None:
        super().__init__(say(language, "Branch from step {step}", step=step))
        self._creation = creation
        self._request = request
        self._step = step
        self.prompt = prompt_input(request.prompts[-1], required=True)
        self.ask(say(language, "What it should become"), self.prompt)

    async def run(self, interaction: Interaction) -> None:
        """Draw the creation again, with the new prompt from the step on."""

        async def prepare() -> ImageRequest:
            return self._request.branch_at(self._step, clean_later_prompt(self.prompt.value))

        await interaction.client.service.accept(
            Context.of(interaction), prepare, private=is_private(interaction), origin=Origin(self._creation, action=BRANCH)
        )


def step_row(creation: Creation, request: ImageRequest, language: str) -> "discord.ui.ActionRow[Any] | None":
    """Return the row that offers the steps to branch from, None without any."""
    steps = branch_steps(request)
    return discord.ui.ActionRow(StepSelect(creation.id, steps, language)) if steps else None


async def setup(bot: "Darkroom") -> None:
    """Add the steps to animations."""
    bot.service.timelapse_rows.append(step_row)
    bot.service.result_actions.other_actions[BRANCH] = (N_("Branch"), "🌱")
