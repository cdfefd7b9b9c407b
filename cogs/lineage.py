"""/show and /tree: a picture again, where it came from, and whether it comes out the same once more."""

import asyncio
import re
from dataclasses import replace
from typing import Any, Final, Self

from discord import app_commands, ui
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say, translate
from cogs.core.messages import render
from cogs.core.messages.delivery import NO_MENTIONS, fit_to_limit
from cogs.core.messages.http_errors import DISCORD_ERRORS
from cogs.core.messages.lineage import Relative, tree_text
from cogs.core.messages.message import Answer
from cogs.core.messages.validation import Offering
from cogs.core.policy.locale import language_for, language_of
from cogs.core.policy.permissions import Interaction, is_here, may_see, suits
from cogs.core.request.options import CHOICES_SHOWN, clean
from cogs.core.storage.creations import Creation, State
from cogs.core.storage.database import DatabaseUnavailableError
from cogs.core.storage.images import ImageMissingError
from diffusion.errors import DarkroomError
from diffusion.text import N_

UNKNOWN: Final = N_("There is no picture of this id that you could see here. `/history` lists yours.")
LOOK_SECONDS: Final = 1.5  # for a look at the message before the answer, which must come within three
TREE_ROOM: Final = 3800  # characters of the 4000 that a layout may say
LABEL_LIMIT: Final = 100  # Discord's limit on an option of a select and on an autocomplete choice
BUTTONS: Final = {"replay": (N_("Replay"), "🔂"), "tree": (N_("Tree"), "🌳")}


class ShowButton(ui.DynamicItem[ui.Button[Any]], template=r"darkroom:(?P<action>replay|tree):(?P<creation>\d+)"):
    """A button of a picture that is shown again."""

    def __init__(self, action: str, creation: int, language: str = ENGLISH) -> None:
        label, emoji = say(language, BUTTONS[action][0]), BUTTONS[action][1]
        super().__init__(ui.Button(label=label, emoji=emoji, custom_id=f"darkroom:{action}:{creation}"))
        self.action, self.creation = action, creation

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(match["action"], int(match["creation"]))

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        cog = interaction.client.get_cog("LineageCog")
        await (cog.replay if self.action == "replay" else cog.lineage)(interaction, str(self.creation))


