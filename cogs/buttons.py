"""What the buttons under pictures do: each makes a changed copy of the request and hands it to the studio."""

from typing import Any

import discord
from discord.ext import commands

from cogs.asking import ask_first
from cogs.attachment import Posted, fetch_image, posted
from cogs.options import checked
from cogs.permutations import prompted, written
from cogs.render import PICTURE_PREFIX, SOURCE_PREFIX
from cogs.studio import Studio
from cogs.views import ActionButton, EditPrompt
from diffusion.errors import DarkroomError
from diffusion.request import ImageRequest, random_seed, start_step_for

Interaction = discord.Interaction[Any]
MORE_SIMILARITY = 0.4


class Buttons(commands.Cog):
    """Answers the buttons of `cogs.views`."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    async def press(self, interaction: Interaction, action: str, owner: int, subject: int) -> None:
        """Do what the button ``action`` on a message of member ``owner`` says.

        These come from a custom_id and can be believed: discord.py hands over only those that stand on the message.
        """
        actions = {"reroll": self.reroll, "more": self.more, "edit": self.edit}
        async with self.studio.answering(interaction):
            if action in actions:
                if action == "more" or _starts_from_a_picture(interaction):
                    self.studio.rules.check_remix(interaction, owner)
                await actions[action](interaction, subject or None)
            elif action == "cancel":
                self.studio.cancel(interaction, subject)
                await interaction.response.defer()
            elif interaction.user.id != owner:
                raise DarkroomError("Only the member who asked for these pictures can do that.")
            else:
                await interaction.response.defer()
                await interaction.delete_original_response()

    async def reroll(self, interaction: Interaction, parent: int | None) -> None:
        """Make the same again with other seeds."""
        message = _message(interaction)

        async def again() -> ImageRequest:
            return _with_fresh_seed(await self.studio.recall(message))

        await self.studio.make(interaction, again, private=message.flags.ephemeral, parent=parent)

    async def more(self, interaction: Interaction, parent: int | None) -> None:
        """Make a picture that starts from the first of these."""
        message = _message(interaction)

        async def similar() -> ImageRequest:
            request = _with_fresh_seed(await self.studio.recall(message))
            image = await fetch_image(_first_picture(message))
            return request.alike(image, start_step_for(MORE_SIMILARITY, request.steps))

        await self.studio.make(interaction, similar, private=message.flags.ephemeral, parent=parent)

    async def edit(self, interaction: Interaction, parent: int | None) -> None:
        """Ask for another prompt; the seed stays, so that the change shows what the words do."""
        message = _message(interaction)
        before = await self.studio.recall(message)

        async def with_prompt(submitted: Interaction, prompt: str) -> None:
            async def edited() -> ImageRequest:
                request = await self.studio.recall(message)
                return request.with_(**prompted(checked(prompt), request.count_each))

            async def go(started: Interaction) -> None:
                await self.studio.make(started, edited, private=message.flags.ephemeral, parent=parent)

            async with self.studio.answering(submitted):
                await ask_first(self.studio, submitted, prompt, before.count_each, go)

        await interaction.response.send_modal(EditPrompt(written(before), with_prompt))


def _message(interaction: Interaction) -> discord.Message:
    if interaction.message is None:
        raise DarkroomError("The message of this button is gone.")
    return interaction.message


def _starts_from_a_picture(interaction: Interaction) -> bool:
    return any(file.name.startswith(SOURCE_PREFIX) for file in posted(_message(interaction)))


def _first_picture(message: discord.Message) -> Posted:
    for file in posted(message):
        if file.name.startswith(PICTURE_PREFIX):
            return file
    raise DarkroomError("The pictures of this message are gone.")


def _with_fresh_seed(request: ImageRequest) -> ImageRequest:
    """Change the seed so that none of the pictures has a seed of ``request``."""
    while True:
        fresh = request.with_(seed=random_seed())
        if set(fresh.seeds).isdisjoint(request.seeds):
            return fresh


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(ActionButton)
    await bot.add_cog(Buttons(bot.studio))
