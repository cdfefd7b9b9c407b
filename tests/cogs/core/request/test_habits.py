"""Flags, styles and permutations, from the prompt to the picture."""

import pytest
from PIL import ImageChops

from cogs.core.messages.confirm import CONFIRM_TIMEOUT_SECONDS
from cogs.core.policy.limits import MemberLimits
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.request.prompt import clean
from cogs.core.request.styles import Style
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from tests.support.actions import use
from tests.support.jobs import settings_of_row, slow_down
from tests.support.messages import pictures_of, png, private_message, private_text, text_of
from tests.support.pressing import press
from tests.support.settings_panel import submit_page


async def made(server, prompt, command="imagine", **options):
    options = {name: value for name, value in ({"steps": 2} | options).items() if value is not None}
    result = await server.alice.slash(server.channel, command, prompt=prompt, **options)
    await server.until_finished(result.response, len(pictures_of(result.response)) or 1)
    await server.until_idle()
    return read_parameters(await pictures_of(result.response)[0].read()), result


async def test_flags_set_options_and_leave_the_prompt(server):
    settings, result = await made(server, "red fox --ar 3:2 --seed 7 --no text, signs --cfg 2.5 --sampler ddim")
    assert settings["prompt"] == "red fox" and "--" not in text_of(result.response)
    assert (settings["seed"], settings["negative_prompt"]) == (7, "text, signs")
    assert (settings["guidance_scale"], settings["sampler"]) == (2.5, "ddim")
    assert (settings["width"], settings["height"]) == (40, 24)  # about as many pixels as 32x32
    assert not result.followups


async def test_options_override_flags(server):
    options = {"size": "64x32", "seed": 9, "steps": 3, "negative": "blur", "guidance": 4.0, "sampler": "lms"}
    settings, _ = await made(server, "fox --ar 1:1 --seed 7 --steps 5 --no text --cfg 2 --sampler ddim", **options)
    expected = {"width": 64, "height": 32, "steps": 3, "seed": 9, "negative_prompt": "blur"}
    assert settings == {"prompt": "fox", "guidance_scale": 4.0, "sampler": "lms"} | expected


async def test_quality_sets_steps_and_sampler_below_options_and_flags(server):
    settings, _ = await made(server, "fox", quality="draft", steps=None)
    assert (settings["steps"], settings["sampler"]) == (10, "unipc")
    settings, _ = await made(server, "fox --sampler ddim", quality="classic", steps=3)
    assert (settings["steps"], settings["sampler"]) == (3, "ddim")


@pytest.mark.parametrize(
    ("prompt", "options", "expected"),
    [
        ("fox", {}, 30),
        ("fox --variety 80", {}, 80),
        ("fox --chaos 5", {}, 5),
        ("fox --c 0", {}, 0),
        ("fox --variety 80", {"variety": 40}, 40),
    ],
)
async def test_variety_comes_from_option_flag_or_preference(server, prompt, options, expected):
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(variety=30))
    settings, result = await made(server, prompt, **options)
    assert settings.get("variety", 0) == expected and not result.followups
    info = text_of(private_message(await server.alice.click(result.response, label="Info")))
    assert (f"variety {expected}" in info) == (expected > 0)


async def test_explicit_quality_overrides_preferences(server):
    await server.service.preference_store.set(Scope.CHANNEL, server.channel.id, Preferences(quality="classic", sampler="euler"))
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(steps=4, quality="fine"))
    settings, _ = await made(server, "fox", steps=None)
    assert (settings["steps"], settings["sampler"]) == (4, "euler")
    settings, _ = await made(server, "fox", quality="draft", steps=None)
    assert (settings["steps"], settings["sampler"]) == (10, "unipc")


async def test_quality_respects_the_steps_limit(server):
    await server.service.preference_store.set(Scope.CHANNEL, server.channel.id, Preferences(max_steps=5))
    settings, _ = await made(server, "fox", quality="draft", steps=None)
    assert (settings["steps"], settings["sampler"]) == (5, "unipc")


async def test_unknown_flags_are_noted_privately(server):
    settings, result = await made(server, "fox --v 6 --s 250")
    assert settings["prompt"] == "fox"
    (note,) = result.followups
    assert note.ephemeral and "`--v 6`, `--s 250`" in note.content and "--ar 3:2" in clean(note.content)