class ShowSelect(Offering, ui.DynamicItem[ui.Select[Any]], template="darkroom:show"):
    """Offers creations to be shown."""

    def __init__(self, creations: list[Creation], language: str = ENGLISH) -> None:
        select: ui.Select[Any] = ui.Select(custom_id="darkroom:show", placeholder=say(language, "Show one…"))
        for creation in creations[:CHOICES_SHOWN]:
            select.add_option(label=label(creation, language), value=str(creation.id), description=str(creation.id))
        super().__init__(select)

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the select anew; what was chosen stands in the interaction."""
        return cls([])

    async def callback(self, interaction: Interaction) -> None:
        """Hand the choice over."""
        await interaction.client.get_cog("LineageCog").present(interaction, self.item.values[0], private=True)


def label(creation: Creation, language: str = ENGLISH) -> str:
    """Name ``creation`` in a list to choose from."""
    prompt = clean(creation.prompt) or say(language, "Similar picture")
    when = f" · {creation.created:%Y-%m-%d %H:%M}"
    room = LABEL_LIMIT - len(when)
    return (prompt if len(prompt) <= room else f"{prompt[: room - 1]}…") + when


class LineageCog(commands.Cog):
    """Shows what was made before."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service

    @app_commands.command()
    @app_commands.describe(id="Which picture: choose one, or paste an id", private="Only you see the pictures")
    async def show(self, interaction: Interaction, id: str, private: bool = False) -> None:
        """Show a picture again."""
        await self.present(interaction, id, private)

    @app_commands.command()
    @app_commands.describe(id="Which picture: choose one, or paste an id")
    async def tree(self, interaction: Interaction, id: str) -> None:
        """See where a picture came from and what became of it."""
        await self.lineage(interaction, id)

    @show.autocomplete("id")
    @tree.autocomplete("id")
    async def ids(self, interaction: Interaction, current: str) -> list[app_commands.Choice[str]]:
        """Offer the member's own latest whose prompts hold what is typed."""
        try:
            found = await self.service.creation_store.latest(interaction.user.id, current, CHOICES_SHOWN)
        except DatabaseUnavailableError:
            return []
        language = language_of(interaction)
        return [app_commands.Choice(name=label(creation, language), value=str(creation.id)) for creation in found]

    async def present(self, interaction: Interaction, id: str, private: bool) -> None:
        """Show the picture of that ``id``: to all where it was made for all, in this server, and still stands there."""
        async with self.service.answering(interaction):
            creation = await self._found(interaction, id)
            open_here = not creation.private and is_here(interaction, creation) and suits(interaction, creation)
            public = open_here and await self._stands(creation)
            if not public and creation.owner != interaction.user.id:
                raise DarkroomError(UNKNOWN)
            ephemeral = private or not public
            await interaction.response.defer(ephemeral=ephemeral, thinking=True)
            answer = await self._answer(creation, language_for(interaction, ephemeral))
            answer = await fit_to_limit(answer, interaction.filesize_limit)
            await interaction.followup.send(**answer.send(), ephemeral=ephemeral, allowed_mentions=NO_MENTIONS)

    async def lineage(self, interaction: Interaction, id: str) -> None:
        """Show the member the family of the picture of that ``id``."""
        async with self.service.answering(interaction):
            creation = await self._found(interaction, id)
            await interaction.response.defer(ephemeral=True, thinking=True)
            family = await self.service.creation_store.family(creation)
            seen = {relative.id: relative for relative in family if may_see(interaction, relative)}
            relatives = [Relative(one.id, one.parent_id, one.request if one.id in seen else None, one.source) for one in family]
            view, language = ui.LayoutView(timeout=None), language_of(interaction)
            view.add_item(ui.TextDisplay(f"```\n{tree_text(relatives, creation.id, TREE_ROOM, language)}\n```"))
            view.add_item(ui.ActionRow(ShowSelect(sorted(seen.values(), key=lambda one: one.id), language)))
            await interaction.followup.send(view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)

    async def replay(self, interaction: Interaction, id: str) -> None:
        """Make the picture of that ``id`` again; whether it came out the same stands under it."""
        async with self.service.answering(interaction):
            creation = await self._found(interaction, id)
            if creation.source:
                self.service.rules.check_remix(interaction, creation.owner)
            private = creation.private or not is_here(interaction, creation)
            await self.service.make(
                interaction,
                lambda: self.service.runner.request_of(creation),
                private=private or None,
                parent=creation.id,
            )

    async def _found(self, interaction: Interaction, id: str) -> Creation:
        if re.fullmatch(r"[0-9]{1,18}|[1-8][0-9]{18}", id.strip()) is None:  # a number that a database holds
            raise DarkroomError(UNKNOWN)
        creation = await self.service.creation_store.get(int(id))
        if creation is None or creation.state != State.DELIVERED or not may_see(interaction, creation):
            raise DarkroomError(UNKNOWN)
        return creation

    async def _stands(self, creation: Creation) -> bool:
        """Whether the message of ``creation`` can be seen; one that was deleted is not brought back for all."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                channel = self.service.runner.delivery.client.get_partial_messageable(creation.channel_id)
                await channel.fetch_message(creation.message_id or 0)
        except DISCORD_ERRORS:
            return False
        return True

    async def _answer(self, creation: Creation, language: str) -> Answer:
        request = await self.service.runner.request_of(creation)
        row = [ShowButton(action, creation.id, language) for action in BUTTONS]
        try:
            result = await self.service.runner.result(creation, request, language)
        except ImageMissingError as error:
            view = ui.View(timeout=None)
            for button in row:
                view.add_item(button)
            gone = f"{translate(language, error)} {say(language, 'Replay makes them again.')}"
            told = render.state_text(request.prompt, gone, language)
            return Answer(f"{told}\n{render.settings_line(request, request.seeds, language)}", view=view)
        return replace(result, rows=lambda: [*result.rows(), ui.ActionRow(*row)])


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons and select known."""
    bot.add_dynamic_items(ShowButton, ShowSelect)
    await bot.add_cog(LineageCog(bot.service))
