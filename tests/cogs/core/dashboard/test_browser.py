"""The dashboard of the real bot, as an operator uses it in Chromium."""

import contextlib

import pytest

from cogs.core.config import Config
from cogs.core.dashboard.opening import open_dashboard
from cogs.core.simulator.page import CHROMIUM, FLAGS
from tests.support.dashboard import EVIL
from tests.support.jobs import row_of
from tests.support.waiting import WAIT_SECONDS, until

PHONE = {"width": 420, "height": 800}
REFRESH_MILLISECONDS = 5000


@contextlib.asynccontextmanager
async def opened(url):
    """Open ``url`` in Chromium; yield the page and what its console said."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(1000 * WAIT_SECONDS)
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.clock.install()  # so that nobody waits for the next refresh
        await page.goto(url)
        yield page, said
        await browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, such as Debian's package of that name")
async def test_operator_watches_a_request_until_it_is_finished(server, capsys):
    server.env.bot.get_guild(server.guild.id).name = EVIL
    server.engine.pause()
    asked = await server.alice.slash(server.channel, "imagine", prompt="a secret cow", steps=2)
    row = await row_of(server, asked.response)
    async with open_dashboard(server.service, Config(_env_file=None, dashboard_port=0)):
        words = capsys.readouterr().out.split()
        url, token = words[1], words[-1]
        async with opened(url) as (page, said):
            await page.get_by_label("Token").fill("a wrong one")
            await page.keyboard.press("Enter")
            await page.get_by_text("This token is wrong").wait_for()
            await page.get_by_label("Token").fill(token)
            await page.get_by_role("button", name="Open the dashboard").click()

            line = page.get_by_role("row").filter(has_text=row.short_id)
            await line.get_by_text(EVIL).wait_for()  # as text
            await line.get_by_text("waits").wait_for()
            await page.get_by_text("paused").wait_for()
            assert "cow" not in await page.content()
            await page.set_viewport_size(PHONE)
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

            server.engine.resume()
            await server.until_finished(asked.response)
            await server.until_idle()

            async def shows_the_end():
                await page.clock.run_for(REFRESH_MILLISECONDS)
                return await page.get_by_text("Nobody is waiting.").count()

            await until(shows_the_end)
            assert [text for text in said if "401" not in text] == []

            await page.get_by_role("button", name="Log out").click()
            await page.get_by_label("Token").wait_for()
