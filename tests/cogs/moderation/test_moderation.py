"""/moderation: words that a server does not take, and the rule for flagged pictures."""

import sys
from types import SimpleNamespace

import discord
import pytest

from cogs.core.policy.context import Context
from cogs.core.policy.limits import NotAllowedError
from cogs.core.request.preferences import FlaggedAction, Preferences, Scope
from cogs.core.request.styles import Style
from diffusion.request import ImageRequest
from tests.support.messages import png, private_text


@pytest.fixture
async def manager(server):
    role = server.guild.create_role("managers", permissions=discord.Permissions(manage_guild=True))
    return server.guild.add_member(server.env.create_user("manager"), roles=[role])


async def said(actor, server, command, **options):
    return private_text(await actor.slash(server.channel, f"moderation {command}", **options))


async def refused(server, command="imagine", **options):
    return private_text(await server.alice.slash(server.channel, command, **{"prompt": "a red fox", "steps": 2} | options))


async def test_blocked_word_is_refused_in_every_disguise(server, manager):
    assert "`Fox`" in await said(manager, server, "words add", word="Fox ")
    for prompt in ("a red fox", "a red f\u200bо\u0301х", "a f.0.x", "FOXXX fox"):
        assert await refused(server, prompt=prompt) == "The rules of this server do not allow “Fox”."
    assert "do not allow" in await refused(server, prompt="a red animal", style="fox fur")
    assert "do not allow" in await refused(server, "similar", image=("in.png", png()))
    assert not server.service.jobs and not any(server.service.image_store.folder.rglob("*.png"))
    result = await server.alice.slash(server.channel, "imagine", prompt="foxglove", steps=2)
    await server.until_finished(result.response)


async def test_show_begins_with_what_matters_most(server, manager):
    first, words, change = (await said(manager, server, "show")).splitlines()
    assert "**Pictures are not checked here.**" in first and words == "No words are blocked." and "`/moderation rule`" in change
    await said(manager, server, "words add", word="fox")
    assert "1 blocked word: `fox`" in await said(manager, server, "show")


async def test_blocked_word_stops_a_reroll_of_an_earlier_picture(server, manager):
    made = await server.alice.slash(server.channel, "imagine", prompt="a red fox", steps=2)
    await server.until_finished(made.response)
    await server.until_idle()
    await said(manager, server, "words add", word="fox")
    again = await server.bob.click(made.response, label="Reroll")
    assert "do not allow" in [*again.followups, again.response][0].content
    assert not server.service.jobs


async def test_blocked_expression_is_not_quoted_to_members(server, manager):
    assert "`/f[o0]x(es)?/`" in await said(manager, server, "words add", word="f[o0]x(es)?", expression=True)
    assert await refused(server, prompt="two foxes") == "The rules of this server do not allow such a prompt."


async def test_blocked_words_apply_to_their_server_after_a_restart(server, manager):
    await said(manager, server, "words add", word="fox")
    direct = await server.env.create_user("carol").slash("imagine", prompt="a red fox", steps=2)
    await server.until_finished(direct.response)
    await server.restart()
    assert "do not allow" in await refused(server)


async def test_blocked_words_can_be_listed_tested_and_removed(server, manager):
    assert await said(manager, server, "words list") == "No words are blocked."
    await said(manager, server, "words add", word="fox")
    await said(manager, server, "words add", word=r"\bf+", expression=True)
    assert await said(manager, server, "words list") == r"`fox`, `/\bf+/`"
    assert await said(manager, server, "test", text="my f0x") == "Blocked by `fox`."
    assert await said(manager, server, "test", text="a hound") == "This prompt contains no blocked word."
    offered = await manager.autocomplete(server.channel, "moderation words remove", "word", "fo")
    assert [choice["value"] for choice in offered] == ["fox"]
    assert "allowed again" in await said(manager, server, "words remove", word="fox")
    assert "allowed again" in await said(manager, server, "words remove", word=r"/\bf+/")
    result = await server.alice.slash(server.channel, "imagine", prompt="a red fox", steps=2)
    await server.until_finished(result.response)


async def test_long_word_list_is_sent_as_a_file(server, manager):
    for index in range(10):
        await said(manager, server, "words add", word=f"{index}" + "x{1,2}y" * 28, expression=True)
    shown = await manager.slash(server.channel, "moderation words list")
    assert private_text(shown) == "10 words:"
    assert len((await shown.response.attachments[0].read()).splitlines()) == 10
    (offered, *_) = await manager.autocomplete(server.channel, "moderation words remove", "word", "/3")
    assert "allowed again" in await said(manager, server, "words remove", word=offered["value"])


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("words add", {"word": "..."}, "needs a letter"),
        ("words add", {"word": "a" * 61}, "60 characters"),
        ("words add", {"word": "(", "expression": True}, "no regular expression"),
        ("words add", {"word": "(x+x+)+y|(a+)+$", "expression": True}, "takes too long"),
        ("words add", {"word": "listed"}, "blocked already"),
        ("words remove", {"word": "unlisted"}, "not blocked"),
    ],
)
async def test_moderation_explains_invalid_options(server, manager, command, options, words):
    await said(manager, server, "words add", word="listed")
    assert words in await said(manager, server, command, **options)


