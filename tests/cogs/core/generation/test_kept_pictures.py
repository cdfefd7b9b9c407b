import discord
import pytest

from cogs.core.policy.limits import MemberLimits
from tests.support.messages import pictures_of, text_of
from tests.support.review import ask, flag_all, set_rules
from tests.support.server import add_moderator, open_server


@pytest.fixture
def drawn(server, monkeypatch):
    """The prompts that the engine has drawn."""
    prompts = []
    submit = server.engine.submit

    def count(request, *args, **options):
        prompts.append(request.prompt)
        return submit(request, *args, **options)

    monkeypatch.setattr(server.engine, "submit", count)
    return prompts


async def row_of(server, message):
    return await server.service.creation_store.get_by_message(message.id)


async def test_same_request_and_seed_is_the_same_file(server, drawn):
    first = await ask(server)
    second = await ask(server)
    assert drawn == ["red apple"]
    assert await pictures_of(second)[0].read() == await pictures_of(first)[0].read()
    old, new = await row_of(server, first), await row_of(server, second)
    assert (new.pictures, new.timelapse, new.model) == (old.pictures, old.timelapse, old.model)


async def test_other_members_get_a_public_picture(server, drawn):
    await ask(server)
    assert pictures_of(await ask(server, server.bob))
    assert len(drawn) == 1


async def test_private_picture_is_for_its_member_alone(server, drawn):
    await ask(server, private=True)
    await ask(server)
    assert len(drawn) == 1
    await ask(server, private=True, seed=6)
    await ask(server, server.bob, seed=6)
    assert len(drawn) == 3


async def test_picture_in_a_channel_that_the_member_cannot_read_is_not_used(server, drawn):
    nobody = discord.PermissionOverwrite(view_channel=False)
    hidden = server.guild.create_text_channel("hidden", overwrites={server.bob: nobody})
    await ask(server, channel=hidden)
    await ask(server, server.bob)
    assert len(drawn) == 2


async def test_deleted_picture_is_not_used(server, drawn):
    message = await ask(server)
    await add_moderator(server).delete(message)
    await server.until_idle()
    await ask(server)
    assert len(drawn) == 2


async def test_forgotten_pictures_and_those_of_another_backend_are_drawn_again(server, drawn, monkeypatch):
    await ask(server)
    for forget in server.service.forgetters:
        forget(server.alice.id)
    await ask(server)
    assert len(drawn) == 2
    monkeypatch.setattr(server.engine.model, "revision", 1)
    await ask(server)
    assert len(drawn) == 3


async def test_other_requests_are_drawn(server, drawn):
    await ask(server)
    changes = ({"seed": 6}, {"prompt": "blue apple"}, {"steps": 3}, {"size": "64x32"}, {"count": 2})
    for change in changes:
        await ask(server, **change)
    assert len(drawn) == 1 + len(changes)


async def test_kept_picture_takes_nothing_of_the_allowance_but_obeys_the_rules(server, drawn):
    server.service.rules.limits = MemberLimits(daily=1)
    await ask(server)
    again = await ask(server)
    assert pictures_of(again) and (await row_of(server, again)).counted == 0
    assert len(drawn) == 1
    await set_rules(server, words=["apple"])
    assert "do not allow" in text_of(await ask(server))


async def test_flagged_picture_is_drawn_and_screened_again(tiny_model):
    async with open_server(tiny_model, check=flag_all) as server:
        await ask(server)
        await ask(server)
        assert not server.service.runner.kept_pictures
