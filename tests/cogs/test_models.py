"""/models: which one draws, and choosing another."""

import asyncio

import pytest
from pydantic import ValidationError

import bot
from cogs.core.config import Config, format_validation_error, model_name
from cogs.core.policy.permissions import OPERATORS_ONLY
from diffusion.errors import DarkroomError, ModelLoadError
from diffusion.loading.random_weights import build_tiny_components
from tests.support.messages import private_text, text_of
from tests.support.models import model_of


@pytest.fixture
def offering(server, monkeypatch):
    """The bot with two models to choose from, and one that cannot be loaded; bob runs it."""

    def load(name):
        if name == "someone/broken":
            raise ModelLoadError(name, "its unet/diffusion_pytorch_model.safetensors is missing.")
        model = model_of(build_tiny_components("v_prediction"))
        model.name = model_name(name)
        return model, None

    running = server.env.bot
    running.config = Config(models="embedded, someone/broken, /srv/finer.safetensors")
    monkeypatch.setattr(running, "load_model", load)
    running.owner_id = server.bob.id
    return server


async def said(server, told, words):
    await server.until(lambda: words in told.response.content)


async def test_models_lists_the_current_and_other_models(offering):
    told = private_text(await offering.alice.slash(offering.channel, "models"))
    assert told.startswith("I draw with `embedded`.\n") and told.endswith("`/settings mine`: `someone/broken`, `finer`.")


async def test_models_lets_only_operators_choose(offering):
    assert private_text(await offering.alice.slash(offering.channel, "models", model="finer")) == OPERATORS_ONLY
    assert offering.engine.model.name == "tiny"


async def test_chosen_model_draws_later_requests(offering):
    told = await offering.bob.slash(offering.channel, "models", model="finer")
    assert told.response.ephemeral
    await said(offering, told, "From now on I draw with `finer`.")
    await offering.until_finished(
        (await offering.alice.slash(offering.channel, "imagine", prompt="red apple", steps=2)).response
    )
    (creation,) = await offering.service.stores.gallery.latest(offering.alice.id, "", 5)
    assert creation.model == "finer"
    assert "I draw with `finer`." in private_text(await offering.alice.slash(offering.channel, "models"))


async def test_model_that_fails_to_load_leaves_the_old_one(offering):
    told = await offering.bob.slash(offering.channel, "models", model="someone/broken")
    await said(offering, told, "safetensors is missing. I go on drawing with `embedded`.")
    await offering.until_finished(
        (await offering.alice.slash(offering.channel, "imagine", prompt="red apple", steps=2)).response
    )
    assert "I draw with `embedded`." in private_text(await offering.alice.slash(offering.channel, "models"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("finest", "There is no such model here. Choose one of these: `embedded`, `someone/broken`, `finer`."),
        ("/srv/finer.safetensors", "There is no such model here."),
        ("embedded", "I draw with `embedded` already."),
    ],
)
async def test_models_rejects_an_invalid_choice(offering, model, words):
    assert private_text(await offering.bob.slash(offering.channel, "models", model=model)).startswith(words)


async def test_styles_follow_the_chosen_model(offering, monkeypatch):
    before = list(offering.service.builder.styles)
    told = await offering.bob.slash(offering.channel, "models", model="finer")
    await said(offering, told, "From now on I draw")
    assert list(offering.service.builder.styles) == list(offering.engine.model.defaults.styles)
    assert before and text_of(told.response)


@pytest.mark.parametrize(
    ("settings", "offered"),
    [
        ({}, ("embedded",)),
        ({"model_id": "someone/one"}, ("someone/one",)),
        ({"models": " a/b ,, /c/d "}, ("a/b", "/c/d")),
        ({"models": "a/b", "model_id": "someone/one"}, ("a/b",)),
    ],
)
def test_model_names_come_from_the_settings(monkeypatch, settings, offered):
    for name in ("MODELS", "MODEL_ID"):
        monkeypatch.delenv(name, raising=False)
    assert Config(_env_file=None, **settings).model_names == offered


TABLE = """
["embedded"]
steps = 3
presets.draft = {steps = 2, sampler = "euler"}
["/srv/other.safetensors"]
"""


def test_models_may_be_a_file_of_defaults(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text(TABLE)
    config = Config(_env_file=None, models=str(path))
    assert config.model_names == ("embedded", "/srv/other.safetensors")
    described, size = bot.describe_model(config, "embedded")
    loaded, _ = bot.load_model(config, "embedded")
    assert described.defaults == loaded.defaults and size > 10**7
    assert loaded.defaults.steps == 3 and loaded.defaults.of("draft")["sampler"] == "euler"
    assert loaded.defaults.styles  # what the table leaves out is the model's own


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("embedded = 3", r"MODELS is wrong: .*embedded is no table"),
        ("[", r"MODELS is wrong: .*cannot be read"),
        ('["embedded"]\nstep = 3', r"embedded.* in the file of MODELS: step: Unexpected keyword argument"),
        ('["embedded"]\nsteps = 0', "in the file of MODELS: At least 1 step is needed"),
    ],
)
def test_a_wrong_file_of_defaults_is_refused(tmp_path, text, words):
    path = tmp_path / "models.toml"
    path.write_text(text)
    with pytest.raises((ModelLoadError, DarkroomError), match=words):
        try:
            config = Config(_env_file=None, models=str(path))
        except ValidationError as error:
            raise DarkroomError(format_validation_error(error)) from error
        bot.describe_model(config, "embedded")


@pytest.mark.parametrize("models", ["/a/ink, /b/ink", "/a/ink.safetensors,/b/ink", "embedded, /srv/models/embedded"])
def test_two_models_of_one_name_are_refused(models):
    with pytest.raises(ValidationError) as caught:
        Config(models=models)
    told = format_validation_error(caught.value)
    assert told.startswith("The setting MODELS is wrong: members would read the name ")
    assert all(source.strip() in told for source in models.split(","))


def test_load_model_passes_the_hub_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "before")
    with pytest.raises(ModelLoadError):
        bot.load_model(Config(_env_file=None, hf_token="hf_mine"), "/nowhere")
    from huggingface_hub import get_token

    assert get_token() == "hf_mine"


async def test_broadcast_models_switch_to_the_last_choice(offering, monkeypatch):
    loading, going_on = [], asyncio.Event()
    switch = offering.engine.switch

    async def switch_slowly(load, name):
        loading.append(load.args[0])
        await going_on.wait()
        await switch(load, name)

    monkeypatch.setattr(offering.engine, "switch", switch_slowly)
    for source in ("embedded", "someone/broken", "/srv/finer.safetensors"):
        offering.service.broadcasts.handlers["model"](source)
    await offering.until(lambda: loading)
    going_on.set()
    await offering.until_idle()
    assert loading == ["embedded", "/srv/finer.safetensors"] and offering.engine.model.name == "finer"
