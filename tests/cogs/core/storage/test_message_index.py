"""Deleted messages of others cost no query; those of the bot are always found."""

import random

from cogs.core.storage import message_index
from cogs.core.storage.message_index import MessageIndex


async def test_index_forgets_none_and_takes_few_others_for_known(monkeypatch):
    monkeypatch.setattr(message_index, "BITS", 2**16)
    index = MessageIndex()
    index._is_loaded = True
    ids = random.Random(1).sample(range(2**60), 3000)
    index._add_all(ids[:1000])
    assert all(map(index.may_contain, ids[:1000]))
    assert sum(map(index.may_contain, ids[1000:])) < 20


async def test_unloaded_or_shared_index_excludes_nothing():
    assert MessageIndex().may_contain(1) and MessageIndex(is_shared=True).may_contain(1)


async def test_deleted_message_of_others_costs_no_query(server, monkeypatch):
    result = await server.alice.slash(server.channel, "imagine", prompt="fox", steps=2)
    await server.until_finished(result.response)
    await server.until_idle()
    await server.restart()
    await server.until(lambda: server.service.message_index._is_loaded)
    store = server.service.creation_store
    asked = []
    for module, name in ((store, "forget_messages"), (server.service.review_store, "undecided")):
        monkeypatch.setattr(module, name, counted(getattr(module, name), asked))
    own = result.response.id
    foreign = await server.alice.send(server.channel, "hello")
    channel = server.env.bot.get_partial_messageable(server.channel.id)
    await channel.get_partial_message(foreign.id).delete()
    await channel.get_partial_message(own).delete()
    await server.until(lambda: any(asked))
    assert [arguments for arguments in asked if arguments] == [([own],)]


def counted(call, asked):
    async def count(*arguments, **options):
        asked.append(arguments)
        return await call(*arguments, **options)

    return count