async def test_flags_work_with_similar(server):
    settings, _ = await made(server, "fox --seed 7 --weird 5", "similar", image=("in.png", png()), steps=4)
    assert (settings["prompt"], settings["seed"]) == ("fox", 7)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("fox --ar wide", "width:height"),
        ("fox --seed -2", "whole number from 0"),
        ("fox --cfg nan", "number from 0 to 50"),
        ("fox --steps 200", "at most 150"),
        ("fox --repeat 9", "at most 4"),
        ("fox --chaos 101", "variety must be a whole number from 0 to 100"),
        ("--ar 3:2", "empty"),
    ],
)
async def test_flags_out_of_range_are_rejected(server, prompt, words):
    assert words in private_text(await server.alice.slash(server.channel, "imagine", prompt=prompt))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--repeat 0", "at least 1 picture"),
        ("--repeat -3", "at least 1 picture"),
        ("--repeat 5", "count may be at most 4"),
        ("--steps 0", "At least 1 step"),
        ("--steps 200", "at most 150"),
        ("--seed -2", "whole number from 0"),
        ("--cfg 99", "number from 0 to 50"),
    ],
)
async def test_flags_out_of_range_are_rejected_before_the_question(server, flags, words):
    result = await server.alice.slash(server.channel, "imagine", prompt=f"{{red|blue}} fox {flags}")
    assert words in private_text(result) and not server.service.questions


async def test_syntax_of_other_tools_is_noted_privately(server):
    options = {"prompt": "fox::2 --sampler Euler a --seed -1", "negative": "<lora:x:1>"}
    settings, result = await made(server, **options)
    assert (settings["prompt"], settings["sampler"]) == ("fox::2", "euler_a")
    (note,) = result.followups
    assert note.ephemeral and "Weights" in note.content and "LoRA in a negative prompt" in note.content


async def test_emphasis_is_noted_for_a_model_that_reads_plain_text(server, monkeypatch):
    monkeypatch.setattr(type(server.service.engine.model), "count_tokens", lambda model, text: len(text.split()))
    monkeypatch.setattr(server.service.engine.model, "chunk_tokens", 0)
    _, result = await made(server, prompt="(fox:1.2)", steps=2)
    (note,) = result.followups
    assert note.ephemeral and "Emphasis" in note.content


async def test_custom_styles_are_offered_and_applied(server):
    styles = {"Oil": Style("{prompt} in oil", "photo", 5, 3.5), "Ink": Style("ink of {prompt}")}
    server.service.builder.custom_styles = styles
    offered = await server.alice.autocomplete(server.channel, "imagine", "style", "")
    assert [choice["value"] for choice in offered] == ["Oil", "Ink"]
    result = await server.alice.slash(server.channel, "imagine", prompt="fox", style="oil", negative="text")
    await server.until_finished(result.response)
    settings = read_parameters(await pictures_of(result.response)[0].read())
    assert (settings["prompt"], settings["negative_prompt"]) == ("fox in oil", "text, photo")
    assert (settings["steps"], settings["guidance_scale"]) == (5, 3.5)
    settings, _ = await made(server, "fox --style ink")
    assert (settings["prompt"], settings["steps"]) == ("ink of fox", 2)


async def test_style_none_overrides_the_preferred_style(server):
    await submit_page(server.alice, server.channel, "mine", "Pictures", style="ink")
    assert (await made(server, "fox"))[0]["prompt"] == "fox, ink"
    assert (await made(server, "fox", style="none"))[0]["prompt"] == "fox"


async def started(server, question):
    return (await server.alice.click(question, label="Start")).response


async def test_variants_are_confirmed_first_and_posted_together(server):
    server.service.rules.limits = MemberLimits(daily=40)
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox in {rain|snow} --seed 7", steps=2)
    question = asked.response
    assert question.ephemeral and not server.service.jobs
    for words in (
        "This makes 4 pictures",
        "1. **red fox in rain**",
        "4. **blue fox in snow**",
        "You have 40 pictures left today",
    ):
        assert words in question.content
    message = await started(server, question)
    await server.until_finished(message, 4)
    assert "**{red|blue} fox in {rain|snow}**" in text_of(message).replace("\\", "")
    assert "seed 7 " in await settings_of_row(server, message)
    pictures = pictures_of(message)
    assert [picture.description.partition(": ")[2] for picture in pictures] == [
        "red fox in rain",
        "red fox in snow",
        "blue fox in rain",
        "blue fox in snow",
    ]
    assert len({picture.name for picture in pictures}) == 4
    settings = [read_parameters(await picture.read()) for picture in pictures]
    assert [each["prompt"] for each in settings] == [picture.description.partition(": ")[2] for picture in pictures]
    assert {each["seed"] for each in settings} == {7}
    assert await server.service.quota_store.used_today(server.alice.id) == {server.guild.id: 4}
    assert question.id not in [shown.id for shown in server.channel.history(viewer=server.alice)]


