"""What stands below pictures: buttons, and a list of everything else.

A feature registers what members can do with pictures once, when it is loaded::

    bot.service.result_actions.add(
        ResultAction("zoom", zoom_out, N_("Zoom out"), "🔭", N_("Shows more of the scene around it"), rank=60, of_picture=True)
    )

It needs nothing else: the layout makes the ten actions of the lowest ranks buttons, and puts the others into the list "More".
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.attachments import posted_files
from cogs.core.messages.components import (
    INVALID_CHOICE,
    PersistentButton,
    PersistentSelect,
    creation_of_custom_id,
    custom_ids,
    view_of,
)
from cogs.core.messages.message import LAYOUT_LIMIT, NO_MENTIONS, fit_text
from cogs.core.policy.context import Context
from cogs.core.storage.creations import Creation
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.request import ImageRequest
from diffusion.text import N_

MAX_ROWS: Final = 2  # of buttons
ROW_LENGTH: Final = 5  # Discord's limit
MAX_OPTIONS: Final = 25  # Discord's limit on a select
RARE: Final = 100  # the rank from which an action is no button
BY: Final = N_("{action}, by {member}")
OF_PICTURE: Final = N_("{action} of picture {number}, by {member}")


@dataclass(frozen=True)
class ResultTarget:
    """The target of an action: the picture ``index`` of a creation, or all.

    ``owner`` is the member who asked for it. A client cannot forge it: discord.py runs only items whose custom_id is on the
    message.
    """

    action: str
    owner: int
    creation_id: int
    index: int = 0


RunAction = Callable[[Interaction, ResultTarget], Awaitable[None]]
TimelapseRow = Callable[[Creation, ImageRequest, str], "discord.ui.ActionRow[Any] | None"]


@dataclass(frozen=True)
class ResultAction:
    """What members can do with finished pictures: its function and how it is offered.

    Actions of lower ``rank`` come first. One ``of_picture`` is about one of several pictures; with a ``letter``, each picture
    has a small button for it, such as U2. One ``of_several`` is offered where a message shows several pictures. ``is_offered``
    returns whether it suits a creation. Without a ``label`` it is never offered, but custom_ids may name it.
    """

    name: str
    run: RunAction
    label: str = ""
    emoji: str | None = None
    hint: str = ""
    rank: int = RARE
    of_picture: bool = False
    letter: str = ""
    of_several: bool = False
    style: discord.ButtonStyle = discord.ButtonStyle.secondary
    is_offered: Callable[[Creation], bool] = lambda _: True


class ResultActions:
    """The actions that features have registered, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, ResultAction] = {}
        self.other_actions: dict[str, tuple[str, str]] = {}  # label and emoji of what makes pictures elsewhere, such as Replay

    def add(self, *actions: ResultAction) -> None:
        """Register ``actions``; one of the same name takes the place of an earlier one."""
        self._by_name |= {action.name: action for action in actions}

    @property
    def names(self) -> list[str]:
        """The names of all actions."""
        return list(self._by_name)

    def __getitem__(self, name: str) -> ResultAction:
        """Return the action called ``name``; raises `DarkroomError` if there is none."""
        if name not in self._by_name:
            raise DarkroomError(INVALID_CHOICE)
        return self._by_name[name]

    def rows(self, creation: Creation, pictures: int | range, language: str = ENGLISH) -> list[discord.ui.ActionRow[Any]]:
        """Return the rows below ``pictures`` finished pictures: at most two of buttons, and a list of all other actions.

        The most usual actions that suit ``creation`` come first. Several pictures have numbered buttons, and signs in the
        places that are left. A range of ``pictures`` holds the indices of those that the message shows.
        """
        owner, creation_id = creation.owner, creation.id
        indices = range(pictures) if isinstance(pictures, int) else pictures
        count = len(indices)
        labelled = [action for action in self._by_name.values() if action.label and (count > 1 or not action.of_several)]
        left = sorted((action for action in labelled if action.is_offered(creation)), key=lambda action: action.rank)
        rows: list[list[ActionButton]] = []
        for action in [action for action in left if action.letter and count > 1]:
            looks = {index: discord.ui.Button[Any](label=f"{action.letter}{index + 1}") for index in indices}
            buttons = [ActionButton(action.name, owner, creation_id, index, look=look) for index, look in looks.items()]
            if len(rows) + ceil(count / ROW_LENGTH) <= MAX_ROWS:
                rows += [buttons[start : start + ROW_LENGTH] for start in range(0, count, ROW_LENGTH)]
                left.remove(action)
        rows += [[] for _ in range(MAX_ROWS - len(rows))]
        for action in [action for action in left if action.rank < RARE and not (action.of_picture and count > 1)]:
            row = next((row for row in rows if len(row) < ROW_LENGTH), None)
            if row is not None:
                label = say(language, action.label) if count == 1 else None
                look = discord.ui.Button[Any](label=label, emoji=action.emoji, style=action.style)
                index = indices.start if action.of_picture else 0
                row.append(ActionButton(action.name, owner, creation_id, index, look=look))
                left.remove(action)
        shown = [discord.ui.ActionRow[Any](*row) for row in rows if row]
        if left:
            shown.append(discord.ui.ActionRow(MoreSelect(owner, creation_id, indices, left[:MAX_OPTIONS], language)))
        return shown

    def authorship_text(self, creation: Creation, language: str = ENGLISH) -> str:
        """Return the line that says who made ``creation`` by which action, "" if it is not by an action."""
        name, _, number = (creation.action or "").partition(":")
        known = self._by_name.get(name)
        label, emoji = (known.label, known.emoji) if known else self.other_actions.get(name, ("", ""))
        if not label:
            return ""
        template = OF_PICTURE if number else BY
        authorship = say(language, template, action=say(language, label), number=number, member=f"<@{creation.owner}>")
        return f"-# {emoji} {authorship}"


