"""The panel of /settings: its text, and a form for each page."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import discord

from cogs.core.generation.service import GenerationService
from cogs.core.generation.starboard import DEFAULT_THRESHOLD, STARS
from cogs.core.i18n.catalogues import ENGLISH, say
from cogs.core.messages.components import Form, PersistentButton, view_of
from cogs.core.messages.message import NO_MENTIONS
from cogs.core.policy.context import Context
from cogs.core.request.options import parse_size
from cogs.core.request.preferences import MAXIMA, Preferences, Scope, layered
from cogs.core.request.prompt import STYLE_LIMIT, clean
from cogs.core.storage.preferences import scopes_of
from cogs.core.types import Interaction
from cogs.settings.fields import (
    PAGE_TITLES,
    PAGES,
    SCOPE_TITLES,
    SETTING_FIELDS,
    control_of,
    entered_value,
    shorten,
    value_text,
)
from diffusion.errors import DarkroomError, InvalidRequestError, Problems
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
from diffusion.text import N_

NOTHING_OFFERED: Final[Mapping[str, Iterable[str]]] = {}
SERVERS_ONLY: Final = N_("Only servers have these settings. Here you can use `/settings mine`.")
MANAGERS_ONLY: Final = N_("You need the permission Manage Server to do that. For yourself there is `/settings mine`.")
ORIGINS: Final = {Scope.MEMBER: N_("yours"), Scope.CHANNEL: N_("of this channel"), Scope.SERVER: N_("of this server")}


class SettingsPageButton(PersistentButton, name="settings"):
    """Opens the form of one page of settings."""

    scope: Scope
    page: Literal["quality", "pictures", "answers", "limits", "access"]

    def __init__(self, scope: Scope, page: str, language: str = ENGLISH) -> None:
        button: discord.ui.Button[Any] = discord.ui.Button(label=say(language, PAGE_TITLES[page]))
        super().__init__(button, scope=scope, page=page)

    async def run(self, interaction: Interaction) -> None:
        """Open the form, filled in with what is set now."""
        subject = managed_subject(interaction, self.scope)
        if self.page not in PAGES[self.scope]:
            raise DarkroomError("There are no such settings here.")
        service = interaction.client.service
        preferences = service.preference_store.get(self.scope, subject)
        language = Context.of(interaction).language
        engine = service.engine
        samplers = engine.models.get(preferences.model or "", engine.model).samplers
        offered = {"sampler": samplers, "model": engine.models}
        await interaction.response.send_modal(
            SettingsPageForm(self.scope, self.page, preferences, language=language, offered=offered)
        )


class ShowAllButton(PersistentButton, name="all_settings"):
    """Lists the settings that have their defaults, too."""

    edits_message = True

    scope: Scope

    def __init__(self, scope: Scope, language: str = ENGLISH) -> None:
        super().__init__(discord.ui.Button[Any](label=say(language, "Show all")), scope=scope)

    async def run(self, interaction: Interaction) -> None:
        """Show the panel with all settings."""
        managed_subject(interaction, self.scope)
        await interaction.response.edit_message(**panel_message(interaction, self.scope, is_full=True))


class SettingsPageForm(Form):
    """Asks for the values of a page and sets them."""

    edits_message = True

    def __init__(
        self,
        scope: Scope,
        page: str,
        preferences: Preferences,
        *,
        language: str = ENGLISH,
        offered: Mapping[str, Iterable[str]] = NOTHING_OFFERED,
    ) -> None:
        super().__init__(say(language, PAGE_TITLES[page]))
        self._scope = scope
        self._controls = {name: control_of(name, getattr(preferences, name), language, offered) for name in PAGES[scope][page]}
        for name, control in self._controls.items():
            label = say(language, SETTING_FIELDS[name].label)
            hint = say(language, SETTING_FIELDS[name].hint)
            self.ask(label, control, hint)

    async def run(self, interaction: Interaction) -> None:
        """Set all values and show the panel again; set none if one of them is invalid."""
        service = interaction.client.service
        subject = managed_subject(interaction, self._scope)
        values = {name: entered_value(name, control) for name, control in self._controls.items()}
        if values.get("style"):
            values["style"] = clean(values["style"]) or None
        before = await service.preference_store.reload(self._scope, subject)
        preferences = _changed(service.engine, before, values)
        await service.preference_store.set(self._scope, subject, preferences)
        panel = panel_message(interaction, self._scope)
        try:
            await interaction.response.edit_message(**panel)
        except discord.NotFound:  # the member dismissed the panel while the form was open
            await interaction.response.send_message(**panel, ephemeral=True)


def _changed(engine: ImageEngine, before: Preferences, values: Mapping[str, Any]) -> Preferences:
    """Return ``before`` with the ``values`` of a form; raises `InvalidRequestError` for all that are invalid."""
    preferences = before.with_(**dict.fromkeys(values))
    problems = Problems()
    for name, value in values.items():
        with problems.collect():
            preferences = preferences.with_(**{name: value})
    with problems.collect():
        engine.model_of(values.get("model") or "")
    with problems.collect():
        _validate(engine, preferences)
    problems.report()
    return preferences


def _validate(engine: ImageEngine, preferences: Preferences) -> None:
    """Raise `InvalidRequestError` for preferences that no request could have, also because of the operator's limits."""
    limits = engine.config.limits
    problems = Problems()
    for name, most in zip((*MAXIMA, "count"), (limits.side, limits.steps, limits.count, limits.count), strict=True):
        value = getattr(preferences, name)
        if value is not None and value > most:
            problems.errors.append(InvalidRequestError(name, "The {field} may be at most {most} here.", most=most))
    width, height = parse_size(preferences.size)
    maxima = {"width": limits.longest_side, "height": limits.longest_side, "steps": limits.steps}
    settings = {"width": width, "height": height, "steps": preferences.steps}
    given = {name: value for name, value in settings.items() if value is not None}
    within_limits = {name: value for name, value in given.items() if value <= maxima[name]}
    model = engine.models.get(preferences.model or "", engine.model)
    least = model.grid
    plain: dict[str, Any] = {"prompt": "a picture", "width": least, "height": least, "steps": 1}
    plain["sampler"] = model.defaults.sampler
    with problems.collect():
        ImageRequest(**plain | given).validate_limits(limits)
    with problems.collect():  # without the others, so that no value is reported twice
        model.validate(ImageRequest(**plain | within_limits))
    problems.report()


