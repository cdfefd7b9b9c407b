"""Pictures that no command may start from: each command says so in a private sentence, and draws nothing."""

import discord
import pytest
from sqlalchemy import func, select, update

from cogs.core.generation.source import UNKNOWN_ID
from cogs.core.request.preferences import Preferences, Scope
from cogs.core.storage.creations import Creation, State
from tests.support.jobs import row_of
from tests.support.links import allow_simulated_links
from tests.support.messages import png, text_of
from tests.support.results import made

FILE = ("in.png", png())
FROM_LINK = {
    "similar": lambda link: {"link": link, "prompt": "a pear", "steps": 2},
    "inpaint": lambda link: {"link": link, "region": "left", "prompt": "a pear", "steps": 2},
    "outpaint": lambda link: {"link": link, "direction": "left", "prompt": "a pear", "steps": 2},
    "blend": lambda link: {"links": link, "image1": FILE, "steps": 2},
    "morph": lambda link: {"from_link": link, "to_picture": FILE, "frames": 2, "steps": 2},
    "describe": lambda link: {"link": link},
}


@pytest.fixture(autouse=True)
def simulated_links(monkeypatch):
    allow_simulated_links(monkeypatch)


async def posted(server, channel=None):
    """A message of alice with a picture, and the link to it."""
    message = await server.alice.send(channel or server.channel, "look", attachments=[FILE])
    return message, f"https://discord.com/channels/{server.guild.id}/{message.channel.id}/{message.id}"


async def another_host(server):
    return "https://evil.example/in.png"


async def no_link(server):
    return "a red fox"


async def of_another_server(server):
    return "https://discord.com/channels/9/8/7"


async def deleted_message(server):
    message, link = await posted(server)
    await message.delete()
    return link


async def hidden_channel(server):
    overwrites = {server.bob: discord.PermissionOverwrite(view_channel=False)}
    return (await posted(server, server.guild.create_text_channel("hidden", overwrites=overwrites)))[1]


async def message_without_a_picture(server):
    message = await server.alice.send(server.channel, "words")
    return f"https://discord.com/channels/{server.guild.id}/{server.channel.id}/{message.id}"


async def private_picture(server):
    return (await row_of(server, await made(server, private=True))).short_id


async def pruned_picture(server):
    row = await row_of(server, await made(server))
    for file in server.service.image_store.folder.rglob("*.png"):
        file.unlink()
    return row.short_id


async def picture_not_to_be_remixed(server):
    row = await row_of(server, await made(server))
    await server.service.preference_store.set(Scope.MEMBER, server.alice.id, Preferences(remix=False))
    return row.short_id


async def flagged_picture_of_an_age_restricted_channel(server):
    row = await row_of(server, await made(server))
    async with server.service.database.transaction("") as session:
        values = {"flags": {"nude": 0.9}, "age_restricted": True}
        await session.execute(update(Creation).where(Creation.id == row.id).values(**values))
    return row.short_id


SOURCES = {
    another_host: "only links to pictures and messages on Discord",
    no_link: "only links to pictures",
    of_another_server: "you cannot see it",
    deleted_message: "you cannot see it",
    hidden_channel: "you cannot see it",
    message_without_a_picture: "no picture",
    private_picture: UNKNOWN_ID,
    pruned_picture: "have been deleted",
    picture_not_to_be_remixed: "does not allow",
    flagged_picture_of_an_age_restricted_channel: "age-restricted channel",
}


async def drawn(server):
    """How many requests did not fail at once."""
    async with server.service.database.reading("") as session:
        return await session.scalar(select(func.count()).select_from(Creation).where(Creation.state != State.FAILED))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
async def test_no_command_starts_from_it(server, source):
    link = await source(server)
    before = await drawn(server)
    for command, options in FROM_LINK.items():
        result = await server.bob.slash(server.channel, command, **options(link))
        await server.until_idle()
        answers = [answer for answer in (result.response, *result.followups) if answer is not None]
        assert len(answers) == 1 and answers[0].ephemeral and SOURCES[source] in text_of(answers[0]), command
    assert await drawn(server) == before