class ActionButton(PersistentButton, name="result"):
    """A button for one action."""

    is_public = True

    action: str
    owner: int
    creation_id: int
    index: int

    def __init__(
        self, action: str, owner: int, creation_id: int, index: int = 0, *, look: "discord.ui.Button[Any] | None" = None
    ) -> None:
        button = look or discord.ui.Button(label=action)
        super().__init__(button, action=action, owner=owner, creation_id=creation_id, index=index)

    async def run(self, interaction: Interaction) -> None:
        """Run the action."""
        target = ResultTarget(self.action, self.owner, self.creation_id, self.index)
        await interaction.client.service.result_actions[self.action].run(interaction, target)


class MoreSelect(PersistentSelect, name="more"):
    """Offers the actions that are no buttons, for as many ``pictures`` of a creation, from the index ``first`` on."""

    is_public = True

    owner: int
    creation_id: int
    pictures: int
    first: int

    def __init__(
        self,
        owner: int,
        creation_id: int,
        pictures: int | range,
        actions: Iterable[ResultAction] = (),
        language: str = ENGLISH,
    ) -> None:
        indices = range(pictures) if isinstance(pictures, int) else pictures
        select: discord.ui.Select[Any] = discord.ui.Select(placeholder=say(language, "More…"))
        for action in actions:
            hint = say(language, action.hint) or None
            select.add_option(label=say(language, action.label), value=action.name, description=hint, emoji=action.emoji)
        super().__init__(select, owner=owner, creation_id=creation_id, pictures=len(indices), first=indices.start)

    async def run(self, interaction: Interaction) -> None:
        """Run the chosen action, once the member has said for which of several pictures."""
        action = interaction.client.service.result_actions[self.values[0]]
        if not action.of_picture or self.pictures == 1:
            await action.run(interaction, ResultTarget(action.name, self.owner, self.creation_id, self.first))
            return
        language = Context.of(interaction).language
        view = discord.ui.View(timeout=None)
        for index in range(self.first, self.first + self.pictures):
            look: discord.ui.Button[Any] = discord.ui.Button(label=str(index + 1))
            view.add_item(ActionButton(action.name, self.owner, self.creation_id, index, look=look))
        question = say(language, "{action}: for which picture?", action=f"**{say(language, action.label)}**")
        await interaction.response.send_message(question, view=view, ephemeral=True, allowed_mentions=NO_MENTIONS)


class PictureSelect(PersistentSelect, name="pictures"):
    """Runs the actions that messages of earlier versions offer for several pictures, as "ACTION:INDEX"."""

    is_public = True

    owner: int
    creation_id: int
    first: int

    async def run(self, interaction: Interaction) -> None:
        """Run the chosen action for the chosen picture."""
        action, _, index = self.values[0].partition(":")
        target = ResultTarget(action, self.owner, self.creation_id, int(index))
        await interaction.client.service.result_actions[action].run(interaction, target)


def cancel_view(owner: int, creation_id: int, language: str = ENGLISH) -> discord.ui.View:
    """Return the button below pictures that are not finished."""
    look: discord.ui.Button[Any] = discord.ui.Button(label=say(language, "Cancel"), emoji="✖️")
    return discord.ui.View(timeout=None).add_item(ActionButton("cancel", owner, creation_id, look=look))


def edit_again_view(owner: int, creation_id: int, language: str = ENGLISH) -> discord.ui.View:
    """Return the button below the error of a rejected edit."""
    look: discord.ui.Button[Any] = discord.ui.Button(label=say(language, "Edit again"), emoji="✏️")
    return view_of(ActionButton("edit_again", owner, creation_id, look=look))


def shows_result_of(message: discord.Message, creation: Creation) -> bool:
    """Return whether ``message`` shows the finished pictures of ``creation``.

    Such a message has files, and something to do with them besides cancelling the creation.
    """
    cancel = ActionButton.custom_id_of(action="cancel", owner=creation.owner, creation_id=creation.id, index=0)
    others = [custom_id for custom_id in custom_ids(message) if custom_id != cancel]
    return bool(posted_files(message)) and creation.id in map(creation_of_custom_id, others)


def text_view(text: str) -> discord.ui.LayoutView:
    """Return a layout of ``text``, cut to twice the length of a plain message."""
    view = discord.ui.LayoutView(timeout=None)
    view.add_item(discord.ui.TextDisplay(fit_text(text, LAYOUT_LIMIT)))
    return view