async def test_moderation_ignores_a_forged_rule(server, manager):
    flagged = {"name": "flagged", "type": 3, "value": "forgive"}
    data = {"id": "1", "name": "moderation", "type": 1, "options": [{"name": "rule", "type": 1, "options": [flagged]}]}
    assert "type it again" in private_text(await manager._dispatch_interaction(2, server.channel, data))
    assert server.service.preference_store.get(Scope.SERVER, server.guild.id) == Preferences()


async def test_words_add_limits_the_number_of_rules(server, manager, monkeypatch):
    monkeypatch.setattr(sys.modules["cogs.moderation.cog"], "MAX_RULES", 1)
    await said(manager, server, "words add", word="one")
    assert "remove one" in await said(manager, server, "words add", word="two")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("words add", {"word": "fox"}),
        ("words remove", {"word": "fox"}),
        ("words list", {}),
        ("test", {"text": "fox"}),
        ("channel", {}),
        ("rule", {"flagged": "allow"}),
    ],
)
async def test_moderation_needs_manage_server_despite_overrides(server, command, options):
    (group,) = [command for command in await server.env.bot.tree.fetch_commands() if command.name == "moderation"]
    assert group.default_member_permissions.manage_guild
    server.guild.set_command_permissions(group, {server.alice: True})
    assert await said(server.alice, server, command, **options) == "You need the permission Manage Server to do that."
    assert server.service.preference_store.get(Scope.SERVER, server.guild.id) == Preferences()
    assert await server.alice.autocomplete(server.channel, "moderation words remove", "word", "fo") == []


async def test_moderation_rule_shows_and_changes_the_action(server, manager):
    before = await said(manager, server, "rule")
    assert "no channel is set for reviews, so they are not shown" in before
    assert "**shown as spoilers** in age-restricted channels" in before
    assert "`/moderation channel`" in before and "`SAFETY_MODEL`" in before
    moderators = server.guild.create_text_channel("moderators")
    after = await said(manager, server, "channel", channel=moderators)
    assert "**reviewed by moderators** here" in after and f"<#{moderators.id}>" in after
    changed = await said(manager, server, "rule", flagged="spoiler", age_restricted="allow")
    assert "**shown as spoilers** here" in changed and "**shown as any other** in age-restricted channels" in changed
    kept = server.service.preference_store.get(Scope.SERVER, server.guild.id)
    assert (kept.flagged, kept.flagged_restricted, kept.moderators) == (
        FlaggedAction.SPOILER,
        FlaggedAction.ALLOW,
        moderators.id,
    )
    assert "<#" not in await said(manager, server, "channel")


async def test_moderation_channel_needs_permissions_of_the_bot(server, manager):
    nobody = discord.PermissionOverwrite(send_messages=False, attach_files=False)
    closed = server.guild.create_text_channel("closed", overwrites={server.guild.default_role: nobody})
    answer = await said(manager, server, "channel", channel=closed)
    assert answer.startswith(f"I need the permissions View Channel, Send Messages and Attach Files in <#{closed.id}>.")


@pytest.mark.parametrize("form", [{"morph_to": "a red fox", "count": 2}, {"branches": ((1, "a red fox"),)}])
async def test_blocked_words_apply_to_branches_and_morphs(server, manager, form):
    await said(manager, server, "words add", word="fox")
    request = ImageRequest("an apple", width=32, height=32, steps=2, **form)
    place = {"guild_id": server.guild.id, "channel_id": 1, "channel": None, "locale": None, "guild_locale": None}
    user = SimpleNamespace(id=1, roles=[])
    interaction = SimpleNamespace(client=server.env.bot, user=user, extras={}, **place)
    with pytest.raises(NotAllowedError, match="“fox”"):
        async with server.service.rules.admit(Context.of(interaction), request, lambda request: request.prompts):
            pass


async def test_blocked_words_do_not_apply_to_the_negative_prompt_of_a_style(server, manager):
    server.service.builder.custom_styles = {"Oil": Style("{prompt} in oil", "photo, gore"), "Plain": Style("{prompt}, plain")}
    await said(manager, server, "words add", word="gore")
    made = await server.alice.slash(server.channel, "imagine", prompt="an apple", style="Oil", negative="text", steps=2)
    await server.until_finished(made.response)
    typed = ("gore", "gore, photo", "photo, gore, gore", "text, gore", "photo, gore​")
    for negative in typed:
        assert "“gore”" in await refused(server, prompt="an apple", style="Oil", negative=negative)
    assert "“gore”" in await refused(server, prompt="an apple", style="Plain", negative="gore")
