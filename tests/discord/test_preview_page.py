"""The preview as a person uses it: the page of `python bot.py preview` in a real browser, with the embedded model."""

import asyncio
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.discord.conftest import png

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-quic"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, such as Debian's package of that name")


@pytest.fixture
async def url(monkeypatch):
    """The address that the program prints."""
    monkeypatch.setenv("PREVIEW_PORT", "0")
    program = await asyncio.create_subprocess_exec(
        sys.executable, "bot.py", "preview", cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(120):
            while not (found := re.search(rb"http://127\.0\.0\.1:\S+", await program.stdout.readline())):
                assert program.returncode is None and not program.stdout.at_eof()
        yield found[0].decode()
    finally:
        program.terminate()
        _, errors = await program.communicate()
    assert errors == b""  # start-up and use are quiet


@pytest.fixture
async def page(url):
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport={"width": 1000, "height": 760})
        page.set_default_timeout(20_000)
        await page.goto(url)
        async with asyncio.timeout(30):
            # The page forbids `wait_for_function` to compile code.
            while not await page.evaluate("() => Boolean(window.simcordPreview?.ready)"):
                await asyncio.sleep(0.1)
        yield page
        await browser.close()


async def command(page, name):
    await page.locator("#channel-composer-input").click()
    await page.keyboard.type(f"/{name}", delay=20)
    await page.get_by_text(f"/{name}", exact=True).first.wait_for()
    await asyncio.sleep(0.5)
    await page.keyboard.press("Enter")
    await asyncio.sleep(0.5)


async def test_newcomers_are_told_what_to_type(page):
    for words in ("/imagine prompt: red apple", "tells this again", "This is a small model", "set MODEL_ID to"):
        await page.get_by_text(words).first.wait_for()


async def test_imagine_and_similar_with_an_upload(page, tmp_path):
    await command(page, "imagine")
    await page.keyboard.type("red apple", delay=20)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Reroll").wait_for()
    picture = page.get_by_role("img", name="red apple")
    async with asyncio.timeout(10):
        while await picture.evaluate("image => image.naturalWidth") != 256:  # until it has been loaded
            await asyncio.sleep(0.1)

    (tmp_path / "own.png").write_bytes(png())
    await command(page, "similar")
    await page.get_by_label("image attachment").set_input_files(tmp_path / "own.png")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_role("img", name="The picture this was started from").wait_for()
    assert await page.get_by_role("button", name="Reroll").count() == 2
