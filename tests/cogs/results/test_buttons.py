import gc

import discord
import pytest

from cogs.core.messages.components import FORM_TIMEOUT_SECONDS
from cogs.core.messages.drafts import DRAFT_SECONDS
from cogs.core.messages.views import ResultAction
from diffusion.images.io import fit, read_image, to_png
from diffusion.images.parameters import read_parameters
from tests.support.actions import form_of, labels_of, more_of, use
from tests.support.interactions import forge_form
from tests.support.jobs import row_of, settings_of_row
from tests.support.messages import pictures_of, png, private_text, source_of, text_of
from tests.support.pressing import press


async def made(server, command="imagine", **options):
    result = await server.alice.slash(server.channel, command, **{"steps": 3} | options)
    await server.until_finished(result.response, options.get("count", 1))
    return result.response


async def settings_of(message):
    return read_parameters(await pictures_of(message)[0].read())


async def test_reroll_changes_the_seed_only(server):
    message = await made(server, prompt="red apple", negative="pear", guidance=3.5, seed=1, count=2)
    again = await use(server.bob, message, "reroll")
    await server.until_finished(again.response, 2)
    before, after = await settings_of(message), await settings_of(again.response)
    assert before.pop("seed") != after.pop("seed")
    assert before == after


async def test_reroll_of_an_upscaled_picture_upscales_again(server):
    message = await made(server, prompt="red apple", style="watercolour", size="64x32", seed=1, upscale=2)
    again = await server.bob.click(message, label="Reroll")
    await server.until_finished(again.response)
    before, after = await settings_of(message), await settings_of(again.response)
    assert before.pop("seed") != after.pop("seed")
    assert before == after
    assert read_image(await pictures_of(again.response)[0].read()).size == (128, 64)


async def test_reroll_of_a_similar_picture_uses_the_same_source(server):
    message = await made(server, "similar", image=("in.png", png()), prompt="apple", steps=8)
    again = await server.alice.click(message, label="Reroll")
    await server.until_finished(again.response)
    source, copy = source_of(message), source_of(again.response)
    assert copy.name == "source.png"
    assert await copy.read() == await source.read()


@pytest.mark.parametrize(("strength", "start"), [("subtle", 13), ("strong", 5)])
async def test_more_like_this_starts_from_the_picture_in_two_strengths(server, strength, start):
    message = await made(server, prompt="red apple", steps=20, seed=1)
    more = await server.alice.click(message, label=f"Vary ({strength})")
    await server.until_finished(more.response)
    settings = await settings_of_row(server, more.response)
    assert f"20 steps from {start}" in settings and "seed 1 " not in settings
    assert await source_of(more.response).read() == to_png(read_image(await pictures_of(message)[0].read()))


async def test_more_like_an_upscaled_picture_uses_its_original_size(server):
    message = await made(server, prompt="red apple", steps=10, upscale=4)
    more = await server.alice.click(message, label="Vary (strong)")
    await server.until_finished(more.response)
    assert read_image(await source_of(more.response).read()).size == (32, 32)
    assert read_image(await pictures_of(more.response)[0].read()).size == (128, 128)
    assert "32x32 ×4" in await settings_of_row(server, more.response)


async def test_several_pictures_have_numbered_buttons(server):
    message = await made(server, prompt="red apple", steps=10, count=4, seed=7)
    assert labels_of(message) == [["U1", "U2", "U3", "U4", "🎲"], ["V1", "V2", "V3", "V4", "✏️"], ["More…"]]
    assert {"subtle", "emoji", "timelapse", "info", "delete"} <= more_of(message).keys()
    more = await server.bob.click(message, label="V3")
    await server.until_finished(more.response, 4)
    assert await source_of(more.response).read() == to_png(read_image(await pictures_of(message)[2].read()))
    larger = await server.alice.click(message, label="U2")
    await server.until_finished(larger.response)
    assert "seed 8 · 64x64" in await settings_of_row(server, larger.response)


