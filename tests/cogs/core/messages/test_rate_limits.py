"""A Discord that limits rates, drops connections and is slow, over real HTTP: nothing is lost, nothing is posted twice."""

import asyncio

from cogs.core.simulator.loopback import LoopbackDiscord
from cogs.core.simulator.rate_limits import RateLimits
from tests.support.bot_process import END_SECONDS, count_deliveries, start_bot, states_in_database, until_all_delivered
from tests.support.messages import png


async def answered(interaction):
    async with asyncio.timeout(END_SECONDS):
        while not interaction.responded:
            await asyncio.sleep(0.02)


async def settled(folder):
    async with asyncio.timeout(END_SECONDS):
        while set(states_in_database(folder).values()) != {"delivered"}:
            await asyncio.sleep(0.1)


async def test_rate_limited_bot_posts_every_picture_once(tmp_path):
    async with LoopbackDiscord() as wire, start_bot(wire, tmp_path):
        wire.limits = RateLimits(most=3, seconds=1.0, unforeseen=4)
        asked = [await wire.ask(wire.members[number % 3], "apple", steps=20 + 10 * number, seed=number) for number in range(12)]
        await asyncio.gather(*map(answered, asked))
        await until_all_delivered(wire)
        await settled(tmp_path)
        edits = sum(request.method == "PATCH" for request in wire.backend.http_requests)
        print(f"\n{wire.limits.refused} requests refused with 429, {edits} edits carried out, {len(wire.posted)} with pictures")
    assert wire.limits.refused >= 6
    assert set(count_deliveries(wire).values()) == {1} and len(wire.posted) == len(asked) == len(count_deliveries(wire))
    assert "Traceback" not in (tmp_path / "bot.log").read_text()


async def test_job_survives_a_lost_gateway_connection(tmp_path):
    async with LoopbackDiscord() as wire, start_bot(wire, tmp_path):
        running = await wire.ask(wire.members[0], "red apple", steps=150, count=4)
        await answered(running)
        await wire.disconnect()
        async with asyncio.timeout(END_SECONDS):
            await wire.ready.wait()
        await answered(await wire.ask(wire.members[1], "green apple", steps=2))
        await until_all_delivered(wire)
        await settled(tmp_path)
    assert set(count_deliveries(wire).values()) == {1} and len(wire.posted) == len(wire.asked) == 2
    assert wire.backend.get_message(wire.channel.id, running.message_id).attachments


class SlowDiscord(LoopbackDiscord):
    """Its files come once they may."""

    async def _cdn(self, request):
        await self.files.wait()
        return await super()._cdn(request)


async def test_member_limit_counts_requests_being_downloaded(tmp_path):
    async with SlowDiscord() as wire, start_bot(wire, tmp_path):
        wire.files = asyncio.Event()
        flooder, other = wire.members[:2]
        flood = [await wire.slash(flooder, wire.channel, "similar", image=png(), steps=2) for _ in range(7)]
        await asyncio.gather(*map(answered, flood))
        modest = await wire.slash(other, wire.channel, "similar", image=png(), steps=2)
        await answered(modest)
        refused = [wire.backend.get_message(wire.channel.id, asked.message_id).content for asked in flood[5:]]
        assert all("the most that one member may have" in sentence for sentence in refused)
        wire.files.set()
        async with asyncio.timeout(END_SECONDS):
            while count_deliveries(wire).keys() != {asked.id for asked in (*flood[:5], modest)}:
                await asyncio.sleep(0.1)