async def test_variant_equals_the_picture_of_its_prompt_alone(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", steps=2, seed=7, count=2)
    assert "4 pictures, 2 of each" in asked.response.content
    message = await started(server, asked.response)
    await server.until_finished(message, 4)
    last = read_image(await pictures_of(message)[3].read())
    alone = await server.alice.slash(server.channel, "imagine", prompt="blue fox", steps=2, seed=8)
    await server.until_finished(alone.response)
    difference = ImageChops.difference(last, read_image(await pictures_of(alone.response)[0].read()))
    assert max(most for _, most in difference.getextrema()) <= 1


async def test_confirmation_can_be_cancelled(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox")
    await server.alice.click(asked.response, label="Cancel")
    assert asked.response.content == "Not started." and not asked.response.components
    assert not server.service.jobs and not await server.service.creation_store.unfinished()


async def test_confirmation_times_out(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox")
    await server.env.advance_time(CONFIRM_TIMEOUT_SECONDS + 1)
    assert asked.response.content == "Not started." and not asked.response.components


@pytest.mark.parametrize("label", ["Start", "Cancel"])
async def test_confirmation_takes_one_answer(server, label):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", steps=2)
    question = asked.response
    buttons = [button["custom_id"] for row in question.components for button in row["components"]]
    await server.alice.click(question, label=label)
    await server.until_idle()
    made = len(await server.service.stores.gallery.latest(server.alice.id, "", 25))
    for button in buttons:
        assert "answered already" in await press(server, server.alice, button)
    await server.until_idle()
    assert made == len(await server.service.stores.gallery.latest(server.alice.id, "", 25)) == (label == "Start")


async def test_confirmation_from_before_a_restart_is_refused(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", steps=2)
    await server.restart()
    for label in ("Start", "Cancel"):
        assert "the bot was restarted" in private_text(await server.alice.click(asked.response, label=label))
    assert not server.service.jobs and not await server.service.quota_store.used_today(server.alice.id)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": "{a|b|c|d} {a|b|c}"}, "more than 10 pictures"),
        ({"prompt": "{a|b|c}", "count": 4}, "makes 12 pictures"),
        ({"prompt": "{a|b|c} fox --repeat 2"}, "5 of 5 pictures left today, not 6"),
    ],
)
async def test_variants_over_the_limits_are_rejected_before_the_confirmation(server, options, words):
    server.service.rules.limits = MemberLimits(daily=5)
    assert words in private_text(await server.alice.slash(server.channel, "imagine", **options))


async def test_invalid_size_is_reported_before_the_question(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", size="33")
    assert "multiple of 8" in private_text(result) and not server.service.questions


async def test_variants_resume_after_a_restart_and_can_be_rerolled(server, monkeypatch):
    slow_down(server, monkeypatch)
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", steps=20)
    message = await started(server, asked.response)
    await server.restart()
    await server.until_finished(message, 2)
    assert [picture.description for picture in pictures_of(message)] == ["Picture 1 of 2: red fox", "Picture 2 of 2: blue fox"]
    await server.until_idle()
    again = await use(server.bob, message, "reroll")
    await server.until_finished(again.response, 2)
    assert [picture.description for picture in pictures_of(again.response)] == [
        picture.description for picture in pictures_of(message)
    ]


async def test_variants_work_with_similar(server):
    asked = await server.alice.slash(server.channel, "similar", image=("in.png", png()), prompt="{red|blue} fox", steps=4)
    message = await started(server, asked.response)
    await server.until_finished(message, 2)


async def test_blocked_word_is_found_in_variants(server):
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("blood",)))
    asked = await server.alice.slash(server.channel, "imagine", prompt="{bl|f}ood")
    assert "do not allow" in private_text(await server.alice.click(asked.response, label="Start"))


async def test_edit_of_variants_keeps_the_braces_and_confirms_again(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} fox", steps=2, seed=7)
    message = await started(server, asked.response)
    await server.until_finished(message, 2)
    await server.until_idle()
    form = await use(server.alice, message, "edit")
    fields = {label["component"]["custom_id"]: label["component"].get("value", "") for label in form.modal["components"]}
    assert fields["prompt"] == "{red|blue} fox"
    question = await server.alice.submit_modal(form, fields | {"prompt": "{red|blue|green} fox"})
    assert "This makes 3 pictures" in question.response.content
    edited = await started(server, question.response)
    await server.until_finished(edited, 3)
    assert [picture.description[16:] for picture in pictures_of(edited)] == ["red fox", "blue fox", "green fox"]
    await server.until_idle()
    form = await use(server.alice, edited, "edit")
    alone = await server.alice.submit_modal(form, fields | {"prompt": "one fox"})
    await server.until_finished(alone.response)
