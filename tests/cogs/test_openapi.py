"""What the bot sends is what Discord's published OpenAPI description takes. ``--openapi PATH`` names its openapi.json.

With the option, all other tests of commands hold their requests against it, too.
"""

import discord
import pytest
from discord import app_commands

from cogs.core.i18n.catalogues import LANGUAGE_BY_LOCALE
from cogs.core.request.preferences import Preferences, Scope
from tests.support.crawl import Crawl
from tests.support.openapi import Description
from tests.support.results import made

DESCRIPTION = {
    "components": {"schemas": {"SnowflakeType": {"type": "string"}}},
    "paths": {
        "/channels/{channel_id}/messages/{message_id}": {"delete": {}, "patch": {}},
        "/channels/{channel_id}/messages/pins": {"get": {}},
    },
}
MESSAGE = {
    "type": "object",
    "properties": {"id": {"$ref": "#/components/schemas/SnowflakeType"}, "content": {"type": "string", "maxLength": 5}},
}
DESCRIPTION["paths"]["/channels/{channel_id}/messages/{message_id}"]["patch"] = {
    "requestBody": {"content": {"multipart/form-data": {"schema": {}}, "application/json": {"schema": MESSAGE}}}
}


@pytest.mark.parametrize(
    ("method", "path", "body", "fault"),
    [
        ("PATCH", "/channels/1/messages/2", {"content": "fox", "id": 7}, None),
        ("PATCH", "/channels/1/messages/2", {"content": "red fox"}, "$.content: 'red fox' is too long"),
        ("GET", "/channels/1/messages/pins", None, None),
        ("GET", "/channels/1/messages/2", None, "no such route"),
        ("DELETE", "/channels/1/messages/2", {}, "takes no body"),
    ],
)
def test_description_finds_what_discord_does_not_take(method, path, body, fault):
    found = Description(DESCRIPTION).fault(method, path, body)
    assert found is None if fault is None else fault in found


LANGUAGES = ("en", *sorted(set(LANGUAGE_BY_LOCALE.values()) - {"en"}))
# Each is given with two pictures first, and with these.
# Each command is given with what it requires, and these besides.
OPTIONS = [
    ("imagine", {"prompt": "{red|blue} apple", "count": 2}),
    ("imagine", {"prompt": "red apple --seed many", "size": "wide"}),
    ("similar", {"similarity": 0.5, "start_step": 2, "prompt": "a pear ::2"}),
    ("presets use", {"name": "mine"}),
    ("presets suffix", {"text": "oil painting"}),
    ("blend", {}),
]
# What is shown in states that this does not bring about: flagged pictures, several pages, a queue, a vote, an upscaler.
UNSEEN = (
    "darkroom:review:",
    "darkroom:favourites:",
    "darkroom:gallery:page:",
    "darkroom:queue:cancel",
    "darkroom:jam:vote:",
    "enlarge",
)
UNSEEN += ("darkroom:pictures:",)  # under messages of earlier versions


@pytest.fixture
def recorded(requests):
    if requests is None:
        pytest.skip("--openapi names no description")
    return requests


@pytest.fixture
async def chief(steerable_server):
    """May do everything in the server, and is the bot's operator."""
    role = steerable_server.guild.create_role("chiefs", permissions=discord.Permissions.all())
    chief = steerable_server.guild.add_member(steerable_server.env.create_user("chief"), roles=[role])
    steerable_server.env.bot.owner_id = chief.id
    return chief


@pytest.mark.parametrize("language", LANGUAGES)
async def test_all_that_the_bot_sends_fits_the_description(recorded, steerable_server, chief, description, language):
    server = steerable_server
    preferred = Preferences(language=language, starboard=server.channel.id, star_threshold=1)
    for scope, place in ((Scope.SERVER, server.guild.id), (Scope.MEMBER, chief.id)):
        await server.service.preference_store.set(scope, place, preferred)
    crawl = Crawl(server, chief)
    walked = server.env.bot.tree.walk_commands()
    commands = {each.qualified_name: each for each in walked if isinstance(each, app_commands.Command)}
    message = await made(server, member=chief)
    for emoji in ("⭐", "✉️"):
        await chief.react(message, emoji)
    for menu in ("More like this", "Describe", "Image info"):
        await crawl.follow(await chief.context_menu(server.channel, menu, message))
    await crawl.follow(await chief.context_menu(server.channel, "Remix avatar", server.alice))
    several = await made(server, member=chief, count=2)
    await crawl.follow(await chief.context_menu(server.channel, "More like this", several))
    for command in (each for name, each in commands.items() if not name.startswith("admin")):
        await crawl.command(command, files=2)
    for name, options in OPTIONS:
        await crawl.command(commands[name], **options)
    for command in (each for name, each in commands.items() if name.startswith("admin")):  # after a drain nothing is drawn
        await crawl.command(command)
    distinct = f"{recorded.count} requests, {len(recorded.requests)} distinct, {len(crawl.used)} things pressed or chosen"
    print("", distinct, *recorded.routes(description), sep="\n")
    assert [each for each in crawl.unused(server.env.bot) if not each.startswith(UNSEEN)] == []
