"""Where the bot is installed and answers. simcord knows no installation by a member alone: these are sent as Discord does."""

import pytest
from simcord import interactions
from simcord.results import InteractionResult

from cogs.core.messages.routes import TOKEN_MINUTES
from tests.support.messages import pictures_of, private_text, text_of

COMMAND = 2
GROUP_DM, PRIVATE_CHANNEL = 3, 2
SERVER, BOT_DM = 0, 1
SERVERS_ALONE = {"admin", "emoji", "gallery", "jam", "moderation", "setup"}


async def installed_by(server, user, name, *, elsewhere=None, **options):
    """Let ``user``, who installed the bot for themselves, give a command in a group chat or in a server ``elsewhere``."""
    backend = server.env.backend
    given = [{"name": option, "type": 3 if isinstance(value, str) else 4, "value": value} for option, value in options.items()]
    data = {"id": "1", "name": name, "type": 1, "options": given}
    record, payload = interactions.base_payload(
        backend, type=COMMAND, channel_id=user.dm_channel.id, guild_id=None, user_id=user.id, data=data
    )
    payload |= {"context": PRIVATE_CHANNEL, "authorizing_integration_owners": {"1": str(user.id)}}
    payload["channel"] |= {"type": GROUP_DM}
    if elsewhere:
        member = {
            "user": payload.pop("user"),
            "roles": [],
            "joined_at": "2020-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
        }
        payload |= {"context": SERVER, "guild_id": str(elsewhere), "member": member | {"permissions": "2048", "flags": 0}}
        payload |= {"guild": {"id": str(elsewhere), "features": [], "locale": "en-US"}, "guild_locale": "en-US"}
        payload["channel"] |= {"type": 0, "guild_id": str(elsewhere), "name": "art", "position": 0}
    backend.emit("INTERACTION_CREATE", payload)
    await server.env._settle_internal(dispatch="INTERACTION_CREATE")
    return InteractionResult(server.env, record)


def asked_as_a_bot(server, channel_id):
    """The requests that only somebody who is in the channel may send."""
    return [request.path for request in server.env.http_requests if f"/channels/{channel_id}" in request.path]


@pytest.mark.parametrize("elsewhere", [None, 1234567890])
async def test_user_install_replies_by_token_alone(server, elsewhere):
    carol = server.env.create_user("carol")
    result = await installed_by(server, carol, "imagine", elsewhere=elsewhere, prompt="red apple", steps=3)
    assert any(f"{TOKEN_MINUTES} minutes only" in str(request.json) for request in server.env.http_requests)
    await server.until_finished(result.response)
    await server.until_idle()
    assert len(pictures_of(result.response)) == 1 and "red apple" in text_of(result.response)
    assert asked_as_a_bot(server, carol.dm_channel.id) == []


@pytest.mark.parametrize("elsewhere", [None, 1234567890])
async def test_queue_works_for_a_user_install(server, elsewhere):
    carol = server.env.create_user("carol")
    assert "Nobody is waiting" in private_text(await installed_by(server, carol, "queue", elsewhere=elsewhere))


def test_commands_are_offered_in_their_contexts(server):
    commands = server.env.bot.tree._get_all_commands(guild=None)
    assert {"imagine", "similar", "queue", "More like this", "Image info", "Remix avatar"} <= {
        command.name for command in commands
    }
    for command in commands:
        payload = command.to_dict(server.env.bot.tree)
        everywhere = ([SERVER, BOT_DM, PRIVATE_CHANNEL], [0, 1])
        expected = ([SERVER], [0]) if command.name in SERVERS_ALONE else everywhere
        assert (payload["contexts"], payload["integration_types"]) == expected, command.name
