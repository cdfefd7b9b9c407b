"""Drive the page of the simulator in Chromium, for tests and screenshots."""

import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-quic"]


@contextlib.asynccontextmanager
async def served(seconds: float = 120, **settings: str) -> AsyncIterator[str]:
    """Run the program with ``settings`` of the environment, and yield the address that it prints within ``seconds``.

    Fails if the program prints an error.
    """
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "bot.py", "preview"),
        cwd=ROOT,
        env=os.environ | {"SIMULATOR_PORT": "0"} | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert program.stdout
    try:
        async with asyncio.timeout(seconds):
            while not (address := re.search(rb"http://127\.0\.0\.1:\S+", await program.stdout.readline())):
                assert program.returncode is None
                assert not program.stdout.at_eof()
        yield address[0].decode()
    finally:
        program.terminate()
        _, errors = await program.communicate()
    assert errors == b"", errors.decode()


@contextlib.asynccontextmanager
async def opened(url: str, patience: float = 20, **options: Any) -> AsyncIterator[Any]:
    """Open ``url`` in Chromium and yield the page.

    ``options`` are those of the page. Its actions wait up to ``patience`` seconds.
    """
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(**options)
        page.set_default_timeout(1000 * patience)
        await page.goto(url)
        async with asyncio.timeout(1.5 * patience):
            # The page forbids `wait_for_function` to compile code.
            while not await page.evaluate("() => Boolean(window.simcordPreview?.ready)"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield page
        await browser.close()


async def command(page: Any, name: str) -> None:
    """Choose a command; the cursor then is in its first option, if any."""
    builder = page.locator("#channel-composer-input")
    await builder.fill("")
    await builder.press_sequentially(f"/{name}", delay=20)
    await page.get_by_text(f"/{name}", exact=True).first.wait_for()
    await asyncio.sleep(0.5)
    await page.keyboard.press("Enter")
    await asyncio.sleep(0.5)
