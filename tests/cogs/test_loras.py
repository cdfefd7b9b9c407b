"""LoRAs as members meet them."""

import pytest

from cogs.core.request import options
from cogs.core.request.styles import Style
from diffusion.images.parameters import read_parameters
from diffusion.loading.random_weights import build_tiny_components
from tests.support.jobs import settings_of_row
from tests.support.lora_files import random_pairs, write_kohya
from tests.support.messages import pictures_of, private_message, private_text, text_of
from tests.support.models import model_of
from tests.support.server import open_server


@pytest.fixture(scope="module")
def lora_model(tmp_path_factory):
    components = build_tiny_components()
    folder = tmp_path_factory.mktemp("loras")
    unet = {"unet": components["unet"]}
    write_kohya(folder / "Ink.safetensors", random_pairs(unet, 1), metadata={"modelspec.trigger_phrase": "ink wash"})
    write_kohya(folder / "pixel art.safetensors", random_pairs(unet, 2))
    (folder / "old.ckpt").write_bytes(b"anything")
    model = model_of(components)
    model.offer_loras([folder])
    return model


@pytest.fixture
async def lora_server(lora_model):
    async with open_server(lora_model) as server:
        yield server


async def made(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **{"steps": 2, "seed": 5, **options})
    await server.until_finished(result.response)
    return result, read_parameters(await pictures_of(result.response)[0].read())


async def test_loras_come_from_option_prompt_and_style(lora_server):
    server = lora_server
    server.service.builder.custom_styles = {"sketch": Style("{prompt}, sketch <lora:Ink:0.2>")}
    _, plain = await made(server, prompt="fox")
    assert "loras" not in plain
    _, settings = await made(server, prompt="<lora:PIXEL ART:0.5> fox, <lora:ink>", lora="ink:-1.5", style="sketch")
    assert (settings["prompt"], dict(settings["loras"])) == ("fox, sketch", {"Ink": -1.5, "pixel art": 0.5})
    result, settings = await made(server, prompt="fox", style="sketch")
    assert settings["loras"] == (("Ink", 0.2),)
    assert "LoRA Ink 0.2" in await settings_of_row(server, result.response)
    (note,) = result.followups
    assert note.ephemeral and "The LoRA Ink was trained with these words: “ink wash”" in note.content


async def test_edit_shows_and_removes_loras_and_reroll_keeps_them(lora_server):
    server = lora_server
    result, _ = await made(server, prompt="an ink wash fox", lora="Ink:0.8")
    assert not result.followups
    again = await server.bob.click(result.response, label="Reroll")
    await server.until_finished(again.response)
    assert read_parameters(await pictures_of(again.response)[0].read())["loras"] == (("Ink", 0.8),)
    form = await server.alice.click(result.response, label="Edit")
    assert "an ink wash fox <lora:Ink:0.8>" in str(form.modal)
    fields = {"prompt": "an ink wash fox", "negative": "", "steps": "2", "guidance": "7.5", "seed": "5"}
    edited = await server.alice.submit_modal(form, fields)
    await server.until_finished(edited.response)
    assert "loras" not in read_parameters(await pictures_of(edited.response)[0].read())
    history = await server.alice.slash(server.channel, "history")
    assert "seed 5 · LoRA Ink 0.8" in text_of(private_message(history))
    (choice, *_) = await server.alice.autocomplete(server.channel, "tree", "id", "")
    tree = await server.alice.slash(server.channel, "tree", id=choice["value"])
    assert "LoRAs Ink:0.8 → none" in text_of(tree.response)


async def test_suggestions_complete_a_list_and_show_trigger_words(lora_server):
    async def offered(typed):
        found = await lora_server.alice.autocomplete(lora_server.channel, "imagine", "lora", typed)
        return [(choice["name"], choice["value"]) for choice in found]

    assert await offered("") == [("Ink · ink wash", "Ink"), ("pixel art", "pixel art")]
    assert await offered("Ink:0.5, PIX") == [("Ink:0.5, pixel art", "Ink:0.5, pixel art")]
    assert await offered("pix:0.3") == [("pixel art:0.3", "pixel art:0.3")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prompt": "fox <lora:unknown:1>"}, "There is no LoRA `unknown` here. Choose one of `Ink`, `pixel art`."),
        ({"prompt": "fox", "lora": "old"}, "The LoRA old is a pickle"),
        ({"prompt": "fox", "lora": "Ink:much"}, "The weight 'much' of a LoRA is no number"),
        ({"prompt": "fox", "lora": "../Ink"}, "A LoRA has no folder in its name"),
        ({"prompt": "fox <lora:Ink:9>"}, "must be a number from -4 to 4"),
        ({"prompt": "fox <lora:Ink"}, "I cannot read a LoRA in the prompt"),
        ({"prompt": "{red|blue <lora:Ink>} fox"}, "Put it outside of the braces"),
    ],
    ids=range(7),
)
async def test_what_cannot_be_drawn_is_refused_in_a_sentence(lora_server, options, sentence):
    assert sentence in private_text(await lora_server.alice.slash(lora_server.channel, "imagine", **options))


async def test_a_new_file_is_found_when_a_prompt_names_it(lora_model, lora_server, monkeypatch):
    monkeypatch.setattr(options, "NEW_LORAS_SECONDS", 0.0)
    (folder,) = lora_model._loras.catalogue._sources
    write_kohya(folder / "Oak.safetensors", random_pairs({"unet": lora_model.family.unet}, 5))
    _, settings = await made(lora_server, prompt="fox <lora:oak:0.5>")
    assert settings["loras"] == (("Oak", 0.5),)
    write_kohya(folder / "elm.safetensors", random_pairs({"unet": lora_model.family.unet}, 6))
    _, settings = await made(lora_server, prompt="fox", lora="elm")
    assert settings["loras"] == (("elm", 1.0),)


async def test_a_model_without_loras_says_so(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="fox <lora:Ink:1>")
    assert "There are no LoRAs for this model here. Leave out `Ink`." in private_text(result)