async def test_results_of_buttons_say_who_did_what_without_a_ping(server):
    message = await made(server, prompt="red apple", count=2, steps=4)
    assert "by <@" not in text_of(message)
    bob = f"<@{server.bob.id}>"
    for action, words in (
        ("strong", f"🔀 Vary (strong) of picture 2, by {bob}"),
        ("upscale", f"🔍 Upscale of picture 2, by {bob}"),
        ("reroll", f"🎲 Reroll, by {bob}"),
    ):
        result = await use(server.bob, message, action, 0 if action == "reroll" else 1)
        await server.until_finished(result.response, 1 if action == "upscale" else 2)
        shown = server.env.backend.get_message(server.channel.id, result.response.id)
        assert f"**red apple**\n-# {words}" in text_of(result.response) and not shown.ping_user_ids
    one = await made(server, prompt="red apple", steps=4)
    varied = await use(server.alice, one, "subtle")
    await server.until_finished(varied.response)
    assert f"🔁 Vary (subtle), by <@{server.alice.id}>" in text_of(varied.response)


async def test_settings_are_shown_by_info_only(server):
    message = await made(server, prompt="red apple", seed=7)
    assert "seed" not in text_of(message) and "guidance" not in text_of(message)
    assert "seed 7 · 32x32 · 3 steps" in text_of((await use(server.bob, message, "info")).response)


async def test_one_picture_has_two_rows_of_words(server):
    message = await made(server, prompt="red apple")
    first, second, (more,) = labels_of(message)
    assert first == ["Upscale", "Vary (subtle)", "Vary (strong)", "Reroll", "Edit"]
    assert second[-2:] == ["Info", "Delete"] and len(second) <= 5 and more == "More…"
    assert more_of(message).keys() >= {"emoji", "sticker"}


async def test_more_asks_for_which_of_several_pictures(server):
    message = await made(server, prompt="red apple", steps=10, count=2)
    asked = await server.bob.select(message, ["subtle"])
    assert asked.response.ephemeral and asked.response.content == "**Vary (subtle)**: for which picture?"
    assert labels_of(asked.response) == [["1", "2"]]
    await server.restart()
    more = await server.bob.click(asked.response, label="2")
    await server.until_finished(more.response, 2)
    assert not more.response.ephemeral
    assert await source_of(more.response).read() == to_png(read_image(await pictures_of(message)[1].read()))


async def test_lists_of_earlier_messages_still_work(server):
    message = await made(server, prompt="red apple", steps=10, count=3, seed=7)
    row = await row_of(server, message)
    view = discord.ui.View(timeout=None)
    options = [discord.SelectOption(label="old", value=value) for value in ("strong:2", "upscale:1")]
    view.add_item(discord.ui.Select(custom_id=f"darkroom:pictures:{server.alice.id}:{row.id}:0", options=options))
    old = await server.env.bot.get_channel(server.channel.id).send("old", view=view)
    more = await server.bob.select(old, ["strong:2"])
    await server.until_finished(more.response, 3)
    assert await source_of(more.response).read() == to_png(read_image(await pictures_of(message)[2].read()))


async def test_a_feature_adds_an_action_that_finds_its_place(server):
    async def wave(interaction, target):
        await interaction.response.send_message(f"Hello, picture {target.index + 1}!")

    server.service.result_actions.add(
        ResultAction("wave", wave, "Wave", "👋", of_picture=True, rank=60), ResultAction("bow", wave, "Bow", "🎩")
    )
    one = await made(server, prompt="red apple")
    assert "Wave" in labels_of(one)[1] and "bow" in more_of(one)
    several = await made(server, prompt="red apple", count=4)
    assert {"wave", "bow"} <= more_of(several).keys()
    assert (await use(server.bob, several, "wave", 2)).response.content == "Hello, picture 3!"
    assert (await use(server.bob, several, "bow")).response.content == "Hello, picture 1!"


