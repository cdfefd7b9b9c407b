import pytest

from cogs.results.timelapse import ANIMATION_DELETED
from diffusion.images.animation import decode_animation
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from tests.support.actions import use
from tests.support.interactions import limit_upload_size
from tests.support.jobs import settings_of_row, slow_down, until_running
from tests.support.messages import files_of, pictures_of, png, private_text, text_of


async def made(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **{"prompt": "red apple", "steps": 6, "seed": 7} | options)
    await server.until_finished(result.response, options.get("count", 1))
    return result.response


async def timelapse_of(server, message, member=None):
    shown = await use(member or server.alice, message, "timelapse")
    await server.until(lambda: files_of(shown.response))
    return shown.response


async def branched(server, message, step, prompt, member=None):
    member = member or server.bob
    timelapse = await timelapse_of(server, message, member)
    shown = await member.select(timelapse, [str(step)])
    result = await member.submit_modal(shown, {"prompt": prompt})
    await server.until_finished(result.response, len(pictures_of(message)))
    return result.response


async def creation_id(server, message):
    return (await server.service.creation_store.get_by_message(message.id)).id


def controls(message):
    """The buttons and selects under a message."""
    rows = getattr(message, "message", message).components
    return [control for row in rows for control in getattr(row, "children", ())]


def options(message):
    """The steps that a timelapse offers."""
    return [option.value for control in controls(message) for option in getattr(control, "options", ())]


async def pixels(message):
    return [read_image(await file.read()).tobytes() for file in pictures_of(message)]


async def test_timelapse_that_discord_calls_too_large_is_sent_smaller(server):
    message = await made(server)
    server.env.inject_error("POST", "/webhooks/*", status=413, code=40005, times=1)
    assert "too large here" in text_of(await timelapse_of(server, message))


@pytest.mark.parametrize("sampler", ["lms", "heun"])
async def test_timelapse_shows_every_step_and_the_finished_picture(server, sampler):
    message = await made(server, sampler=sampler)
    timelapse = await timelapse_of(server, message, server.bob)
    file, steps = files_of(timelapse)
    assert (steps.name, read_image(await steps.read()).size) == ("steps.webp", (360, 240))  # five steps, 120 pixels each
    frames, _ = decode_animation(await file.read())
    assert len(frames) == 7 and frames[0].size == (256, 256)
    assert file.description == "How it formed: red apple"
    assert "**red apple**" in text_of(timelapse) and "in 6 steps" in text_of(timelapse)


async def test_timelapse_shows_several_pictures_in_a_grid(server):
    timelapse = await timelapse_of(server, await made(server, count=3))
    frames, _ = decode_animation(await files_of(timelapse)[0].read())
    assert frames[0].size == (384, 384)


async def test_branch_applies_its_prompt_from_the_chosen_step(server):
    message = await made(server)
    branch = await branched(server, message, 3, "green pear")
    assert "**red apple** → **green pear**" in text_of(branch)
    assert f"🌱 Branch, by <@{server.bob.id}>" in text_of(branch)
    assert "branched at step 3" in await settings_of_row(server, branch)
    settings = read_parameters(await pictures_of(branch)[0].read())
    assert (settings["prompt"], settings["branches"], settings["seed"]) == ("red apple", ((3, "green pear"),), 7)
    assert await pixels(branch) != await pixels(message)
    row = await server.service.creation_store.get_by_message(branch.id)
    assert row.parent_id == await creation_id(server, message)


async def test_branch_with_the_same_prompt_draws_the_same_picture(server):
    message = await made(server, count=2, sampler="dpm++")
    assert await pixels(await branched(server, message, 4, "red apple")) == await pixels(message)


async def test_branch_can_be_branched_again(server):
    first = await branched(server, await made(server), 2, "green pear")
    second = await branched(server, first, 4, "banana")
    settings = read_parameters(await pictures_of(second)[0].read())
    assert settings["branches"] == ((2, "green pear"), (4, "banana"))


