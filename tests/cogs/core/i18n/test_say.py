"""Texts are translated to the language of who reads them."""

from types import SimpleNamespace

import discord
import pytest

from cogs.core.i18n.catalogues import LANGUAGE_BY_LOCALE, SETTINGS, say, setting_name, translate
from cogs.core.policy.context import Context
from cogs.core.request.edit_form import Edit
from cogs.core.request.options import size_choices
from cogs.core.request.preferences import RANGES, Preferences, Scope
from cogs.core.storage.preferences import PreferenceStore
from cogs.results.edit import EditForm
from cogs.settings.fields import PAGE_TITLES, SETTING_FIELDS
from diffusion.config import EngineConfig
from diffusion.errors import InvalidRequestError
from diffusion.families.spec import ModelSpec
from diffusion.request import ImageRequest, Limits
from diffusion.text import plural

OTHERS = sorted(set(LANGUAGE_BY_LOCALE.values()))
FORM_TITLE, FORM_LABEL, FORM_HINT = 45, 45, 100  # characters, by Discord's rules


def refused(make):
    with pytest.raises(InvalidRequestError) as caught:
        make()
    return caught.value


@pytest.mark.parametrize("language", OTHERS)
def test_translate_names_the_setting_in_every_language(language):
    request = ImageRequest("red apple")
    errors = [
        *(refused(lambda field=field: Preferences(**{field: -1})) for field in RANGES),
        *(refused(lambda field=field: Preferences(**{field: "none"})) for field in ("sampler", "language")),
        *(refused(lambda field=field: request.replace(**{field: 99.0})) for field in ("guidance_scale", "label_scale")),
        *(refused(lambda field=field: request.replace(**{field: 0})) for field in ("width", "height")),
        refused(lambda: request.replace(seed=-1)),
        refused(lambda: request.validate_limits(Limits(steps=1))),
        refused(lambda: request.replace(count=5).validate_limits(Limits())),
        refused(lambda: request.replace(count=50, morph_to="pear").validate_limits(Limits())),
    ]
    for error in errors:
        name = error.field.replace("_", " ")
        assert name in SETTINGS and setting_name(language, name) in translate(language, error)


@pytest.mark.parametrize(
    ("language", "texts"),
    [("en", ["0 steps", "1 step", "2 steps", "5 steps"]), ("fr", ["0 étape", "1 étape", "2 étapes", "5 étapes"])],
)
def test_say_chooses_the_plural_form_of_the_language(language, texts):
    template = plural("{count} step", "{count} steps")
    assert [say(language, template, count=count) for count in (0, 1, 2, 5)] == texts


def test_say_does_not_read_gaps_in_values():
    assert say("de", "The rules of this server do not allow “{word}”.", word="{word}") == (
        "Die Regeln dieses Servers erlauben „{word}“ nicht."
    )


def test_say_falls_back_to_english():
    assert say("xx", "Something went wrong here. Please try again.") == "Something went wrong here. Please try again."
    assert say("de", "Nobody ever said this.") == "Nobody ever said this."


GERMAN = discord.Locale.german
FRENCH = discord.Locale.french


@pytest.mark.parametrize(
    ("chosen", "locale", "guild_locale", "alone", "here"),
    [
        ({}, None, None, "en", "en"),
        ({}, GERMAN, FRENCH, "de", "fr"),
        ({"member": "ja"}, GERMAN, FRENCH, "ja", "fr"),
        ({"member": "ja", "server": "es"}, GERMAN, FRENCH, "ja", "es"),
        ({"channel": "ja", "server": "es"}, GERMAN, FRENCH, "ja", "ja"),
        ({"server": "en"}, GERMAN, FRENCH, "en", "en"),
    ],
)
def test_language_comes_from_the_nearest_setting(chosen, locale, guild_locale, alone, here):
    asked = asking(chosen, locale=locale, guild_locale=guild_locale, guild_id=3)
    assert (Context.of(asked).language, Context.of(asked).channel_language) == (alone, here)


def test_language_of_a_direct_message_is_the_members():
    assert Context.of(asking({"member": "ja"}, locale=GERMAN, guild_locale=None, guild_id=None)).channel_language == "ja"
    assert Context.of(asking({}, locale=GERMAN, guild_locale=None, guild_id=None)).channel_language == "de"


def asking(chosen, **told):
    """An interaction of member 1 in channel 2, where the languages ``chosen`` by scope are set."""
    preference_store = PreferenceStore(database=None)
    preference_store._known = {(Scope(scope), id): Preferences(language=chosen.get(scope)) for id, scope in enumerate(Scope, 1)}
    engine = SimpleNamespace(config=EngineConfig())
    client = SimpleNamespace(service=SimpleNamespace(preference_store=preference_store, engine=engine))
    return SimpleNamespace(client=client, user=SimpleNamespace(id=1), channel=None, channel_id=2, extras={}, **told)


def spec_of(side, shape_grid=0):
    spec = ModelSpec()
    spec.sample_side = side
    spec.shape_grid = shape_grid
    return spec


@pytest.mark.parametrize(
    ("model", "offered"),
    [
        (spec_of(512), ["512x512", "512x768", "768x512", "512x1024", "1024x512"]),
        (spec_of(768), ["768x768", "768x1152", "1152x768"]),
        (spec_of(1024, shape_grid=64), ["1024x1024", "832x1216", "1216x832", "768x1344", "1344x768"]),
    ],
)
def test_size_choices_suit_the_model_and_the_limits(model, offered):
    assert [choice.value for choice in size_choices(model, Limits(), "")] == offered


def test_size_choices_match_words_of_the_language():
    model = spec_of(512)
    choices = size_choices(model, Limits(), "hoch", "de")
    assert [choice.name for choice in choices] == [
        "512x768 (Hochformat)",
        "512x1024 (sehr hoch)",
    ]


@pytest.mark.parametrize("language", ["en", *OTHERS])
def test_labels_fit_on_forms_and_buttons(language):
    assert all(len(say(language, title)) <= FORM_TITLE for title in PAGE_TITLES.values())
    for field in SETTING_FIELDS.values():
        assert len(say(language, field.label)) <= FORM_LABEL and len(say(language, field.hint)) <= FORM_HINT
    context = SimpleNamespace(language=language, limits=SimpleNamespace(steps=150))
    form = EditForm(None, context, None, Edit("", "", "", "", ""))
    assert len(form.title) <= FORM_TITLE
    assert all(len(item.to_component_dict()["label"]) <= FORM_LABEL for item in form.children)
