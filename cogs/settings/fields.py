"""The fields of the settings panel: labels, pages, controls and values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import discord

from cogs.core.i18n.catalogues import say
from cogs.core.request.options import MAX_CHOICES, MAX_COUNT, QUALITY_NAMES
from cogs.core.request.preferences import LANGUAGE_NAMES, Scope
from cogs.core.request.prompt import STYLE_LIMIT
from diffusion.request import SAMPLER_NAMES
from diffusion.text import N_

YES_NO: Final = {"yes": N_("Yes"), "no": N_("No")}
COUNT_NAMES: Final = {str(count): str(count) for count in range(1, MAX_COUNT + 1)}
NOT_SET: Final = N_("Not set here")
UNSET: Final = "open"  # the choice that leaves a field to the next wider scope
MAX_MENTIONS: Final = 25  # Discord's limit on a select
MAX_SHOWN_MENTIONS: Final = 10  # more would not fit into a message
SCOPE_TITLES: Final = {
    Scope.MEMBER: N_("Your settings"),
    Scope.CHANNEL: N_("Settings of this channel"),
    Scope.SERVER: N_("Settings of this server"),
}


@dataclass(frozen=True)
class SettingField:
    """How a setting is shown and entered.

    It is one of ``choices``, or ``mentions`` of channels or roles, or text.
    """

    label: str
    hint: str
    choices: Mapping[str, str] | None = None
    mentions: str | None = None
    unset_text: str = "none"


SETTING_FIELDS: Final = {
    "model": SettingField(N_("Model"), N_("The model that draws"), {}),
    "size": SettingField(N_("Size"), N_("Width x height in pixels, such as 512x768")),
    "quality": SettingField(N_("Quality"), N_("How much time to spend, unless steps and sampler are set"), QUALITY_NAMES),
    "count": SettingField(N_("Pictures at once"), N_("How many a prompt makes, unless it says so"), COUNT_NAMES),
    "variety": SettingField(N_("Variety"), N_("0 to 100: how much pictures of one prompt differ")),
    "steps": SettingField(N_("Steps"), N_("1 to 150: more is finer and slower")),
    "guidance": SettingField(N_("Guidance"), N_("0 to 30: how closely to follow the prompt")),
    "sampler": SettingField(N_("Sampler"), N_("The sampling method"), SAMPLER_NAMES),
    "style": SettingField(N_("Style"), N_("Added to every prompt that names no style")),
    "private": SettingField(N_("Private"), N_("Only the member who asks sees the pictures"), YES_NO),
    "spoiler": SettingField(N_("Spoiler"), N_("Hide pictures until they are clicked"), YES_NO),
    "language": SettingField(N_("Language"), N_("The language of the bot's answers"), LANGUAGE_NAMES),
    "max_size": SettingField(
        N_("Largest size"), N_("The side of the largest square in pixels; other shapes may have as many pixels")
    ),
    "max_steps": SettingField(N_("Most steps"), N_("The most steps that a request may have")),
    "max_count": SettingField(N_("Most pictures at once"), N_("The most pictures of one prompt that a request may have")),
    "allowance": SettingField(
        N_("Pictures a day"), N_("The most for each member; for roles: /setup allowance"), unset_text=N_("any number")
    ),
    "channels": SettingField(
        N_("Channels"), N_("Where members may make pictures; none: everywhere"), mentions="<#{}>", unset_text=N_("all")
    ),
    "roles": SettingField(N_("Roles"), N_("Who may make pictures; none: everyone"), mentions="<@&{}>", unset_text=N_("all")),
}
PREFERENCE_PAGES: Final = {
    "quality": ("model", "quality", "count", "variety"),  # a form has room for five fields
    "pictures": ("size", "steps", "guidance", "sampler", "style"),
    "answers": ("private", "spoiler", "language"),
}
PAGES: Final = {
    Scope.MEMBER: PREFERENCE_PAGES,
    Scope.CHANNEL: {**PREFERENCE_PAGES, "limits": ("max_size", "max_steps", "max_count")},
    Scope.SERVER: {
        **PREFERENCE_PAGES,
        "limits": ("max_size", "max_steps", "max_count", "allowance"),
        "access": ("channels", "roles"),
    },
}
PAGE_TITLES: Final = {
    "quality": N_("Model and quality"),
    "pictures": N_("Size and style"),
    "answers": N_("Privacy and language"),
    "limits": N_("Limits"),
    "access": N_("Who and where"),
}


def value_text(name: str, value: Any, language: str) -> str:
    """Return the value of a field as members read it."""
    field = SETTING_FIELDS[name]
    if value is None or value == ():
        return say(language, field.unset_text)
    if field.mentions:
        return " ".join(shorten([field.mentions.format(id) for id in value], language))
    if field.choices is not None:
        return _choice_label(field, _choice_of(field, value), language)
    return discord.utils.escape_markdown(_number_text(value))


def shorten(texts: list[str], language: str) -> list[str]:
    """Return the first of ``texts`` and how many more there are."""
    more = len(texts) - MAX_SHOWN_MENTIONS
    if more <= 0:
        return texts
    return [*texts[:MAX_SHOWN_MENTIONS], say(language, "… and {count} more", count=more)]


def control_of(name: str, value: Any, language: str, offered: Mapping[str, Iterable[str]]) -> Any:
    """Return the control in which a form asks for a field, filled in with ``value``.

    Of the fields in ``offered``, it offers these choices, and the one that is chosen.
    """
    field = SETTING_FIELDS[name]
    if field.mentions:
        select: Any = discord.ui.ChannelSelect if name == "channels" else discord.ui.RoleSelect
        defaults = _default_mentions(name, value or ())
        return select(custom_id=name, required=False, min_values=0, max_values=MAX_MENTIONS, default_values=defaults)
    if field.choices is not None:
        chosen = UNSET if value is None else _choice_of(field, value)
        labels = {UNSET: say(language, NOT_SET)}
        known = list(offered.get(name, field.choices))
        keys = [key for key in field.choices or dict.fromkeys([*known, chosen]) if key in known or key == chosen]
        labels |= {key: _choice_label(field, key, language) for key in keys[: MAX_CHOICES - 1] if key != UNSET}
        options = [discord.SelectOption(label=label, value=key, default=key == chosen) for key, label in labels.items()]
        return discord.ui.Select(custom_id=name, options=options, required=False)
    return discord.ui.TextInput(
        custom_id=name,
        required=False,
        default=None if value is None else _number_text(value),
        max_length=STYLE_LIMIT,
        placeholder=say(language, NOT_SET),
    )


def entered_value(name: str, control: Any) -> Any:
    """Return what a member entered into a control, None for nothing."""
    field = SETTING_FIELDS[name]
    if field.mentions:
        return tuple(mention.id for mention in control.values) or None
    if field.choices is not None:
        chosen = control.values[0] if control.values else UNSET
        if chosen == UNSET:
            return None
        return chosen == "yes" if field.choices is YES_NO else chosen
    return control.value.strip() or None


def _choice_label(field: SettingField, key: str, language: str) -> str:
    """Return the label of a choice.

    Languages, samplers and models have the same names in every language.
    """
    if field.choices is YES_NO:
        return say(language, YES_NO[key])
    if field.choices is QUALITY_NAMES:
        return say(language, QUALITY_NAMES[key])
    return (field.choices or {}).get(key, key)


def _choice_of(field: SettingField, value: Any) -> str:
    if field.choices is YES_NO:
        return "yes" if value else "no"
    return str(value)


def _number_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default_mentions(name: str, ids: Iterable[int]) -> list[discord.SelectDefaultValue]:
    kind = discord.SelectDefaultValueType.channel if name == "channels" else discord.SelectDefaultValueType.role
    return [discord.SelectDefaultValue(id=id, type=kind) for id in ids]
