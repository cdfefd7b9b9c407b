"""The preview as a person uses it: the page of `python bot.py preview` in a real browser, with the embedded model."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

import bot
from cogs.core.config import Config
from cogs.core.simulator.browser import REDRAW_SECONDS, _follow_clock
from cogs.core.simulator.page import CHROMIUM, command, opened, served
from diffusion.errors import DarkroomError
from tests.support.messages import png
from tests.support.waiting import WAIT_SECONDS

on_one_page = pytest.mark.asyncio(loop_scope="module")  # program and browser take seconds to start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page():
    if CHROMIUM is None:
        pytest.skip("needs Chromium, such as Debian's package of that name")
    async with served() as url, opened(url, viewport={"width": 1000, "height": 760}) as page:
        yield page


async def test_clock_continues_after_a_timeout(server, monkeypatch):
    advance, tries, refreshed = server.env.advance_time, [], asyncio.Event()

    async def advance_time(seconds):
        tries.append(seconds)
        if len(tries) == 1:
            raise TimeoutError
        await advance(seconds)

    class Page:
        async def refresh(self):
            refreshed.set()

    monkeypatch.setattr(server.env, "advance_time", advance_time)
    pump = asyncio.create_task(_follow_clock(server.env, Page(), asyncio.Lock()))
    await asyncio.wait_for(refreshed.wait(), 30)
    pump.cancel()
    assert abs(datetime.now(UTC) - server.env.now()) < timedelta(seconds=30)  # and its clock is right


async def test_simulator_uses_its_own_database_and_folder(monkeypatch, tmp_path):
    given = []

    @contextlib.asynccontextmanager
    async def open_service(settings, folder):
        given.extend((settings.database_url, settings.pictures_url, folder))
        raise DarkroomError("seen enough")
        yield

    monkeypatch.setattr(bot, "open_service", open_service)
    real = {"database_url": "postgresql+asyncpg://real/journal", "pictures_url": "s3://real", "data_dir": tmp_path}
    with pytest.raises(DarkroomError, match="seen enough"):
        await bot.run_simulator(Config(_env_file=None, **real))
    assert given == [None, None, tmp_path / "preview"]


@on_one_page
async def test_page_tells_newcomers_what_to_type(page):
    for words in ("I draw pictures from words", "This is a small model", "say what you want", "shows what else there is"):
        await page.get_by_text(words).first.wait_for()


@on_one_page
async def test_button_that_is_pressed_while_the_page_is_redrawn_works(page):
    await command(page, "imagine")
    await page.keyboard.type("red apple --steps 150 --sampler heun --repeat 4", delay=20)
    await page.keyboard.press("Enter")
    cancel = page.get_by_role("button", name="Cancel", disabled=False).first  # not while the page sends what was typed
    await cancel.wait_for()
    await cancel.hover()
    await cancel.wait_for()
    await page.mouse.down()
    await asyncio.sleep(REDRAW_SECONDS + 1)
    await page.mouse.up()
    await page.get_by_text("Cancelled.").first.wait_for()


@on_one_page
async def test_page_runs_imagine_and_similar_with_an_upload(page, tmp_path):
    await command(page, "imagine")
    await page.keyboard.type("red apple", delay=20)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Reroll").wait_for()
    picture = page.get_by_role("img", name="red apple", exact=True)  # the greeting shows one beside others
    async with asyncio.timeout(WAIT_SECONDS):
        while await picture.evaluate("image => image.naturalWidth") != 256:  # until it has been loaded
            await asyncio.sleep(0.1)

    (tmp_path / "own.png").write_bytes(png())
    await command(page, "similar")
    await page.get_by_role("option").filter(has_text="image").first.click()
    await page.get_by_label("image attachment").set_input_files(tmp_path / "own.png")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_role("img", name="The picture this was started from").wait_for()
    assert await page.get_by_role("button", name="Reroll").count() == 2
