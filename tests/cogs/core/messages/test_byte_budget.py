import asyncio

import pytest
from PIL import Image

from cogs.core.messages import attachments, byte_budget
from cogs.core.messages.byte_budget import ByteBudget
from diffusion.errors import InvalidImageError
from tests.support.messages import png
from tests.support.waiting import until


async def test_reserve_waits_until_bytes_are_given_back():
    budget = ByteBudget(100)
    entered = []

    async def use(name):
        async with budget.reserve(60):
            entered.append(name)

    async with budget.reserve(60):
        waiting = [asyncio.ensure_future(use(name)) for name in "abc"]
        await asyncio.sleep(3 * byte_budget.POLL_SECONDS)
        assert entered == [] and budget.held == 60
    await asyncio.gather(*waiting)
    assert entered == ["a", "b", "c"] and budget.held == 0


async def test_reserve_gives_up_its_place_when_cancelled():
    budget = ByteBudget(100)
    async with budget.reserve(100):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), budget.reserve(1):
                pass
    async with asyncio.timeout(5), budget.reserve(100):
        assert budget.held == 100
    assert budget.held == 0


async def test_reserve_allows_more_than_all_to_one_alone():
    budget = ByteBudget(100)
    async with asyncio.timeout(5), budget.reserve(200):
        assert budget.held == 200


def test_hold_counts_an_image_while_it_lives():
    budget = ByteBudget()
    image = Image.new("RGB", (10, 10))
    budget.hold(image)
    assert budget.held == 300
    del image
    assert budget.held == 0


async def test_fetch_picture_refuses_while_others_hold_all_bytes(monkeypatch):
    async def read(most):
        return png()

    monkeypatch.setattr(attachments, "PICTURE_BYTES", ByteBudget(1000))
    monkeypatch.setattr(attachments, "WAIT_SECONDS", 0.05)
    file = attachments.PostedFile("in.png", "", 600, read)
    async with attachments.PICTURE_BYTES.reserve(600):
        with pytest.raises(InvalidImageError, match="in a minute"):
            await attachments.fetch_picture(file)


async def test_fetch_picture_counts_the_decoded_pixels(monkeypatch):
    async def read(most):
        return png((20, 10))

    budget = ByteBudget()
    monkeypatch.setattr(attachments, "PICTURE_BYTES", budget)
    picture = await attachments.fetch_picture(attachments.PostedFile("in.png", "", 0, read))
    assert budget.held == 20 * 10 * 3
    del picture
    await until(lambda: budget.held == 0)
