import gc

import discord
import pytest

from cogs.journal import JournalFailed
from cogs.views import FORM_SECONDS, EditPrompt
from diffusion.image import read_image, read_parameters
from tests.discord.conftest import drawn, png, sentence, source_of, text_of


async def made(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **{"steps": 3} | options)
    await server.finished(result.response, options.get("count", 1))
    return result.response


async def settings_of(message):
    return read_parameters(await drawn(message)[0].read())


async def test_reroll_makes_the_same_with_another_seed(server):
    message = await made(server, prompt="red apple", negative="pear", guidance=3.5, seed=1, count=2)
    again = await server.bob.click(message, label="Reroll")
    await server.finished(again.response, 2)
    before, after = await settings_of(message), await settings_of(again.response)
    assert before.pop("seed") != after.pop("seed")
    assert before == after


async def test_reroll_of_an_upscaled_picture_is_upscaled_the_same(server):
    message = await made(server, prompt="red apple", style="watercolour", size="64x32", seed=1, upscale=2)
    again = await server.bob.click(message, label="Reroll")
    await server.finished(again.response)
    before, after = await settings_of(message), await settings_of(again.response)
    assert before.pop("seed") != after.pop("seed")
    assert before == after
    assert read_image(await drawn(again.response)[0].read()).size == (128, 64)


async def test_reroll_of_a_similar_picture_starts_from_the_same_source(server):
    message = await made(server, "similar", image=("in.png", png()), prompt="apple", steps=8)
    again = await server.alice.click(message, label="Reroll")
    await server.finished(again.response)
    source, copy = source_of(message), source_of(again.response)
    assert copy.name == "source.png"
    assert await copy.read() == await source.read()


async def test_more_like_this_starts_from_the_picture(server):
    message = await made(server, prompt="red apple", steps=10)
    more = await server.alice.click(message, label="More like this")
    await server.finished(more.response)
    assert source_of(more.response)
    assert "10 steps from 4" in text_of(more.response)


async def test_more_like_an_upscaled_picture_starts_from_it_at_the_size_it_was_developed(server):
    message = await made(server, prompt="red apple", steps=10, upscale=4)
    more = await server.alice.click(message, label="More like this")
    await server.finished(more.response)
    assert read_image(await source_of(more.response).read()).size == (32, 32)
    assert read_image(await drawn(more.response)[0].read()).size == (128, 128)
    assert "32x32 ×4" in text_of(more.response)


async def test_edit_shows_the_prompt_and_keeps_the_seed(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit prompt")
    assert shown.modal["components"][0]["components"][0]["value"] == "red apple"
    edited = await server.alice.submit_modal(shown, {"prompt": "green apple"})
    await server.finished(edited.response)
    settings = await settings_of(edited.response)
    assert (settings["prompt"], settings["seed"]) == ("green apple", 11)


async def test_edit_of_a_picture_without_a_prompt_starts_empty(server):
    message = await made(server, "similar", image=("in.png", png()))
    shown = await server.alice.click(message, label="Edit prompt")
    assert not shown.modal["components"][0]["components"][0].get("value")


async def test_a_form_that_is_closed_instead_of_sent_is_forgotten(server):
    message = await made(server, prompt="red apple")
    await server.alice.click(message, label="Edit prompt")

    def kept():
        gc.collect()
        return [thing for thing in gc.get_objects() if type(thing) is EditPrompt]

    assert kept()
    await server.env.advance_time(FORM_SECONDS + 1)
    assert not kept()


async def test_only_the_owner_can_delete(server):
    message = await made(server, prompt="red apple")
    refused = await server.bob.click(message, label="Delete")
    assert "Only the member who asked" in sentence(refused)
    assert drawn(message)
    await server.alice.click(message, label="Delete")
    assert message.id not in [shown.id for shown in server.channel.history()]


async def test_cancel_ends_a_job_under_way_for_its_owner_alone(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150, count=4)
    refused = await server.bob.click(result.response, label="Cancel")
    assert "Only the member who asked" in sentence(refused)
    await server.alice.click(result.response, label="Cancel")
    await server.until(lambda: "Cancelled" in text_of(result.response))
    assert not result.response.components and not result.response.attachments


async def test_pictures_can_be_cancelled_as_soon_as_the_button_is_seen(server, monkeypatch):
    following = []
    with monkeypatch.context() as early:
        early.setattr(server.studio, "start", following.append)
        result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150)
        await server.alice.click(result.response, label="Cancel")
    server.studio.start(*following)
    await server.until(lambda: "Cancelled" in text_of(result.response))


async def test_a_job_ends_when_its_message_is_deleted_by_hand(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150, count=4)
    (job,) = server.studio.jobs.values()
    role = server.guild.create_role("moderators", permissions=discord.Permissions(manage_messages=True))
    moderator = server.guild.add_member(server.env.create_user("moderator"), roles=[role])
    await moderator.delete(result.response)
    await server.until(lambda: job.done and not server.studio.jobs)


async def test_buttons_work_after_a_restart(server):
    message = await made(server, prompt="red apple", seed=5)
    await server.restart()
    again = await server.alice.click(message, label="Reroll")
    await server.finished(again.response)
    assert (await settings_of(again.response))["prompt"] == "red apple"


@pytest.mark.parametrize("label", ["Reroll", "More like this"])
async def test_a_private_picture_stays_private(server, label):
    message = await made(server, prompt="red apple", private=True)
    more = await server.alice.click(message, label=label)
    assert more.response.ephemeral
    await server.finished(more.response)


async def test_a_prompt_edited_too_long_is_told_to_the_member_alone(server):
    message = await made(server, prompt="red apple")
    shown = await server.alice.click(message, label="Edit prompt")
    edited = await server.alice.submit_modal(shown, {"prompt": "fox " * 90})
    assert "would be ignored" in sentence(edited)


async def test_buttons_work_from_the_picture_alone(server, monkeypatch):
    async def lost(message_id):
        raise JournalFailed("The journal is lost.")

    message = await made(server, "similar", image=("in.png", png()), prompt="red apple", steps=8)
    monkeypatch.setattr(server.studio.journal, "of_message", lost)
    again = await server.bob.click(message, label="Reroll")
    await server.finished(again.response)
    assert "**red apple**" in text_of(again.response)
    assert await source_of(again.response).read() == await source_of(message).read()
