"""Every way from a picture to a request keeps to its author's wish, the channel's age limit and the server's words."""

import pytest
from sqlalchemy import update

from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.creations import Creation
from tests.support.foreign_metadata import FROM_A1111, with_texts
from tests.support.messages import pictures_of, png, private_text, source_of


async def made(server, command="imagine", member=None, **options):
    result = await (member or server.alice).slash(server.channel, command, **{"prompt": "red apple", "steps": 3} | options)
    return await finished(server, result)


async def finished(server, result):
    await server.until_finished(result.response)
    await server.until_idle()
    return result.response


async def row_of(server, message):
    return await server.service.creation_store.get_by_message(message.id)


async def forbid_remixes(server, member):
    await server.service.preference_store.set(Scope.MEMBER, member.id, Preferences(remix=False))


async def shown(server, message, member):
    result = await member.slash(server.channel, "show", id=str((await row_of(server, message)).id))
    return next(answer for answer in (result.response, *result.followups) if answer is not None)


def refusal(result):
    """The answer that only the member sees, also after a public one was taken back."""
    answers = [answer for answer in (*result.followups, result.response) if answer is not None]
    assert answers[0].ephemeral
    return answers[0].content


# The author's wish


@pytest.mark.parametrize("shown_by", ["alice", "bob"])
async def test_picture_shown_again_is_not_remixed(server, shown_by):
    again = await shown(server, await made(server), getattr(server, shown_by))
    await forbid_remixes(server, server.alice)
    assert "does not allow" in refusal(await server.bob.context_menu(server.channel, "More like this", again))
    assert "does not allow" in refusal(await server.bob.click(again, label="More like this (subtle)"))
    await finished(server, await server.alice.context_menu(server.channel, "More like this", again))


async def test_animation_is_not_remixed(server):
    animation = await server.bob.click(await made(server), label="How it formed")
    (posted,) = [answer for answer in (animation.response, *animation.followups) if answer is not None]
    await forbid_remixes(server, server.alice)
    assert "does not allow" in refusal(await server.bob.context_menu(server.channel, "More like this", posted))


@pytest.mark.parametrize(
    ("command", "options"),
    [("similar", {}), ("outpaint", {"direction": "left"}), ("inpaint", {"mask": ("mask.png", png((32, 32), "white"))})],
)
async def test_downloaded_picture_is_not_remixed(server, command, options):
    data = await pictures_of(await made(server))[0].read()
    await forbid_remixes(server, server.alice)
    given = {"image": ("mine.png", data), "prompt": "pear", "steps": 2} | options
    assert "does not allow" in refusal(await server.bob.slash(server.channel, command, **given))
    await finished(server, await server.alice.slash(server.channel, command, **given))


async def test_posted_copy_is_not_remixed(server):
    data = await pictures_of(await made(server))[0].read()
    copy = await server.bob.send(server.channel, "mine", attachments=[("mine.png", data)])
    await forbid_remixes(server, server.alice)
    assert "does not allow" in refusal(await server.bob.context_menu(server.channel, "More like this", copy))


async def test_pictures_made_from_a_picture_are_not_remixed(server):
    result = await server.bob.click(await made(server), label="More like this (subtle)")
    hers_inside = await finished(server, result)
    await forbid_remixes(server, server.alice)
    assert "does not allow" in refusal(await server.bob.click(hers_inside, label="Reroll"))
    source = await source_of(hers_inside).read()
    given = {"image": ("mine.png", source), "prompt": "pear", "steps": 2}
    assert "does not allow" in refusal(await server.bob.slash(server.channel, "similar", **given))


async def test_settings_may_be_used_again(server):
    message = await made(server, seed=5)
    await forbid_remixes(server, server.alice)
    await finished(server, await server.bob.click(message, label="Reroll"))
    info = await server.bob.context_menu(server.channel, "Image info", message)
    (told,) = [answer for answer in (info.response, *info.followups) if answer is not None]
    await finished(server, await server.bob.click(told, label="Make another like it"))


# Age


async def test_flagged_pictures_stay_in_age_restricted_channels(server):
    message = await made(server)
    row = await row_of(server, message)
    async with server.service.database.transaction("") as session:
        values = {"flags": {"nude": 0.9}, "age_restricted": True}
        await session.execute(update(Creation).where(Creation.id == row.id).values(**values))
    for label in ("Reroll", "More like this (subtle)", "Upscale 2x"):
        assert "age-restricted channel" in refusal(await server.alice.click(message, label=label))
    assert "age-restricted channel" in refusal(await server.alice.context_menu(server.channel, "More like this", message))
    data = await pictures_of(message)[0].read()
    given = {"image": ("mine.png", data), "prompt": "pear", "steps": 2}
    assert "age-restricted channel" in refusal(await server.alice.slash(server.channel, "similar", **given))
    hidden = await server.alice.slash(server.channel, "similar", private=True, **given)
    await finished(server, hidden)


# Words


async def test_blocked_words_hold_for_negative_prompts(server):
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("nude",)))
    result = await server.alice.slash(server.channel, "imagine", prompt="a fox", negative="blurry, n u d e", steps=2)
    assert private_text(result) == "The rules of this server do not allow “nude”."
    result = await server.alice.slash(server.channel, "imagine", prompt="a fox --no nüde", steps=2)
    assert private_text(result) == "The rules of this server do not allow “nude”."


async def test_blocked_words_hold_for_edits_of_negative_prompts(server):
    message = await made(server)
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("nude",)))
    form = await server.alice.click(message, label="Edit")
    edited = await server.alice.submit_modal(form, {"prompt": "pear", "negative": "nude", "steps": "2", "guidance": "3"})
    assert refusal(edited) == "The rules of this server do not allow “nude”."


async def test_blocked_words_hold_for_prompts_in_metadata(server):
    await server.service.preference_store.set(Scope.SERVER, server.guild.id, Preferences(words=("snow",)))
    message = await server.bob.send(server.channel, "", attachments=[("in.png", with_texts(parameters=FROM_A1111))])
    assert "do not allow" in refusal(await server.bob.context_menu(server.channel, "More like this", message))
    info = await server.bob.context_menu(server.channel, "Image info", message)
    (told,) = [answer for answer in (info.response, *info.followups) if answer is not None]
    assert "do not allow" in refusal(await server.bob.click(told, label="Make another like it"))
