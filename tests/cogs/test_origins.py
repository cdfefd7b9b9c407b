"""Every way from a picture to a request keeps to its author's wish, the channel's age limit and the server's words."""

import pytest
from simcord.results import to_discord_message
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
    assert "does not allow" in refusal(await server.bob.click(again, label="Vary (subtle)"))
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
    result = await server.bob.click(await made(server), label="Vary (subtle)")
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


# Forwarded and linked pictures


async def sent(server, member=None, channel=None):
    return await (member or server.alice).send(channel or server.channel, "look", attachments=[("in.png", png())])


async def more_like(server, message, member=None):
    return await (member or server.bob).context_menu(server.channel, "More like this", message)


def posted(server, **fields):
    """Post a message for Bob that members' clients cannot write."""
    return to_discord_message(server.env, server.env.backend.create_message(server.channel.id, server.bob.id, "", **fields))


def refer(server, forwarded, **reference):
    """Let ``forwarded`` have been forwarded from somewhere else."""
    stored = server.env.backend.messages[server.channel.id][forwarded.id]
    stored.reference |= {name: str(value) for name, value in reference.items()}
    return forwarded


async def test_forwarding_does_not_get_round_the_remix_setting(server):
    await forbid_remixes(server, server.alice)
    other = server.guild.create_text_channel("other")
    for message in (await made(server), await sent(server), await sent(server, channel=other)):
        forwarded = await server.bob.forward(message, server.channel)
        assert "does not allow" in private_text(await more_like(server, forwarded))
        await finished(server, await more_like(server, forwarded, server.alice))


async def test_forwarding_what_was_shown_again_or_forwarded_does_not_get_round_the_remix_setting(server):
    message = await made(server)
    again = await server.bob.forward(await shown(server, message, server.alice), server.channel)
    inner = await server.bob.forward(await sent(server), server.channel)
    outer = await server.bob.forward(await sent(server, server.bob), server.channel)
    await forbid_remixes(server, server.alice)
    for forwarded in (again, refer(server, outer, message_id=inner.id)):
        assert "does not allow" in private_text(await more_like(server, forwarded))
    inner_reference = refer(server, inner, message_id=outer.id)
    assert "cannot find out whose picture" in private_text(await more_like(server, inner_reference))


async def test_forwards_of_other_members_are_remixed(server):
    await forbid_remixes(server, server.alice)
    forwarded = await server.alice.forward(await sent(server, server.bob), server.channel)
    await finished(server, await more_like(server, forwarded))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, 50001, "cannot find out whose picture"),
        (404, 10008, "cannot find out whose picture"),
        (503, 0, "Discord did not say whose picture"),
    ],
)
async def test_forwards_of_unknown_members_in_this_server_are_refused(server, status, code, words):
    forwarded = await server.bob.forward(await sent(server), server.channel)
    server.env.inject_error("GET", "/channels/*/messages/*", status=status, code=code, times=None)
    assert words in private_text(await more_like(server, forwarded))


async def test_forwards_from_where_the_bot_is_not_count_as_the_forwarders(server):
    forwarded = await server.alice.forward(await sent(server, server.bob), server.channel)
    elsewhere = refer(server, forwarded, channel_id=5, guild_id=6, message_id=7)
    await finished(server, await more_like(server, elsewhere))
    await forbid_remixes(server, server.alice)
    assert "does not allow" in private_text(await more_like(server, elsewhere))


async def test_messages_of_followed_channels_belong_to_their_authors(server):
    copy = posted(
        server,
        attachments=server.env.backend.store_attachments(server.channel.id, [("in.png", png())]),
        reference={"channel_id": server.channel.id, "message_id": (await sent(server)).id},
        flags=1 << 1,
    )
    await forbid_remixes(server, server.alice)
    assert "does not allow" in private_text(await more_like(server, copy))


async def test_linked_avatars_belong_to_their_members(server):
    await forbid_remixes(server, server.alice)
    for path in ("avatars/{}/0.png", "guilds/5/users/{}/avatars/0.png", "external/x/https/cdn.discordapp.com/banners/{}/0.png"):
        url = f"https://cdn.discordapp.com/{path.format(server.alice.id)}"
        message = posted(server, embeds=[{"type": "rich", "image": {"url": url, "proxy_url": url}}])
        assert "does not allow" in private_text(await more_like(server, message))


# Age


async def test_flagged_pictures_stay_in_age_restricted_channels(server):
    message = await made(server)
    row = await row_of(server, message)
    async with server.service.database.transaction("") as session:
        values = {"flags": {"nude": 0.9}, "age_restricted": True}
        await session.execute(update(Creation).where(Creation.id == row.id).values(**values))
    for label in ("Reroll", "Vary (subtle)", "Upscale"):
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
