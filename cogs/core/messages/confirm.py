"""A prompt may stand for several: how many pictures that makes is shown before any of them is made."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

import discord
from discord.ext import commands

from cogs.core.generation.service import GenerationService
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages import render
from cogs.core.messages.delivery import NO_MENTIONS
from cogs.core.policy.locale import language_of
from cogs.core.request.flags import read_flags
from cogs.core.request.options import clean
from cogs.core.request.prompt_matrix import prompted
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

Interaction = discord.Interaction[Any]
Go = Callable[[Interaction], Awaitable[None]]
PATIENCE: Final = 840.0  # seconds: as long as the question can be taken back
ANSWERS: Final = {"start": N_("Start"), "cancel": N_("Cancel")}
NOT_STARTED: Final = N_("Not started.")
CLOSED: Final = N_("This question was answered already, or I was restarted meanwhile. Please ask for the pictures again.")


async def ask_first(service: GenerationService, interaction: Interaction, prompt: str, count: int | None, go: Go) -> None:
    """Let ``go`` make the pictures at once, or after the member's word where ``prompt`` stands for several.

    Raises `DarkroomError` for more of them than may be made.
    """
    written = read_flags(clean(prompt))
    several = prompted(written.prompt, count or written.settings.get("count", 1))
    if not several["variants"]:
        await go(interaction)
        return
    left = await service.rules.check_allowance(interaction, several["count"])
    listed = "\n".join(f"{index}. {render.title(variant, 150)}" for index, variant in enumerate(several["variants"], 1))
    language, each = language_of(interaction), several["count"] // len(several["variants"])
    if each == 1:
        lines = [
            say(language, plural("This makes {count} picture:", "This makes {count} pictures:"), count=several["count"]),
            listed,
        ]
    else:
        template = plural("This makes {count} picture, {each} of each:", "This makes {count} pictures, {each} of each:")
        lines = [say(language, template, count=several["count"], each=each), listed]
    if left is not None:
        template = plural("You have {count} picture left today.", "You have {count} pictures left today.")
        lines.append(say(language, template, count=left))
    await interaction.client.get_cog("ConfirmCog").ask(interaction, "\n".join(lines), go)


class QuestionButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]], template=r"darkroom:question:(?P<answer>start|cancel):(?P<asked>[0-9]+)"
):
    """Answers the question that the interaction ``asked`` led to."""

    def __init__(self, answer: str, asked: int, language: str = ENGLISH) -> None:
        style = discord.ButtonStyle.primary if answer == "start" else discord.ButtonStyle.secondary
        custom_id = f"darkroom:question:{answer}:{asked}"
        super().__init__(discord.ui.Button(label=say(language, ANSWERS[answer]), style=style, custom_id=custom_id))
        self.answer, self.asked = answer, asked

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(match["answer"], int(match["asked"]))

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        cog = interaction.client.get_cog("ConfirmCog")
        await (cog.start if self.answer == "start" else cog.cancel)(interaction, self.asked)


class Question(discord.ui.View):
    """The buttons under a question, until `PATIENCE` is over."""

    def __init__(self, asked: int, expire: Callable[[int], Awaitable[None]], language: str) -> None:
        super().__init__(timeout=PATIENCE)
        self._asked, self._expire = asked, expire
        for answer in ANSWERS:
            self.add_item(QuestionButton(answer, asked, language))

    async def on_timeout(self) -> None:
        """Hand over that nobody answered."""
        await self._expire(self._asked)


class ConfirmCog(commands.Cog):
    """Keeps the questions that are not answered yet. A restart forgets them and the requests, of which nothing is made."""

    def __init__(self, service: GenerationService) -> None:
        self.service = service
        self._open: dict[int, tuple[Interaction, Go]] = {}  # by the interaction that asked

    async def ask(self, interaction: Interaction, question: str, go: Go) -> None:
        """Let the member alone read ``question``; ``go`` is what Start does."""
        view = Question(interaction.id, self.expire, language_of(interaction))
        await interaction.response.send_message(question, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)
        self._open[interaction.id] = interaction, go

    async def start(self, interaction: Interaction, asked_id: int) -> None:
        """Make the pictures and take the question away."""
        async with self.service.answering(interaction):
            asked, go = self._taken(asked_id)
            try:
                await go(interaction)
            finally:
                with contextlib.suppress(discord.HTTPException):
                    await asked.delete_original_response()

    async def cancel(self, interaction: Interaction, asked_id: int) -> None:
        """Make none."""
        async with self.service.answering(interaction):
            self._taken(asked_id)
            await interaction.response.edit_message(content=say(language_of(interaction), NOT_STARTED), view=None)

    async def expire(self, asked_id: int) -> None:
        """Take the buttons away before the question cannot be taken back any more."""
        if asked_id in self._open:
            asked, _ = self._open.pop(asked_id)
            with contextlib.suppress(discord.HTTPException):
                await asked.edit_original_response(content=say(language_of(asked), NOT_STARTED), view=None)

    def _taken(self, asked_id: int) -> tuple[Interaction, Go]:
        """Give what was asked, once; raises `DarkroomError` where it was answered or forgotten."""
        if asked_id not in self._open:
            raise DarkroomError(CLOSED)
        return self._open.pop(asked_id)


async def setup(bot: Any) -> None:
    """Add the cog and make its buttons known."""
    bot.add_dynamic_items(QuestionButton)
    await bot.add_cog(ConfirmCog(bot.service))