def managed_subject(interaction: Interaction, scope: Scope) -> int:
    """Return the id of the member, channel or server of ``scope``.

    Raises `DarkroomError` for members who may not change its settings.
    """
    subject = scopes_of(interaction).get(scope)
    if subject is None:
        raise DarkroomError(SERVERS_ONLY)
    if scope is not Scope.MEMBER and not interaction.permissions.manage_guild:
        raise DarkroomError(MANAGERS_ONLY)
    return subject


def panel_message(interaction: Interaction, scope: Scope, *, is_full: bool = False) -> dict[str, Any]:
    """Return the options with which a message shows the panel of ``scope``: what is set, or all if it ``is_full``."""
    service = interaction.client.service
    language = Context.of(interaction).language
    subjects = list(scopes_of(interaction).items())
    own = [known for known, _ in subjects].index(scope)
    layers = {known: service.preference_store.get(known, subject) for known, subject in subjects[own:]}
    defaults = default_preferences(service, layered(layers.values()).model)
    buttons: list[PersistentButton] = [SettingsPageButton(scope, page, language) for page in PAGES[scope]]
    if not is_full:
        buttons.append(ShowAllButton(scope, language))
    return {
        "content": panel_text(scope, layers, defaults, language, is_full=is_full),
        "view": view_of(*buttons),
        "allowed_mentions": NO_MENTIONS,
    }


def panel_text(
    scope: Scope, layers: dict[Scope, Preferences], defaults: Preferences, language: str = ENGLISH, *, is_full: bool = False
) -> str:
    """List each effective setting that is set, or all if it ``is_full``, and where it comes from.

    The nearest of ``layers`` that sets it wins, or else the bot's ``defaults``.
    """
    effective = layered([*layers.values(), defaults])
    heading = f"**{say(language, SCOPE_TITLES[scope])}**"
    lines = []
    for page in PAGES[scope].values():
        for name in page:
            value = getattr(effective, name)
            source = next((at for at, layer in layers.items() if value is not None and getattr(layer, name) == value), None)
            if source is None and not is_full:
                continue
            line = f"{say(language, SETTING_FIELDS[name].label)}: **{value_text(name, value, language)}**"
            origin = say(language, ORIGINS[source]) if source else say(language, "the default")
            lines.append(line if source is scope else f"{line} ({origin})")
    allowances = []
    for role, pictures in (layers[scope].allowances or {}).items():
        label = say(language, "Pictures a day for {role}", role=f"<@&{role}>")
        allowances.append(f"{label}: **{pictures}**")
    board = layers[scope].starboard
    if board:
        label = say(language, "Starboard")
        needed = say(language, STARS, count=layers[scope].star_threshold or DEFAULT_THRESHOLD)
        lines.append(f"{label}: **<#{board}>** ({needed})")
    lines += shorten(allowances, language)
    return "\n".join([heading, *(lines or [say(language, "Nothing is set, so the defaults hold.")])])


def default_preferences(service: GenerationService, model_name: str | None = None) -> Preferences:
    """Return the values that apply where nothing is set.

    These are the defaults of the model called ``model_name``, or else of the default one, and the operator's limits.
    """
    model = service.engine.models.get(model_name or "", service.engine.model)
    standard = model.standard_settings
    limits = service.engine.config.limits
    return Preferences(
        size=f"{model.sample_side}x{model.sample_side}",
        model=service.engine.model.name[:STYLE_LIMIT] or None,
        quality="standard",
        count=min(service.builder.default_count, limits.count),
        variety=model.defaults.variety,
        steps=standard["steps"],
        guidance=standard["guidance_scale"],
        sampler=standard["sampler"],
        private=False,
        spoiler=False,
        language=ENGLISH,
        max_size=limits.side,
        max_steps=limits.steps,
        max_count=limits.count,
        allowance=service.rules.limits.daily,
    )
