"""The panel of /settings: what it says, its buttons and the forms that they open. The logic is in the cog `Settings`."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

import discord

from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import FORM_TIMEOUT_SECONDS as FORM_SECONDS
from cogs.core.messages.validation import Bounded
from cogs.core.request.options import QUALITY_NAMES, STYLE_LIMIT
from cogs.core.request.preferences import LANGUAGES, Preferences, Scope, layered
from diffusion.request import SAMPLER_NAMES
from diffusion.text import N_

Interaction = discord.Interaction[Any]
Values = dict[str, Any]
YES_NO: Final = {"yes": N_("Yes"), "no": N_("No")}
NOT_SET: Final = N_("Not set here")
LISTED: Final = 10  # roles or channels of a kind: more would not fit into a message
OPEN: Final = "open"  # the value of a choice that leaves a matter to the next wider scope
OF: Final = {Scope.MEMBER: N_("yours"), Scope.CHANNEL: N_("of this channel"), Scope.SERVER: N_("of this server")}
TITLES: Final = {
    Scope.MEMBER: N_("Your settings"),
    Scope.CHANNEL: N_("Settings of this channel"),
    Scope.SERVER: N_("Settings of this server"),
}


@dataclass(frozen=True)
class Field:
    """How one matter is named and asked for: by one of ``choices``, as ``mentions`` of channels or roles, or as text."""

    label: str
    hint: str
    choices: dict[str, str] | None = None
    mentions: str | None = None
    nothing: str = "none"


FIELDS: Final = {
    "size": Field(N_("Size"), N_("Width x height in pixels, such as 512x768")),
    "quality": Field(N_("Quality"), N_("How much time to take, where steps and sampler are left open"), QUALITY_NAMES),
    "steps": Field(N_("Steps"), N_("1 to 150: more is finer and slower")),
    "guidance": Field(N_("Guidance"), N_("0 to 30: how closely to follow the prompt")),
    "sampler": Field(N_("Sampler"), N_("The method of developing"), SAMPLER_NAMES),
    "style": Field(N_("Style"), N_("Added to every prompt that names no style")),
    "private": Field(N_("Private"), N_("Only who asks sees the pictures"), YES_NO),
    "spoiler": Field(N_("Spoiler"), N_("Pictures are hidden until they are clicked"), YES_NO),
    "language": Field(N_("Language"), N_("In which the bot answers"), LANGUAGES),
    "max_size": Field(N_("Longest side"), N_("The most pixels that a picture may be wide or high")),
    "max_steps": Field(N_("Most steps"), N_("The most that a request may ask for")),
    "max_count": Field(N_("Most pictures at once"), N_("The most of one prompt that a request may ask for")),
    "allowance": Field(
        N_("Pictures a day"), N_("The most for a member; for roles: /settings allowance"), nothing=N_("any number")
    ),
    "channels": Field(N_("Channels"), N_("Where pictures are made; none: everywhere"), mentions="<#{}>", nothing=N_("all")),
    "roles": Field(N_("Roles"), N_("For whom pictures are made; none: for all"), mentions="<@&{}>", nothing=N_("all")),
}
TASTES: Final = {
    "quality": ("quality",),  # a form has room for five
    "pictures": ("size", "steps", "guidance", "sampler", "style"),
    "answers": ("private", "spoiler", "language"),
}
PAGES: Final = {
    Scope.MEMBER: TASTES,
    Scope.CHANNEL: {**TASTES, "limits": ("max_size", "max_steps", "max_count")},
    Scope.SERVER: {
        **TASTES,
        "limits": ("max_size", "max_steps", "max_count", "allowance"),
        "access": ("channels", "roles"),
    },
}
PAGE_TITLES: Final = {
    "quality": N_("Quality"),
    "pictures": N_("Pictures"),
    "answers": N_("Answers"),
    "limits": N_("Limits"),
    "access": N_("Access"),
}
CUSTOM_ID: Final = rf"darkroom:settings:(?P<scope>{'|'.join(Scope)}):(?P<page>{'|'.join(PAGES[Scope.SERVER])})"


def panel_text(scope: Scope, layers: dict[Scope, Preferences], defaults: Preferences, language: str = ENGLISH) -> str:
    """List what holds in ``scope`` and where it comes from: the nearest of ``layers``, or the bot's own ``defaults``."""
    holding = layered([*layers.values(), defaults])
    lines = [f"**{say(language, TITLES[scope])}**"]
    for name in (name for page in PAGES[scope].values() for name in page):
        value = getattr(holding, name)
        source = next((at for at, layer in layers.items() if value is not None and getattr(layer, name) == value), None)
        origin = say(language, OF[source]) if source else say(language, "the default")
        line = f"{say(language, FIELDS[name].label)}: **{worded(name, value, language)}**"
        lines.append(line if source is scope else f"{line} ({origin})")
    roles = layers[scope].allowances or {}
    of_roles = []
    for role, pictures in roles.items():
        label = say(language, "Pictures a day for {role}", role=f"<@&{role}>")
        of_roles.append(f"{label}: **{pictures}**")
    return "\n".join([*lines, *_first(of_roles, language)])