async def test_numbered_buttons_use_the_prompt_of_their_picture(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{red|green} apple", count=2, steps=10, seed=7)
    made = await server.alice.click(asked.response, label="Start")
    await server.until_finished(made.response, 4)
    more = await server.alice.click(made.response, label="V3")
    await server.until_finished(more.response, 2)
    larger = await server.alice.click(made.response, label="U4")
    await server.until_finished(larger.response)
    assert "**green apple**" in text_of(more.response) and "**green apple**" in text_of(larger.response)
    assert "seed 8 · 64x64" in await settings_of_row(server, larger.response)


async def test_more_pictures_than_fit_in_two_rows_vary_by_the_list(server):
    asked = await server.alice.slash(server.channel, "imagine", prompt="{a|b|c|d|e|f} apple", steps=10)
    made = await server.alice.click(asked.response, label="Start")
    await server.until_finished(made.response, 6)
    first, second, _ = labels_of(made.response)
    assert first == ["U1", "U2", "U3", "U4", "U5"] and second[:3] == ["U6", "🎲", "✏️"]
    more = await use(server.alice, made.response, "subtle", 5)
    await server.until_finished(more.response)
    assert "**f apple**" in text_of(more.response)


async def test_edit_accepts_a_prompt_with_variants(server):
    message = await made(server, prompt="apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    asked = await server.alice.submit_modal(shown, form_of(shown) | {"prompt": "{red|green} apple", "seed": "12"})
    assert "2 pictures" in asked.response.content
    edited = await server.alice.click(asked.response, label="Start")
    await server.until_finished(edited.response, 2)
    assert "seed 12 " in await settings_of_row(server, edited.response)
    again = await use(server.alice, edited.response, "edit")
    assert form_of(again)["prompt"] == "{red|green} apple"


async def test_upscale_draws_over_at_twice_the_size(server):
    message = await made(server, prompt="red apple", steps=10, size="64x32", seed=3, upscale=2)
    larger = await server.alice.click(message, label="Upscale")
    await server.until_finished(larger.response)
    assert "seed 3 · 128x64 ×2 · 10 steps from 7" in await settings_of_row(server, larger.response)
    assert read_image(await pictures_of(larger.response)[0].read()).size == (256, 128)
    enlarged = read_image(await source_of(larger.response).read())
    assert enlarged.tobytes() == fit(read_image(await pictures_of(message)[0].read()), 128, 64).tobytes()


@pytest.mark.parametrize("options", [{"size": "136"}, {"size": "256"}])
async def test_upscale_over_the_limit_is_refused_privately(server, options):
    message = await made(server, prompt="red apple", **options)
    refused = await server.alice.click(message, label="Upscale")
    assert "the limit here is as many pixels as 256x256" in private_text(refused)


@pytest.mark.parametrize("label", ["Make emoji", "Make sticker"])
async def test_make_emoji_and_sticker_open_drafts(server, label):
    role = server.guild.create_role("artists", permissions=discord.Permissions(create_expressions=True))
    artist = server.guild.add_member(server.env.create_user("artist"), roles=[role])
    kind = label.split()[-1]
    one = await use(artist, await made(server, prompt="red apple"), kind)
    assert f"your {kind} will look" in one.response.content
    several = await made(server, prompt="red apple", count=2)
    second = await use(artist, several, kind, 1)
    assert second.response.ephemeral and f"your {kind} will look" in second.response.content


async def test_edit_keeps_unchanged_fields(server):
    message = await made(server, prompt="red apple", negative="pear", steps=3, guidance=2.5, seed=11)
    shown = await server.alice.click(message, label="Edit")
    filled = {"prompt": "red apple", "negative": "pear", "steps": "3", "guidance": "2.5", "seed": "11"}
    assert form_of(shown) == filled
    edited = await server.alice.submit_modal(shown, filled | {"prompt": "green apple"})
    await server.until_finished(edited.response)
    before, after = await settings_of(message), await settings_of(edited.response)
    assert after == before | {"prompt": "green apple"}


async def test_edit_applies_every_field(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.bob.click(message, label="Edit")
    typed = {"prompt": "plum", "negative": "stone", "steps": " 5 ", "guidance": "3,5", "seed": ""}
    edited = await server.bob.submit_modal(shown, typed)
    await server.until_finished(edited.response)
    after = await settings_of(edited.response)
    expected = {"prompt": "plum", "negative_prompt": "stone", "steps": 5, "guidance_scale": 3.5}
    assert after == await settings_of(message) | expected | {"seed": after["seed"]} and after["seed"] != 11


async def test_edit_applies_flags_in_the_prompt(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    edited = await server.alice.submit_modal(shown, form_of(shown) | {"prompt": "plum --ar 2:1 --steps 4 --weird 9"})
    await server.until_finished(edited.response)
    after = await settings_of(edited.response)
    assert (after["prompt"], after["steps"], after["seed"]) == ("plum", 4, 11)
    assert after["width"] > after["height"]
    assert "`--weird 9`" in text_of(edited.followups[0])


async def test_edit_of_steps_keeps_the_share_that_similar_skips(server):
    message = await made(server, "similar", image=("in.png", png()), prompt="apple", steps=10, similarity=0.4)
    shown = await server.alice.click(message, label="Edit")
    edited = await server.alice.submit_modal(shown, form_of(shown) | {"steps": "20"})
    await server.until_finished(edited.response)
    assert "20 steps from 8" in await settings_of_row(server, edited.response)


async def test_unchanged_edit_is_refused_privately(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    edited = await server.alice.submit_modal(shown, form_of(shown))
    assert "Nothing was changed" in private_text(edited)
    assert [other.id for other in server.channel.history()] == [message.id]


async def test_edit_reports_all_invalid_fields_at_once(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    typed = form_of(shown) | {"steps": "many", "guidance": "99", "seed": "-1"}
    lines = private_text(await server.alice.submit_modal(shown, typed)).splitlines()
    assert [line.split(" must")[0] for line in lines] == ["The steps", "The guidance", "The seed"]


async def test_edit_reports_fields_and_flags_at_once(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    typed = form_of(shown) | {"steps": "many", "prompt": "plum --ar wide --cfg 99 --repeat 9"}
    lines = private_text(await server.alice.submit_modal(shown, typed)).splitlines()
    words = ("The steps must", "`--ar` needs", "count may be at most 4", "guidance scale must")
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))


async def test_edit_of_a_morph_changes_its_second_prompt(server):
    result = await server.alice.slash(server.channel, "morph", **{"from": "fox", "to": "dog"}, frames=2, steps=2)
    await server.until_finished(result.response)
    shown = await server.alice.click(result.response, label="Edit")
    assert form_of(shown)["target"] == "dog" and len(form_of(shown)) == 5
    edited = await server.alice.submit_modal(shown, form_of(shown) | {"target": "cat"})
    await server.until_finished(edited.response)
    assert "**fox** → **cat**" in text_of(edited.response)
    shown = await server.alice.click(result.response, label="Edit")
    emptied = await server.alice.submit_modal(shown, form_of(shown) | {"target": " "})
    assert "second prompt is empty" in private_text(emptied)


async def test_edit_without_a_prompt_starts_empty(server):
    message = await made(server, "similar", image=("in.png", png()))
    shown = await server.alice.click(message, label="Edit")
    assert form_of(shown)["prompt"] == ""


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"steps": "many"}, "The steps must be a whole number from 1 to 150."),
        ({"steps": "2.5"}, "The steps must be a whole number from 1 to 150."),
        ({"steps": "151"}, "The steps must be a whole number from 1 to 150."),
        ({"steps": ""}, "The steps must be a whole number from 1 to 150."),
        ({"guidance": "nan"}, "The guidance must be a number from 0 to 30."),
        ({"guidance": "-1"}, "The guidance must be a number from 0 to 30."),
        ({"seed": "4294967296"}, "The seed must be a whole number from 0 to 4294967295."),
        ({"seed": "lucky"}, "The seed must be a whole number from 0 to 4294967295."),
        ({"prompt": " "}, "The prompt is empty"),
        ({"prompt": "fox BREAK " * 5}, "use BREAK less often"),
        ({"prompt": "fox --seed x"}, "needs a number"),
    ],
)
async def test_edit_again_keeps_rejected_input(server, typed, words):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    edited = await server.alice.submit_modal(shown, form_of(shown) | {"negative": "a worm"} | typed)
    assert words in private_text(edited)
    told = next(answer for answer in (edited.response, *edited.followups) if answer)
    again = await server.alice.click(told, label="Edit again")
    assert form_of(again)["negative"] == "a worm" and typed.items() <= form_of(again).items()
    mended = await server.alice.submit_modal(again, form_of(shown) | {"prompt": "green apple"})
    await server.until_finished(mended.response)
    assert not mended.response.ephemeral
    assert (await row_of(server, mended.response)).parent_id == (await row_of(server, message)).id
    assert form_of(await server.alice.click(message, label="Edit"))["negative"] == ""


async def test_rejected_input_is_forgotten_after_a_while(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    await server.alice.submit_modal(shown, form_of(shown) | {"negative": "a worm", "steps": "0"})
    assert form_of(await server.alice.click(message, label="Edit"))["negative"] == "a worm"
    await server.env.advance_time(DRAFT_SECONDS + 1)
    assert form_of(await server.alice.click(message, label="Edit"))["negative"] == ""


async def test_edit_again_works_after_a_restart(server):
    message = await made(server, prompt="red apple", seed=11)
    shown = await server.alice.click(message, label="Edit")
    edited = await server.alice.submit_modal(shown, form_of(shown) | {"steps": "0"})
    await server.restart()
    told = next(answer for answer in (edited.response, *edited.followups) if answer)
    again = await server.alice.click(told, label="Edit again")
    assert form_of(again) == form_of(shown)


async def test_info_shows_all_settings_privately(server):
    message = await made(server, prompt="red ```apple```", negative="pear", steps=3, guidance=2.5, seed=11, count=2)
    shown = await use(server.bob, message, "info")
    assert shown.response.ephemeral
    text, creation = text_of(shown.response), await row_of(server, message)
    for words in (
        "apple",
        "pear",
        "seed 11, 12",
        "3 steps",
        "guidance 2.5",
        "Model `tiny`, ",
        f"Id `{creation.short_id}`",
        f"<@{server.alice.id}>",
    ):
        assert words in text
    assert f"/{server.guild.id}/{server.channel.id}/{message.id}" in text
    assert text.count("```") == 4
    more = await server.alice.click(message, label="V2")
    await server.until_finished(more.response, 2)
    assert f"made from `{creation.short_id}`" in text_of((await use(server.alice, more.response, "info")).response)


async def test_info_shows_the_longest_prompts(server):
    message = await made(server, prompt="red apple")
    row = await row_of(server, message)
    words = {"prompt": "`" * 1000, "negative_prompt": "w" * 1000}
    async with server.service.database.sessions.begin() as session:
        (await session.get(type(row), row.id)).request = row.request | words
    text = text_of((await server.alice.click(message, label="Info")).response)
    assert "w" * 1000 in text and text.count("`" * 3) == 4


async def test_edit_form_is_released_after_its_timeout(server):
    message = await made(server, prompt="red apple")
    await server.alice.click(message, label="Edit")

    def kept():
        gc.collect()
        return [thing for thing in gc.get_objects() if type(thing).__name__ == "EditForm"]

    assert kept()
    await server.env.advance_time(FORM_TIMEOUT_SECONDS + 1)
    assert not kept()


async def delete(member, message):
    asked = await member.click(message, label="Delete")
    await member.click(asked.response, label="Delete")


async def test_delete_is_for_the_owner_and_moderators(server):
    role = server.guild.create_role("moderators", permissions=discord.Permissions(manage_messages=True))
    moderator = server.guild.add_member(server.env.create_user("moderator"), roles=[role])
    for member in (server.alice, moderator):
        message = await made(server, prompt="red apple")
        refused = await server.bob.click(message, label="Delete")
        assert "or a moderator" in private_text(refused)
        assert pictures_of(message)
        creation = await row_of(server, message)
        await delete(member, message)
        await server.until(lambda: message.id not in [shown.id for shown in server.channel.history()])  # noqa: B023
        assert (await server.service.creation_store.get(creation.id)).state == "delivered"


async def test_delete_ignores_a_message_already_deleted(server):
    message = await made(server, prompt="red apple")
    asked = await server.alice.click(message, label="Delete")
    server.env.inject_error("DELETE", f"/webhooks/*/messages/{message.id}", status=404, code=10008, times=1)
    result = await server.alice.click(asked.response, label="Delete")
    assert result.acknowledged and not result.followups


async def test_delete_that_is_declined_keeps_the_pictures(server):
    message = await made(server, prompt="red apple")
    asked = await server.alice.click(message, label="Delete")
    assert "cannot be undone" in private_text(asked) and pictures_of(message)
    await server.alice.click(asked.response, label="Keep")
    assert asked.response.content == "Nothing was deleted." and pictures_of(message)


async def test_cancel_stops_a_running_job_for_its_owner_only(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150, count=4)
    refused = await server.bob.click(result.response, label="Cancel")
    assert "Only the member who asked" in private_text(refused)
    await server.alice.click(result.response, label="Cancel")
    await server.until(lambda: "Cancelled" in text_of(result.response))
    assert not result.response.components and not result.response.attachments


async def test_cancel_works_as_soon_as_its_button_appears(server, monkeypatch):
    following = []
    with monkeypatch.context() as early:
        early.setattr(server.service.background, "start", following.append)
        result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150)
        await server.alice.click(result.response, label="Cancel")
    server.service.background.start(*following)
    await server.until(lambda: "Cancelled" in text_of(result.response))


async def test_deleted_message_cancels_its_job(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150, count=4)
    (job,) = server.service.jobs.values()
    role = server.guild.create_role("moderators", permissions=discord.Permissions(manage_messages=True))
    moderator = server.guild.add_member(server.env.create_user("moderator"), roles=[role])
    await moderator.delete(result.response)
    await server.until(lambda: job.done and not server.service.jobs)


async def test_buttons_work_after_a_restart(server):
    message = await made(server, prompt="red apple", seed=5)
    await server.restart()
    again = await server.alice.click(message, label="Reroll")
    await server.until_finished(again.response)
    assert (await settings_of(again.response))["prompt"] == "red apple"


@pytest.mark.parametrize("label", ["Reroll", "Vary (subtle)", "Upscale"])
async def test_buttons_of_a_private_picture_reply_privately(server, label):
    message = await made(server, prompt="red apple", private=True)
    more = await server.alice.click(message, label=label)
    assert more.response.ephemeral
    await server.until_finished(more.response)


async def test_buttons_read_the_message_when_files_are_deleted(server):
    message = await made(server, "similar", image=("in.png", png()), prompt="red apple", steps=8)
    for path in server.service.image_store.folder.rglob("*.png"):
        path.unlink()
    again = await server.bob.click(message, label="Reroll")
    await server.until_finished(again.response)
    assert "**red apple**" in text_of(again.response)
    assert await source_of(again.response).read() == await source_of(message).read()
    more = await server.bob.click(message, label="Vary (subtle)")
    await server.until_finished(more.response)
    assert await source_of(more.response).read() == to_png(read_image(await pictures_of(message)[0].read()))


async def test_buttons_say_when_request_and_picture_are_gone(server):
    message = await made(server, prompt="red apple")
    row = await row_of(server, message)
    async with server.service.database.sessions.begin() as session:
        await session.delete(await session.get(type(row), row.id))
    server.env.backend.get_message(server.channel.id, message.id).components.pop(1)  # the gallery
    for label in ("Reroll", "Vary (strong)", "Upscale", "Edit", "Info"):
        assert "are gone" in private_text(await server.alice.click(message, label=label))


async def test_edit_works_after_its_message_was_deleted(server):
    message = await made(server, "similar", image=("in.png", png()), prompt="red apple")
    shown = await server.alice.click(message, label="Edit")
    typed = form_of(shown) | {"prompt": "green apple"}
    await delete(server.alice, message)
    edited = await forge_form(server, server.alice, shown, typed)
    await server.until_finished(edited.response)
    assert "**green apple**" in text_of(edited.response) and source_of(edited.response)


async def test_second_cancel_says_that_the_request_was_cancelled(server):
    result = await server.alice.slash(server.channel, "imagine", prompt="slow", steps=150, count=4)
    creation = (await row_of(server, result.response)).id
    await server.alice.click(result.response, label="Cancel")
    await server.until_idle()
    assert "cancelled already" in await press(server, server.alice, f"darkroom:result:cancel:{server.alice.id}:{creation}:0")


async def test_each_button_copes_with_deleted_files(server):
    role = server.guild.create_role("artists", permissions=discord.Permissions(create_expressions=True))
    artist = server.guild.add_member(server.env.create_user("artist"), roles=[role])
    message = await made(server, "similar", image=("in.png", png()), prompt="red apple", steps=4)
    await server.until_idle()
    await server.service.image_store.delete((await row_of(server, message)).files)
    for label in ("Reroll", "Vary (subtle)", "Vary (strong)", "Upscale"):
        result = await artist.click(message, label=label)
        await server.until_finished(result.response)
    assert form_of(await artist.click(message, label="Edit"))["prompt"] == "red apple"
    assert "red apple" in text_of((await artist.click(message, label="Info")).response)
    for action, words in (("emoji", "attach it to `/emoji`"), ("sticker", "attach it"), ("timelapse", "Reroll")):
        assert words in private_text(await use(artist, message, action))
