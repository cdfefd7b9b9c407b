"""Fix: a form with what was typed, under the errors of a command."""

import pytest

from cogs.core.messages import drafts
from cogs.core.request.preferences import Preferences, Scope
from tests.support.actions import controls_of
from tests.support.jobs import row_of, settings_of_row
from tests.support.messages import png, private_message, private_text


def fields_of(shown):
    """What stands in the fields of a form."""
    fields = [label["component"] for label in shown.modal["components"]]
    return {field["custom_id"]: field.get("value") or "" for field in fields}


async def drawn(server, result):
    await server.until_finished(result.response)
    return await settings_of_row(server, result.response)


async def test_fix_opens_a_form_with_all_that_was_wrong_and_draws(server):
    refused = await server.alice.slash(
        server.channel, "imagine", prompt="red apple --ar wide", size="big", sampler="no such", seed=7, steps=3
    )
    assert len(private_text(refused).splitlines()) == 3
    shown = await server.alice.click(refused.response, label="Fix")
    assert fields_of(shown) == {"prompt": "red apple --ar wide", "size": "big", "sampler": "no such"}
    again = await server.alice.submit_modal(shown, {"prompt": "red apple", "size": "huge", "sampler": ""})
    assert "width x height" in private_text(again)
    shown = await server.alice.click(again.response, label="Fix")
    assert fields_of(shown) == {"prompt": "red apple", "size": "huge"}
    result = await server.alice.submit_modal(shown, {"prompt": "red apple", "size": "64x32"})
    assert not result.response.ephemeral
    assert (await drawn(server, result)).startswith("-# seed 7 · 64x32 · 3 steps")


async def test_fix_keeps_the_attached_picture(server):
    refused = await server.bob.slash(
        server.channel, "similar", image=("in.png", png()), prompt="apple", similarity=0.5, start_step=2, steps=5
    )
    shown = await server.bob.click(private_message(refused), label="Fix")
    assert fields_of(shown) == {"prompt": "apple", "start_step": "2", "similarity": "0.5", "steps": "5"}
    refused = await server.bob.submit_modal(shown, fields_of(shown) | {"start_step": "soon"})
    assert "start step must be a whole number" in private_text(refused)
    shown = await server.bob.click(private_message(refused), label="Fix")
    result = await server.bob.submit_modal(shown, fields_of(shown) | {"start_step": ""})
    assert "5 steps from" in await drawn(server, result)


async def test_fix_asks_for_the_picture_that_is_missing(server):
    refused = await server.bob.slash(server.channel, "inpaint", prompt="apple", region="left", steps=5)
    assert "no picture to start from" in private_text(refused)
    made = await server.bob.slash(server.channel, "imagine", prompt="apple", steps=2)
    await drawn(server, made)
    row = await row_of(server, made.response)
    shown = await server.bob.click(private_message(refused), label="Fix")
    assert fields_of(shown) == {"prompt": "apple", "link": ""}
    await drawn(server, await server.bob.submit_modal(shown, {"prompt": "pear", "link": row.short_id}))
    picture = ("in.png", png())
    refused = await server.bob.slash(server.channel, "inpaint", prompt="apple", region="left", image=picture, mask=picture)
    shown = await server.bob.click(private_message(refused), label="Fix")
    assert fields_of(shown) == {"prompt": "apple", "region": "left"}


async def test_fix_offers_both_texts_of_a_morph(server):
    refused = await server.alice.slash(
        server.channel, "morph", **{"from": "a {red|green} fox", "to": "a dog"}, steps=2, frames=2
    )
    shown = await server.alice.click(private_message(refused), label="Fix")
    assert fields_of(shown) == {"start": "a {red|green} fox", "end": "a dog"}
    result = await server.alice.submit_modal(shown, {"start": "a red fox", "end": "a dog"})
    assert "2 frames" in await drawn(server, result)


async def test_fix_is_not_offered_for_what_no_option_changes(server):
    server.service.closed_reason = "closed"
    refused = await server.alice.slash(server.channel, "imagine", prompt="apple", steps=2)
    assert private_text(refused) == "closed" and not controls_of(refused.response)
    refused = await server.alice.slash(server.channel, "upscale", image=("in.png", png()))
    assert not controls_of(private_message(refused))


async def test_fix_asks_only_for_the_prompt_where_its_flags_are_wrong(server):
    refused = await server.alice.slash(server.channel, "imagine", prompt="a fox --ar wide --steps 900")
    shown = await server.alice.click(refused.response, label="Fix")
    assert fields_of(shown) == {"prompt": "a fox --ar wide --steps 900"}


async def test_fix_is_offered_for_forbidden_words(server):
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("pear",)))
    refused = await server.alice.slash(server.channel, "imagine", prompt="a pear", steps=2)
    shown = await server.alice.click(refused.response, label="Fix")
    result = await server.alice.submit_modal(shown, {"prompt": "a plum"})
    assert "2 steps" in await drawn(server, result)


@pytest.mark.parametrize("change", ["expired", "forgotten", "pushed out", "restarted"])
async def test_drafts_do_not_stay(server, monkeypatch, change):
    monkeypatch.setattr(drafts, "MAX_DRAFTS", 2)
    refused = await server.alice.slash(server.channel, "imagine", prompt="apple", size="big")
    match change:
        case "expired":
            await server.env.advance_time(drafts.DRAFT_SECONDS + 1)
        case "forgotten":
            for forget in server.service.forgetters:
                forget(server.alice.id)
        case "pushed out":
            for _ in range(3):
                await server.bob.slash(server.channel, "imagine", prompt="apple", size="big")
            assert len(server.env.bot.get_cog("FixCog").drafts) == 2
        case "restarted":
            await server.restart()
    late = await server.alice.click(refused.response, label="Fix")
    assert "too long ago" in private_text(late)