def worded(name: str, value: Any, language: str) -> str:
    """Word the value of a field for members."""
    field = FIELDS[name]
    if value is None or value == ():
        return say(language, FIELDS[name].nothing)
    if field.mentions:
        return " ".join(_first([field.mentions.format(id) for id in value], language))
    if field.choices:
        return _named(field, _choice(field, value), language)
    return discord.utils.escape_markdown(_number(value))


def _first(texts: list[str], language: str) -> list[str]:
    more = len(texts) - LISTED
    return texts if more <= 0 else [*texts[:LISTED], say(language, "… and {count} more", count=more)]


class PageButton(discord.ui.DynamicItem[discord.ui.Button[Any]], template=CUSTOM_ID):
    """Opens the form of one page of settings."""

    def __init__(self, scope: Scope, page: str, language: str = ENGLISH) -> None:
        label = say(language, PAGE_TITLES[page])
        super().__init__(discord.ui.Button(label=label, custom_id=f"darkroom:settings:{scope}:{page}"))
        self.scope, self.page = scope, page

    @classmethod
    async def from_custom_id(cls, interaction: Interaction, item: discord.ui.Item[Any], match: re.Match[str]) -> Self:
        """Make the button anew from its custom_id."""
        return cls(Scope(match["scope"]), match["page"])

    async def callback(self, interaction: Interaction) -> None:
        """Hand the press over."""
        await interaction.client.get_cog("SettingsCog").open_page(interaction, self.scope, self.page)


class Form(Bounded, discord.ui.Modal):
    """Asks for the values of a page, filled in with what is set; what becomes of them is up to ``on_values``."""

    def __init__(
        self,
        scope: Scope,
        page: str,
        set_now: Preferences,
        on_values: Callable[[Interaction, Values], Awaitable[None]],
        language: str = ENGLISH,
    ) -> None:
        title = f"{say(language, TITLES[scope])}: {say(language, PAGE_TITLES[page])}"
        super().__init__(title=title, timeout=FORM_SECONDS)
        self._controls = {name: _control(name, getattr(set_now, name), language) for name in PAGES[scope][page]}
        for name, control in self._controls.items():
            label, hint = say(language, FIELDS[name].label), say(language, FIELDS[name].hint)
            self.add_item(discord.ui.Label(text=label, description=hint, component=control))
        self._on_values = on_values

    async def on_submit(self, interaction: Interaction) -> None:
        """Hand over what was entered; None for what was left open."""
        await self._on_values(interaction, {name: _entered(name, control) for name, control in self._controls.items()})


def panel_view(scope: Scope, language: str = ENGLISH) -> discord.ui.View:
    """Give the buttons of the panel of ``scope``."""
    view = discord.ui.View(timeout=None)
    for page in PAGES[scope]:
        view.add_item(PageButton(scope, page, language))
    return view


def _control(name: str, value: Any, language: str) -> Any:
    field = FIELDS[name]
    if field.mentions:
        select: Any = discord.ui.ChannelSelect if name == "channels" else discord.ui.RoleSelect
        return select(custom_id=name, required=False, min_values=0, max_values=25, default_values=_objects(name, value or ()))
    if field.choices:
        chosen = OPEN if value is None else _choice(field, value)
        choices = {OPEN: say(language, NOT_SET), **{key: _named(field, key, language) for key in field.choices}}
        options = [discord.SelectOption(label=label, value=key, default=key == chosen) for key, label in choices.items()]
        return discord.ui.Select(custom_id=name, options=options, required=False)
    shown = None if value is None else _number(value)
    return discord.ui.TextInput(
        custom_id=name, required=False, default=shown, max_length=STYLE_LIMIT, placeholder=say(language, NOT_SET)
    )


def _named(field: Field, key: str, language: str) -> str:
    """Name one of the choices; languages and samplers have one name for all."""
    if field.choices is YES_NO:
        return say(language, YES_NO[key])
    return say(language, QUALITY_NAMES[key]) if field.choices is QUALITY_NAMES else (field.choices or {})[key]


def _choice(field: Field, value: Any) -> str:
    return ("yes" if value else "no") if field.choices is YES_NO else str(value)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _objects(name: str, ids: Iterable[int]) -> list[discord.SelectDefaultValue]:
    kind = discord.SelectDefaultValueType.channel if name == "channels" else discord.SelectDefaultValueType.role
    return [discord.SelectDefaultValue(id=id, type=kind) for id in ids]


def _entered(name: str, control: Any) -> Any:
    if FIELDS[name].mentions:
        return tuple(each.id for each in control.values) or None
    if FIELDS[name].choices:
        chosen = control.values[0] if control.values else OPEN
        return None if chosen == OPEN else chosen == "yes" if FIELDS[name].choices is YES_NO else chosen
    return control.value.strip() or None
