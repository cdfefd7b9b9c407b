"""The buttons and selects below pictures.

Features register the functions of their actions in ``service.result_actions``.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.attachments import posted_files
from cogs.core.messages.components import PersistentButton, PersistentSelect, custom_ids
from cogs.core.messages.message import LAYOUT_LIMIT, fit_text
from cogs.core.storage.creations import Creation
from cogs.core.types import Interaction
from diffusion.request import ImageRequest
from diffusion.text import N_

Action = Literal[
    "subtle",
    "strong",
    "upscale",
    "enlarge",
    "emoji",
    "sticker",
    "reroll",
    "edit",
    "timelapse",
    "info",
    "delete",
    "cancel",
    "edit_again",
]
PICTURE_ACTIONS: Final[dict[Action, tuple[str, str]]] = {  # for one picture
    "subtle": (N_("More like this (subtle)"), "🔁"),
    "strong": (N_("More like this (strong)"), "🔀"),
    "upscale": (N_("Upscale 2x"), "🔍"),  # by the model
    "enlarge": (N_("Upscale 2x / 4x"), "🔍"),  # by an upscaler, in its place
    "emoji": (N_("Make emoji"), "😀"),
    "sticker": (N_("Make sticker"), "🏷️"),
}
MESSAGE_ACTIONS: Final[dict[Action, tuple[str, str]]] = {  # for all pictures of a message together
    "reroll": (N_("Reroll"), "🎲"),
    "edit": (N_("Edit"), "✏️"),
    "timelapse": (N_("How it formed"), "🎞️"),
    "info": (N_("Info"), "ℹ️"),
    "delete": (N_("Delete"), "🗑️"),
}
OTHER_ACTIONS: Final[dict[Action, tuple[str, str]]] = {
    "cancel": (N_("Cancel"), "✖️"),
    "edit_again": (N_("Edit again"), "✏️"),
}
ACTION_LABELS: Final = PICTURE_ACTIONS | MESSAGE_ACTIONS | OTHER_ACTIONS
PICTURES_PER_SELECT: Final = 25 // (len(PICTURE_ACTIONS) - 1)  # Discord shows 25 options
WITHOUT_UPSCALER: Final[tuple[Action, ...]] = ("enlarge",)
WITH_UPSCALER: Final[tuple[Action, ...]] = ("upscale",)


@dataclass(frozen=True)
class ResultTarget:
    """The target of an action: the picture ``index`` of a creation, or all.

    ``owner`` is the member who asked for it. A client cannot forge it: discord.py runs only items whose custom_id is on the
    message.
    """

    action: Action
    owner: int
    creation_id: int
    index: int = 0


ResultAction = Callable[[Interaction, ResultTarget], Awaitable[None]]
TimelapseRow = Callable[[Creation, ImageRequest, str], "discord.ui.ActionRow[Any] | None"]


async def run_action(interaction: Interaction, target: ResultTarget) -> None:
    """Call the function that a feature registered for the action."""
    await interaction.client.service.result_actions[target.action](interaction, target)


class ActionButton(PersistentButton, name="result"):
    """A button for one action."""

    is_public = True

    action: Action
    owner: int
    creation_id: int
    index: int

    def __init__(self, action: Action, owner: int, creation_id: int, index: int = 0, language: str = ENGLISH) -> None:
        label, emoji = ACTION_LABELS[action]
        style = discord.ButtonStyle.danger if action == "delete" else discord.ButtonStyle.secondary
        button: discord.ui.Button[Any] = discord.ui.Button(label=say(language, label), emoji=emoji, style=style)
        super().__init__(button, action=action, owner=owner, creation_id=creation_id, index=index)

    async def run(self, interaction: Interaction) -> None:
        """Run the action."""
        await run_action(interaction, ResultTarget(self.action, self.owner, self.creation_id, self.index))


class PictureSelect(PersistentSelect, name="pictures"):
    """Offers every action for up to `PICTURES_PER_SELECT` pictures.

    ``first`` is the index of the first of them.
    """

    is_public = True

    owner: int
    creation_id: int
    first: int

    def __init__(
        self,
        owner: int,
        creation_id: int,
        pictures: range,
        language: str = ENGLISH,
        left_out: Collection[Action] = WITHOUT_UPSCALER,
    ) -> None:
        placeholder = say(
            language,
            "Choose a picture and what to do with it: {first} to {last}",
            first=pictures.start + 1,
            last=pictures.stop,
        )
        select: discord.ui.Select[Any] = discord.ui.Select(placeholder=placeholder)
        for index in pictures:
            for action, (label, emoji) in PICTURE_ACTIONS.items():
                if action in left_out:
                    continue
                name = say(language, "Picture {number}: {action}", number=index + 1, action=say(language, label))
                select.add_option(label=name, value=f"{action}:{index}", emoji=emoji)
        super().__init__(select, owner=owner, creation_id=creation_id, first=pictures.start)

    async def run(self, interaction: Interaction) -> None:
        """Run the chosen action for the chosen picture."""
        action, _, index = self.values[0].partition(":")
        target = ResultTarget(action, self.owner, self.creation_id, int(index))  # type: ignore[arg-type]
        await run_action(interaction, target)


def result_rows(
    owner: int,
    creation_id: int,
    pictures: int,
    language: str = ENGLISH,
    left_out: Collection[Action] = WITHOUT_UPSCALER,
) -> list[discord.ui.ActionRow[Any]]:
    """Return the rows below finished pictures.

    A single picture has a button for each action that is not ``left_out``, several pictures have selects.
    """
    actions = [action for action in MESSAGE_ACTIONS if action not in left_out]
    for_message = discord.ui.ActionRow[Any](*(ActionButton(each, owner, creation_id, language=language) for each in actions))
    if pictures == 1:
        offered = [action for action in PICTURE_ACTIONS if action not in left_out]
        for_picture = (ActionButton(each, owner, creation_id, language=language) for each in offered)
        return [discord.ui.ActionRow(*for_picture), for_message]
    parts = [range(first, min(first + PICTURES_PER_SELECT, pictures)) for first in range(0, pictures, PICTURES_PER_SELECT)]
    selects = [PictureSelect(owner, creation_id, part, language, left_out) for part in parts]
    return [*(discord.ui.ActionRow[Any](select) for select in selects), for_message]


def cancel_view(owner: int, creation_id: int, language: str = ENGLISH) -> discord.ui.View:
    """Return the button below pictures that are not finished."""
    return discord.ui.View(timeout=None).add_item(ActionButton("cancel", owner, creation_id, language=language))


def edit_again_view(owner: int, creation_id: int, language: str = ENGLISH) -> discord.ui.View:
    """Return the button below the error of a rejected edit."""
    return discord.ui.View(timeout=None).add_item(ActionButton("edit_again", owner, creation_id, language=language))


def shows_result_of(message: discord.Message, creation: Creation) -> bool:
    """Return whether ``message`` shows the finished pictures of ``creation``.

    Such a message has files, and a button to reroll the creation.
    """
    reroll = ActionButton.custom_id_of(action="reroll", owner=creation.owner, creation_id=creation.id, index=0)
    return bool(posted_files(message)) and reroll in custom_ids(message)


def text_view(text: str) -> discord.ui.LayoutView:
    """Return a layout of ``text``, cut to twice the length of a plain message."""
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(fit_text(text, LAYOUT_LIMIT)))
    return view
