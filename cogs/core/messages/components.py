"""Base classes for everything that a member presses, chooses or fills in.

A persistent item declares the fields that its custom_id carries, and what a press does::

    class HistoryPageButton(PersistentButton, name="history"):
        direction: Literal["newer", "older"]
        creation_id: int
        search: str

        def __init__(self, direction: str, creation_id: int, search: str, language: str = ENGLISH) -> None:
            button = discord.ui.Button(label=say(language, LABELS[direction]))
            super().__init__(button, direction=direction, creation_id=creation_id, search=search)

        async def run(self, interaction: Interaction) -> None:
            page = await interaction.client.service.stores.gallery.page(interaction.user.id, self.search)
            ...

Its custom_id reads "darkroom:history:older:1234:red fox". The base class writes and parses it, so the item works after a
restart. The bot registers every subclass by itself. Errors in `run` become replies.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, Self, TypeVar, get_args, get_origin

import discord

from cogs.core.messages.interactions import begin_deadline
from cogs.core.messages.replies import reply_error
from cogs.core.request.prompt import PROMPT_LIMIT
from cogs.core.types import Interaction
from diffusion.errors import DarkroomError
from diffusion.text import N_, plural

ItemT = TypeVar("ItemT", bound="discord.ui.Item[Any]")
PREFIX: Final = "darkroom"
NOTHING: Final = r"(?!)"  # the template of base classes, which matches no custom_id
FORM_TIMEOUT_SECONDS: Final = 3600.0  # Discord does not report when a member closes a form
INVALID_CHOICE: Final = N_("This cannot be chosen here. Please choose again, or use the command once more.")
TEXT_TOO_LONG: Final = plural(
    "This text may have at most {count} character. Please shorten it.",
    "This text may have at most {count} characters. Please shorten it.",
)


class PersistentItem(discord.ui.DynamicItem[ItemT], template=NOTHING):
    """A component that works after a restart: its custom_id carries its fields.

    Fields are annotations of the subclass: int, bool, str, a `StrEnum` or a Literal of texts. Only the last one may be a str
    that contains a colon.
    """

    _fields: ClassVar[dict[str, Any]] = {}
    _name: ClassVar[str] = ""
    declared: ClassVar[dict[str, type["PersistentItem[Any]"]]] = {}
    edits_message: ClassVar[bool] = False  # its own message, after it has waited for something
    is_public: ClassVar[bool] = False  # whether its answer is for the whole channel

    def __init_subclass__(cls, *, name: str = "", template: str = NOTHING) -> None:
        if name:
            cls._name = f"{PREFIX}:{name}"
            cls._fields = inspect.get_annotations(cls, eval_str=True)
            last = next(reversed(cls._fields), None)
            groups = [f":(?P<{field}>{_pattern(kind, field == last)})" for field, kind in cls._fields.items()]
            template = f"{cls._name}{''.join(groups)}"
            cls.declared[name] = cls
        super().__init_subclass__(template=re.compile(template, re.DOTALL))

    def __init__(self, item: ItemT, **values: Any) -> None:
        dispatched: Any = item
        dispatched.custom_id = self.custom_id_of(**values)
        super().__init__(item)
        for field, value in values.items():
            setattr(self, field, value)

    @classmethod
    def custom_id_of(cls, **values: Any) -> str:
        """Return the custom_id of the item with these fields."""
        texts = [f"{values[field]:d}" if kind is bool else str(values[field]) for field, kind in cls._fields.items()]
        return ":".join((cls._name, *texts))

    # discord.py has no type for the client here; ours is always a `Darkroom`.
    @classmethod
    async def from_custom_id(  # type: ignore[override]
        cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]
    ) -> Self:
        """Restore the item that a member pressed."""
        restored = cls.__new__(cls)
        values = {field: _parse(kind, match[field]) for field, kind in cls._fields.items()}
        PersistentItem.__init__(restored, item, **values)  # type: ignore[misc]
        return restored

    async def callback(self, interaction: Interaction) -> None:  # type: ignore[override]
        """Run the item; an error becomes a reply to the member."""
        begin_deadline(interaction, edits_message=self.edits_message, is_public=self.is_public)
        try:
            self.validate(interaction)
            await self.run(interaction)
        except Exception as error:
            await reply_error(interaction, error)

    def validate(self, interaction: Interaction) -> None:
        """Raise `DarkroomError` for input that this item never offered."""

    async def run(self, interaction: Interaction) -> None:
        """Handle a press; may raise `DarkroomError`."""
        raise NotImplementedError


class PersistentButton(PersistentItem["discord.ui.Button[Any]"]):
    """A button that works after a restart."""


class PersistentSelect(PersistentItem["discord.ui.Select[Any]"]):
    """A select that works after a restart.

    Only its message holds its options.
    """

    @property
    def values(self) -> list[str]:
        """The values that the member chose."""
        return self.item.values

    def validate(self, interaction: Interaction) -> None:
        """Raise `DarkroomError` unless the message offers every chosen value.

        A client can send anything.
        """
        option_values = set(_option_values(interaction.message.components if interaction.message else (), self.custom_id))
        if not self.values or not option_values.issuperset(self.values):
            raise DarkroomError(INVALID_CHOICE)


class Form(discord.ui.Modal):
    """A form whose texts are checked on the server and whose errors become replies."""

    edits_message: ClassVar[bool] = False  # that of the button which opened it
    is_public: ClassVar[bool] = False  # whether its answer is for the whole channel

    def __init__(self, title: str) -> None:
        super().__init__(title=title, timeout=FORM_TIMEOUT_SECONDS)

    def ask(self, label: str, control: discord.ui.Item[Any], hint: str | None = None) -> None:
        """Add ``control``, such as a text input, below its ``label``."""
        self.add_item(discord.ui.Label(text=label, description=hint, component=control))

    async def interaction_check(self, interaction: Interaction, /) -> bool:  # type: ignore[override]
        """Return whether the texts are short enough; the reply to others leaves the form open."""
        begin_deadline(interaction, edits_message=self.edits_message, is_public=self.is_public)
        for field in self.walk_children():
            if isinstance(field, discord.ui.TextInput) and field.max_length and len(field.value) > field.max_length:
                await reply_error(interaction, DarkroomError(TEXT_TOO_LONG, count=field.max_length))
                return False
        return True

    async def on_submit(self, interaction: Interaction) -> None:  # type: ignore[override]
        """Run the form; an error becomes a reply to the member."""
        try:
            await self.run(interaction)
        except Exception as error:
            await reply_error(interaction, error)

    async def run(self, interaction: Interaction) -> None:
        """Handle what the member entered; may raise `DarkroomError`."""
        raise NotImplementedError


def prompt_input(text: str, *, required: bool = False) -> "discord.ui.TextInput[Any]":
    """Return the field for a prompt, filled in with what of ``text`` fits."""
    return discord.ui.TextInput(
        style=discord.TextStyle.paragraph,
        default=text[:PROMPT_LIMIT],
        required=required,
        max_length=PROMPT_LIMIT,
        custom_id="prompt",
    )


def view_of(*items: discord.ui.Item[Any]) -> discord.ui.View:
    """Return a view of persistent ``items``, which never times out."""
    view = discord.ui.View(timeout=None)
    for item in items:
        view.add_item(item)
    return view


def custom_ids(message: discord.Message) -> list[str]:
    """Return the custom_ids of the components in the rows of ``message``."""
    children = (child for row in message.components for child in getattr(row, "children", ()))
    return [child.custom_id for child in children if getattr(child, "custom_id", None)]


def creation_of_custom_id(custom_id: str) -> int | None:
    """Return the creation that a persistent item is about, None for other items."""
    for kind in PersistentItem.declared.values():
        match = kind.__discord_ui_compiled_template__.fullmatch(custom_id)
        if match and "creation_id" in match.groupdict():
            return int(match["creation_id"])
    return None


def _pattern(kind: Any, is_last: bool) -> str:
    if kind is int:
        return "[0-9]+"
    if kind is bool:
        return "[01]"
    if kind is str:
        return ".*" if is_last else "[^:]*"
    return "|".join(map(re.escape, _texts(kind)))


def _texts(kind: Any) -> Iterable[str]:
    """Return the possible values of a field that is a `StrEnum` or a Literal."""
    return get_args(kind) if get_origin(kind) is Literal else [str(member) for member in kind]


def _parse(kind: Any, text: str) -> Any:
    parsers: dict[Any, Callable[[str], Any]] = {int: int, bool: lambda digit: digit == "1"}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(text)
    return parsers.get(kind, str)(text)


def _option_values(components: Iterable[Any], custom_id: str) -> Iterator[str]:
    for component in components:
        if getattr(component, "custom_id", None) == custom_id:
            yield from (option.value for option in component.options)
        yield from _option_values(getattr(component, "children", ()), custom_id)
