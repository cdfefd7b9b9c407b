"""A prompt may stand for several: how many pictures that makes is shown before any of them is made."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import discord

from cogs import render
from cogs.audience import language_of
from cogs.delivery import QUIET
from cogs.flags import read_flags
from cogs.languages import say
from cogs.options import clean
from cogs.permutations import prompted
from cogs.studio import Studio

Interaction = discord.Interaction[Any]
Go = Callable[[Interaction], Awaitable[None]]
PATIENCE: Final = 840.0  # seconds: as long as the question can be taken back
NOT_STARTED: Final = "Not started."


async def ask_first(studio: Studio, interaction: Interaction, prompt: str, count: int | None, go: Go) -> None:
    """Let ``go`` make the pictures at once, or after the member's word where ``prompt`` stands for several.

    Raises `DarkroomError` for more of them than may be made.
    """
    written = read_flags(clean(prompt))
    several = prompted(written.prompt, count or written.settings.get("count", 1))
    if not several["variants"]:
        await go(interaction)
        return
    left = await studio.rules.check_allowance(interaction, several["count"])
    listed = "\n".join(f"{index}. {render.title(variant, 150)}" for index, variant in enumerate(several["variants"], 1))
    language, each = language_of(interaction), several["count"] // len(several["variants"])
    if each == 1:
        lines = [say(language, "This makes {count} pictures:", count=several["count"]), listed]
    else:
        lines = [say(language, "This makes {count} pictures, {each} of each:", count=several["count"], each=each), listed]
    if left is not None:
        lines.append(say(language, "You have {left} left today.", left=left))
    view = Question(go, interaction, language)
    await interaction.response.send_message("\n".join(lines), view=view, ephemeral=True, allowed_mentions=QUIET)


class Question(discord.ui.View):
    """Start or Cancel. It is forgotten with a restart, and so is the request, of which nothing is made yet."""

    def __init__(self, go: Go, asked: Interaction, language: str) -> None:
        super().__init__(timeout=PATIENCE)
        self._go, self._asked, self._language = go, asked, language
        self.start.label, self.cancel.label = say(language, "Start"), say(language, "Cancel")

    @discord.ui.button(style=discord.ButtonStyle.primary)
    async def start(self, interaction: Interaction, _: discord.ui.Button[Any]) -> None:
        """Make the pictures and take the question away."""
        self.stop()
        async with interaction.client.studio.answering(interaction):
            await self._go(interaction)
        with contextlib.suppress(discord.HTTPException):
            await self._asked.delete_original_response()

    @discord.ui.button()
    async def cancel(self, interaction: Interaction, _: discord.ui.Button[Any]) -> None:
        """Make none."""
        self.stop()
        await interaction.response.edit_message(content=say(self._language, NOT_STARTED), view=None)

    async def on_timeout(self) -> None:
        """Take the buttons away before they stop working."""
        with contextlib.suppress(discord.HTTPException):
            await self._asked.edit_original_response(content=say(self._language, NOT_STARTED), view=None)