async def test_branch_applies_to_pictures_of_several_prompts(server):
    question = await server.alice.slash(server.channel, "imagine", prompt="{red|blue} apple", steps=6, seed=7)
    message = (await server.alice.click(question.response, label="Start")).response
    await server.until_finished(message, 2)
    branch = await branched(server, message, 3, "pear")
    first, second = [read_parameters(await file.read()) for file in pictures_of(branch)]
    assert (first["prompt"], second["prompt"]) == ("red apple", "blue apple")
    assert first["branches"] == second["branches"] == ((3, "pear"),)


async def test_branch_of_a_similar_picture_counts_its_own_steps(server):
    message = await made(server, "similar", image=("in.png", png()), start_step=2)
    timelapse = await timelapse_of(server, message)
    assert "in 4 steps" in text_of(timelapse)
    assert options(timelapse) == ["3", "4", "5"]
    assert "branched at step 4" in await settings_of_row(server, await branched(server, message, 4, "pear"))


async def test_branch_resumes_after_a_restart_unchanged(server, monkeypatch):
    message = await made(server, steps=30)
    whole = await branched(server, message, 9, "green pear")
    server.engine.model.revision += 1  # so that no step is kept
    slow_down(server, monkeypatch)
    timelapse = await timelapse_of(server, message)
    await server.restart()  # the select still works
    shown = await server.alice.select(timelapse, ["9"])
    result = await server.alice.submit_modal(shown, {"prompt": "green pear"})
    await until_running(server, result.response)
    await server.restart()
    await server.until_finished(result.response)
    assert await pixels(result.response) == await pixels(whole)


async def test_timelapse_and_branch_of_a_private_picture_are_private(server):
    message = await made(server, private=True)
    timelapse = await timelapse_of(server, message)
    assert timelapse.ephemeral
    branch = await branched(server, message, 3, "pear", server.alice)
    assert branch.ephemeral


async def test_branch_rejects_a_long_prompt_privately(server):
    message = await made(server)
    timelapse = await timelapse_of(server, message)
    shown = await server.alice.select(timelapse, ["3"])
    assert shown.modal["title"] == "Branch from step 3"
    long = {"prompt": "fox BREAK " * 5}
    assert "has 6 chunks and this model reads 4" in private_text(await server.alice.submit_modal(shown, long))


async def test_timelapse_of_one_step_offers_no_branch(server):
    timelapse = await timelapse_of(server, await made(server, steps=1))
    assert "in 1 step." in text_of(timelapse)
    assert not options(timelapse)


async def test_morph_has_no_timelapse(server):
    result = await server.alice.slash(server.channel, "morph", **{"from": "a", "to": "b", "frames": 2, "steps": 2})
    await server.until_finished(result.response)
    labels = [getattr(control, "label", None) for control in controls(result.response)]
    assert "Reroll" in labels and "How it formed" not in labels


@pytest.mark.parametrize("lost", ["row", "file"])
async def test_deleted_timelapse_says_so(server, lost):
    message = await made(server)
    row = await server.service.creation_store.get_by_message(message.id)
    if lost == "file":
        await server.service.image_store.delete([row.timelapse])
    else:
        async with server.service.database.transaction("") as session:
            await session.delete(await session.get(type(row), row.id))
    shown = await server.alice.click(message, label="How it formed")
    assert private_text(shown) == ANIMATION_DELETED


async def test_timelapse_over_the_upload_limit_is_sent_smaller(server, monkeypatch):
    message = await made(server)
    limit_upload_size(monkeypatch, 9000)
    timelapse = await timelapse_of(server, message)
    file, _ = files_of(timelapse)
    assert len(await file.read()) <= 9000 and len(decode_animation(await file.read())[0]) == 7
    assert "too large here" in text_of(timelapse) and options(timelapse)


async def test_timelapse_that_cannot_be_sent_is_reported_privately(server, monkeypatch):
    message = await made(server)
    limit_upload_size(monkeypatch, 10)
    shown = await server.bob.click(message, label="How it formed")
    assert "larger than Discord takes" in private_text(shown)
    assert [each.id for each in server.channel.history()] == [message.id]
