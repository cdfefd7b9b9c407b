"""What the buttons under pictures do: most make a changed copy of the request and hand it to the studio."""

import asyncio
import contextlib
from typing import Any, Final

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.generation.source import ResultSource
from cogs.core.messages import render
from cogs.core.messages.confirm import ask_first
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.messages.replies import REMEDY
from cogs.core.messages.views import ActionButton, EditForm, PictureSelect, edit_again_view, text_view
from cogs.core.policy.locale import language_of
from cogs.core.request.edit_form import Edit
from cogs.emoji.draft import begin_draft
from cogs.results.variations import SIMILARITIES, alike, check_upscale, upscaled, with_fresh_seed
from diffusion.errors import DarkroomError
from diffusion.request import ImageRequest

Interaction = discord.Interaction[Any]
STARTING: Final = (*SIMILARITIES, "upscale")  # from a picture that somebody may keep to themselves
CHANGING: Final = ("reroll", "edit")  # what was asked for, which may have started from one
PATIENCE: Final = 2.0  # seconds: Discord waits three for the first answer
DRAFTS: Final = 200  # refused edits that are kept, so that nobody has to type twice


class ResultButtonsCog(commands.Cog):
    """Answers the buttons of `cogs.core.messages.views`."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._drafts: dict[tuple[int, int], Edit] = {}  # by member and creation

    async def press(self, interaction: Interaction, action: str, owner: int, creation_id: int, index: int) -> None:
        """Do ``action`` with the picture ``index`` of a creation of the member ``owner``, or with all of its message.

        These come from a custom_id and can be believed: discord.py hands over only those that stand on the message.
        """
        actions = {"reroll": self.reroll, "upscale": self.upscale, "edit": self.edit, "info": self.info}
        async with self.service.answering(interaction):
            if action == "cancel":
                await self.service.cancel(interaction, creation_id)
                await interaction.response.defer()
            elif action == "film":
                await interaction.client.get_cog("TimelapseCog").show(interaction, creation_id)
            elif action == "delete":
                await self.delete(interaction, owner)
            elif action in ("emoji", "sticker"):
                await begin_draft(interaction, creation_id, index, action)
            elif interaction.message is None:
                raise DarkroomError("The message of this button is gone.")
            else:
                found = await ResultSource.of(self.service.runner, interaction.message, creation_id)
                if action in STARTING or (action in CHANGING and found.starts_from_a_picture):
                    self.service.rules.check_remix(interaction, owner)
                if action in SIMILARITIES:
                    await self.more(interaction, found, index, SIMILARITIES[action])
                else:
                    await actions[action](interaction, found, index)

    async def delete(self, interaction: Interaction, owner: int) -> None:
        """Delete the message, for the member who asked for it and for who may delete messages in its channel."""
        if interaction.user.id != owner and not (interaction.guild_id and interaction.permissions.manage_messages):
            raise DarkroomError("Only the member who asked for these pictures or a moderator can delete them.")
        await interaction.response.defer()
        with contextlib.suppress(discord.NotFound):  # somebody was faster
            await interaction.delete_original_response()

    async def reroll(self, interaction: Interaction, found: ResultSource, _: int) -> None:
        """Make the same again with other seeds."""

        async def again() -> ImageRequest:
            return with_fresh_seed(await found.request())

        await self.service.make(interaction, again, private=found.private, parent=found.id)

    async def more(self, interaction: Interaction, found: ResultSource, index: int, similarity: float) -> None:
        """Make pictures that start from the one of that ``index``."""

        async def similar() -> ImageRequest:
            return alike(await found.request(), await found.picture(index), index, similarity)

        await self.service.make(interaction, similar, private=found.private, parent=found.id)

    async def upscale(self, interaction: Interaction, found: ResultSource, index: int) -> None:
        """Draw the picture of that ``index`` over at twice the size."""
        start = self.service.engine.model.defaults.upscale_start
        limits = self.service.rules.limits(interaction)

        async def larger() -> ImageRequest:
            request = await found.request()
            check_upscale(request, limits)
            return upscaled(request, await found.picture(index), index, start)

        await self.service.make(interaction, larger, private=found.private, parent=found.id)

    async def edit(self, interaction: Interaction, found: ResultSource, _: int) -> None:
        """Ask for other settings; the seed stays where it is not changed, so that the change shows what the words do."""
        most_steps = self.service.rules.limits(interaction).steps
        before = await self._request(found)
        key = interaction.user.id, found.id or found.message.id
        language = language_of(interaction)

        async def submitted(answer: Interaction, edit: Edit) -> None:
            async def go(started: Interaction) -> None:
                async def edited() -> ImageRequest:
                    settings = edit.settings(most_steps)
                    return self.service.builder.edited(started, await found.request(), edit.prompt, **settings)

                started.extras[REMEDY] = remedy
                if await self.service.make(started, edited, private=found.private, parent=found.id):
                    self._drafts.pop(key, None)

            remedy = edit_again_view(answer.user.id, found.id, language) if found.id else None
            answer.extras[REMEDY] = remedy
            self._keep_draft(key, edit)
            async with self.service.answering(answer):
                await ask_first(self.service, answer, edit.prompt, before.count_each, go)

        filled = self._drafts.get(key) or Edit.of(before)
        await interaction.response.send_modal(EditForm(filled, most_steps, submitted, language))

    def _keep_draft(self, key: tuple[int, int], edit: Edit) -> None:
        self._drafts[key] = edit
        if len(self._drafts) > DRAFTS:
            del self._drafts[next(iter(self._drafts))]

    async def info(self, interaction: Interaction, found: ResultSource, _: int) -> None:
        """Tell the member alone how these pictures were made."""
        text = render.info_text(await self._request(found), found.creation, language_of(interaction))
        await interaction.response.send_message(view=text_view(text), ephemeral=True, allowed_mentions=NO_MENTIONS)

    async def _request(self, found: ResultSource) -> ImageRequest:
        """Look up what was asked for, in time for a first answer."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await found.request()
        except TimeoutError:
            raise DarkroomError("I could not look up how these pictures were made. Please try again.") from None


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(ActionButton, PictureSelect)
    await bot.add_cog(ResultButtonsCog(bot.service))
