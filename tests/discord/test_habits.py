"""Flags, styles and permutations, from the prompt to the picture."""

import pytest

from cogs.styles import Style
from diffusion.image import read_parameters
from tests.discord.conftest import drawn, png, sentence, text_of
from tests.discord.test_settings import change


async def made(server, prompt, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, prompt=prompt, **{"steps": 2} | options)
    await server.finished(result.response, len(drawn(result.response)) or 1)
    await server.ended()
    return read_parameters(await drawn(result.response)[0].read()), result


async def test_flags_set_what_they_name_and_do_not_show_in_the_prompt(server):
    settings, result = await made(server, "red fox --ar 3:2 --seed 7 --no text, signs --cfg 2.5 --sampler ddim")
    assert settings["prompt"] == "red fox" and "--" not in text_of(result.response)
    assert (settings["seed"], settings["negative_prompt"]) == (7, "text, signs")
    assert (settings["guidance_scale"], settings["sampler"]) == (2.5, "ddim")
    assert (settings["width"], settings["height"]) == (40, 24)  # about as many pixels as 32x32
    assert not result.followups


async def test_options_win_over_flags(server):
    options = {"size": "64x32", "seed": 9, "steps": 3, "negative": "blur", "guidance": 4.0, "sampler": "lms"}
    settings, _ = await made(server, "fox --ar 1:1 --seed 7 --steps 5 --no text --cfg 2 --sampler ddim", **options)
    expected = {"width": 64, "height": 32, "steps": 3, "seed": 9, "negative_prompt": "blur"}
    assert settings == {"prompt": "fox", "guidance_scale": 4.0, "sampler": "lms"} | expected


async def test_flags_that_mean_nothing_here_are_noted_to_the_member_alone_and_the_picture_is_made(server):
    settings, result = await made(server, "fox --v 6 --s 250")
    assert settings["prompt"] == "fox"
    (note,) = result.followups
    assert note.ephemeral and "`--v 6`, `--s 250`" in note.content and "--ar 3:2" in note.content


async def test_flags_work_for_similar_pictures_too(server):
    settings, _ = await made(server, "fox --seed 7 --chaos 5", "similar", image=("in.png", png()), steps=4)
    assert (settings["prompt"], settings["seed"]) == ("fox", 7)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("fox --ar wide", "width:height"),
        ("fox --seed -1", "whole number from 0"),
        ("fox --cfg nan", "number from 0 to 50"),
        ("fox --steps 200", "at most 150"),
        ("fox --repeat 9", "at most 4"),
        ("--ar 3:2", "empty"),
    ],
)
async def test_flags_out_of_range_are_told_in_a_sentence(server, prompt, words):
    assert words in sentence(await server.alice.slash(server.channel, "imagine", prompt=prompt))


async def test_the_operators_styles_are_offered_and_make_of_a_prompt_what_they_say(server):
    styles = {"Oil": Style("{prompt} in oil", "photo", 5, 3.5), "Ink": Style("ink of {prompt}")}
    server.studio.composer.styles = styles
    offered = await server.alice.autocomplete(server.channel, "imagine", "style", "")
    assert [choice["value"] for choice in offered] == ["Oil", "Ink"]
    result = await server.alice.slash(server.channel, "imagine", prompt="fox", style="oil", negative="text")
    await server.finished(result.response)
    settings = read_parameters(await drawn(result.response)[0].read())
    assert (settings["prompt"], settings["negative_prompt"]) == ("fox in oil", "text, photo")
    assert (settings["steps"], settings["guidance_scale"]) == (5, 3.5)
    settings, _ = await made(server, "fox --style ink")
    assert (settings["prompt"], settings["steps"]) == ("ink of fox", 2)


async def test_no_style_can_be_asked_for_where_one_is_preferred(server):
    await change(server.alice, server.channel, "mine", "Pictures", style="ink")
    assert (await made(server, "fox"))[0]["prompt"] == "fox, ink"
    assert (await made(server, "fox", style="none"))[0]["prompt"] == "fox"
