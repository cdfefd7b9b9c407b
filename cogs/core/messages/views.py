"""Buttons, the select and the form under pictures. They hold no logic: each names an action and whose message it is on.

All but the form are `DynamicItem`s: what they need stands in their custom_id, so they work after a restart.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Final, Self

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.validation import Bounded, Offering
from cogs.core.request.edit_form import MAX_GUIDANCE, Edit
from cogs.core.request.options import PROMPT_LIMIT
from diffusion.request import MAX_SEED
from diffusion.text import N_

Interaction = discord.Interaction[Any]
EACH: Final = {  # what can be done with one picture
    "subtle": (N_("More like this (subtle)"), "🔁"),
    "strong": (N_("More like this (strong)"), "🔀"),
    "upscale": (N_("Upscale 2x"), "🔍"),
    "emoji": (N_("Make emoji"), "😀"),
    "sticker": (N_("Make sticker"), "🏷️"),
}
WHOLE: Final = {  # and with all of a message together
    "reroll": (N_("Reroll"), "🎲"),
    "edit": (N_("Edit"), "✏️"),
    "film": (N_("How it formed"), "🎞️"),
    "info": (N_("Info"), "ℹ️"),
    "delete": (N_("Delete"), "🗑️"),
}
OTHERS: Final = {"cancel": (N_("Cancel"), "✖️"), "more": EACH["strong"]}  # "more" stands on messages from before alone
BUTTONS: Final = EACH | WHOLE | OTHERS
PICTURES_A_SELECT: Final = 25 // len(EACH)  # Discord shows 25 options
FORM_SECONDS = 3600.0  # then a form is forgotten: nobody tells the bot of those that are closed
SUBJECT: Final = r"(?P<owner>[0-9]+):(?P<creation>[0-9]+)"
CUSTOM_ID: Final = rf"darkroom:(?P<action>{'|'.join(BUTTONS)}):{SUBJECT}(:(?P<index>[0-9]+))?"


async def hand_over(interaction: Interaction, action: str, owner: int, creation: int, index: int) -> None:
    """Have the cog named Buttons do ``action`` with the picture ``index`` of a creation of the member ``owner``."""
    await interaction.client.get_cog("ResultButtonsCog").press(interaction, action, owner, creation, index)


class ActionButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=CUSTOM_ID):
    """A button for one action."""

    def __init__(
        self, action: str, owner: int, creation: int = 0, index: int = 0, language: str = ENGLISH, again: bool = False
    ) -> None:
        label = say(language, "Edit again") if again else say(language, BUTTONS[action][0])
        style = discord.ButtonStyle.danger if action == "delete" else discord.ButtonStyle.secondary
        custom_id = f"darkroom:{action}:{owner}:{creation}" + (f":{index}" if action in EACH else "")
        super().__init__(discord.ui.Button(label=label, emoji=BUTTONS[action][1], style=style, custom_id=custom_id))
        self.action, self.owner, self.creation, self.index = action, owner, creation, index

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(match["action"], int(match["owner"]), int(match["creation"]), int(match["index"] or 0))

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        await hand_over(interaction, self.action, self.owner, self.creation, self.index)


class PictureSelect(
    Offering, discord.ui.DynamicItem[discord.ui.Select[Any]], template=rf"darkroom:each:{SUBJECT}:(?P<first>[0-9]+)"
):
    """Offers every action for each of some ``pictures``, which are numbered from 0."""

    def __init__(self, owner: int, creation: int, pictures: range, language: str = ENGLISH) -> None:
        first, last = pictures.start + 1, pictures.stop
        select: discord.ui.Select[Any] = discord.ui.Select(
            custom_id=f"darkroom:each:{owner}:{creation}:{pictures.start}",
            placeholder=say(language, "Choose a picture and what to do with it: {first} to {last}", first=first, last=last),
        )
        for index in pictures:
            for action in EACH:
                name = say(language, "Picture {number}: {action}", number=index + 1, action=say(language, EACH[action][0]))
                select.add_option(label=name, value=f"{action}:{index}", emoji=EACH[action][1])
        super().__init__(select)
        self.owner, self.creation = owner, creation

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the select anew; what was chosen stands in the interaction."""
        first = int(match["first"])
        return cls(int(match["owner"]), int(match["creation"]), range(first, first))

    async def callback(self, interaction: Interaction) -> None:
        """Hand the choice over."""
        action, _, index = self.item.values[0].partition(":")
        await hand_over(interaction, action, self.owner, self.creation, int(index))


class EditForm(Bounded, discord.ui.Modal):
    """Asks for other settings; what becomes of them is up to ``on_edit``."""

    def __init__(
        self, filled: Edit, most_steps: int, on_edit: Callable[[Interaction, Edit], Awaitable[None]], language: str = ENGLISH
    ) -> None:
        super().__init__(title=say(language, "Edit"), timeout=FORM_SECONDS)
        self._on_edit = on_edit
        for name, label, longest in (
            ("prompt", say(language, "Prompt"), PROMPT_LIMIT),
            ("negative", say(language, "What it should not show"), PROMPT_LIMIT),
            ("steps", say(language, "Steps, from 1 to {most}", most=most_steps), 10),
            ("guidance", say(language, "Guidance, from 0 to {most}", most=MAX_GUIDANCE), 10),
            ("seed", say(language, "Seed; another one where this is left empty"), len(str(MAX_SEED)) + 2),
        ):
            style = discord.TextStyle.paragraph if longest == PROMPT_LIMIT else discord.TextStyle.short
            text: discord.ui.TextInput[Any] = discord.ui.TextInput(
                label=label,
                style=style,
                default=asdict(filled)[name][:longest],
                required=False,
                max_length=longest,
                custom_id=name,
            )
            self.add_item(text)

    async def on_submit(self, interaction: Interaction) -> None:
        """Hand over what was typed."""
        typed = {item.custom_id: item.value for item in self.children if isinstance(item, discord.ui.TextInput)}
        await self._on_edit(interaction, Edit(**typed))


def result_rows(
    owner: int, creation: int, pictures: int, film: bool, language: str = ENGLISH
) -> list[discord.ui.ActionRow[Any]]:
    """Give what stands under the finished ``pictures`` of a creation of the member ``owner``: at most two selects.

    Not all have a ``film`` of how they formed.
    """
    row: Any = discord.ui.ActionRow
    whole = row(*(ActionButton(action, owner, creation, language=language) for action in WHOLE if film or action != "film"))
    if pictures == 1:
        return [row(*(ActionButton(action, owner, creation, language=language) for action in EACH)), whole]
    firsts = range(0, pictures, PICTURES_A_SELECT)
    parts = [range(first, min(first + PICTURES_A_SELECT, pictures)) for first in firsts]
    return [*(row(PictureSelect(owner, creation, part, language)) for part in parts), whole]


def cancel_view(owner: int, creation: int, language: str = ENGLISH) -> discord.ui.View:
    """Give the button under a creation under way."""
    view = discord.ui.View(timeout=None)
    view.add_item(ActionButton("cancel", owner, creation, language=language))
    return view


def edit_again_view(owner: int, creation: int, language: str = ENGLISH) -> discord.ui.View:
    """Give the button under the reason why an edit was not taken."""
    view = discord.ui.View(timeout=None)
    view.add_item(ActionButton("edit", owner, creation, language=language, again=True))
    return view


def text_view(text: str) -> discord.ui.LayoutView:
    """Give a message of ``text`` alone, which may be twice as long as one that is no layout."""
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(text))
    return view
