"""Save the README's pictures of the preview: ``python -m benchmarks.tour cogs``.

A newcomer goes through the page; each picture shows one message or form. It needs Chromium and some minutes.
"""

import argparse
import asyncio
import io
from pathlib import Path
from typing import Any

from PIL import Image

from cogs.core.simulator.page import command, opened, served

PAGE_OPTIONS = {"viewport": {"width": 660, "height": 1300}, "device_scale_factor": 1.5}
PAGE_TIMEOUT_SECONDS = 600.0  # enough for slow machines
WEBP_QUALITY = 90
FIRST_PROMPT = "grinning cat wearing sunglasses"
SECOND_PROMPT = "bear wearing sunglasses"
GRID_BUTTON = "U1"  # below finished pictures
THIRD_PROMPT = "panda wearing sunglasses"


class Newcomer:
    """A member who uses the page and saves pictures of it below ``folder``."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.form = page.locator(".modal-dialog")

    async def type(self, name: str, text: str = "", choose_option: bool = False) -> None:
        """Use a command with ``text``, or with the first choice offered for ``text``."""
        await command(self.page, name)
        await self.page.keyboard.type(text, delay=20)
        if choose_option:
            await self.page.get_by_role("option").filter(has_text=text).first.click()
        await self.page.locator("#send-message").click()
        await self.page.locator("#channel-composer-input").wait_for()  # the page shows it again once the command was sent

    async def find_message(self, text: str, button: str = "") -> Any:
        """Wait for and return the newest message with ``text`` and ``button``, if given."""
        messages = self.page.locator("article.channel-message").filter(has_text=text)
        messages = messages.filter(has=self.page.get_by_role("button", name=button)) if button else messages
        number = await messages.last.get_attribute("data-message-id")
        return self.page.locator(f'article[data-message-id="{number}"]')

    async def choose(self, message: Any, option: str) -> None:
        """Choose an ``option`` of the select in ``message``."""
        await message.get_by_role("combobox").click()
        await self.page.get_by_role("option", name=option).click()

    async def submit(self, prompt: str) -> None:
        """Submit the open form with another prompt and wait for its pictures."""
        await self.form.get_by_role("textbox").first.fill(prompt)
        await self.form.get_by_role("button", name="Submit").click()
        await self.find_message(prompt, GRID_BUTTON)

    async def take_picture(self, name: str, element: Any) -> None:
        """Save a picture of ``element`` as ``name``, once its own pictures are loaded."""
        await element.wait_for()
        async with asyncio.timeout(PAGE_TIMEOUT_SECONDS):
            while not await element.evaluate("it => [...it.querySelectorAll('img')].every(image => image.naturalWidth)"):
                await asyncio.sleep(0.1)
        await self.page.evaluate("() => document.activeElement?.blur()")
        await self.page.mouse.move(0, 0)
        await element.scroll_into_view_if_needed()
        await asyncio.sleep(1)  # lets highlights and animations end
        with Image.open(io.BytesIO(await element.screenshot())) as image:
            image.convert("RGB").save(self.folder / f"{name}.webp", quality=WEBP_QUALITY, method=6)


async def take_tour(newcomer: Newcomer) -> None:
    """Use the main commands and save a picture of each."""
    page = newcomer.page
    form = newcomer.form
    await newcomer.type("imagine", f"{FIRST_PROMPT} --repeat 4 --seed 1")
    first = await newcomer.find_message(FIRST_PROMPT, GRID_BUTTON)
    await newcomer.take_picture("preview", first)

    await newcomer.choose(first, "Info")
    await newcomer.take_picture("tour/info", await newcomer.find_message("To the message"))

    await first.get_by_role("button", name="✏️").click()
    await newcomer.take_picture("tour/edit", form)
    await newcomer.submit(SECOND_PROMPT)

    await newcomer.choose(first, "How it formed")
    animation = await newcomer.find_message("Branch from step")
    await newcomer.take_picture("tour/timelapse", animation)
    await newcomer.choose(animation, "After step 4")
    await newcomer.submit(THIRD_PROMPT)

    await newcomer.choose(first, "Make emoji")
    await (await newcomer.find_message("for which picture?")).get_by_role("button", name="1").click()
    await newcomer.take_picture("tour/emoji", await newcomer.find_message("This is how your emoji will look"))

    await newcomer.type("history")
    await newcomer.take_picture("tour/history", await newcomer.find_message("Show one"))
    await newcomer.type("tree", THIRD_PROMPT, choose_option=True)
    await newcomer.take_picture("tour/tree", await newcomer.find_message("├"))
    await newcomer.type("settings mine")
    await newcomer.take_picture("tour/settings", await newcomer.find_message("Your settings"))

    await page.get_by_label("Viewing as").select_option(label="guest")
    for prompt in ("red apple", "sunflower"):
        await newcomer.type("imagine", f"{prompt} --repeat 4 --steps 150")
    await page.get_by_label("Viewing as").select_option(label="you")
    for prompt in ("ghost", "hamburger", "red heart"):
        await newcomer.type("imagine", f"{prompt} --repeat 4 --steps 150")
    await newcomer.type("queue")
    await newcomer.take_picture("tour/queue", await newcomer.find_message("done", "Refresh"))


async def main() -> None:
    """Save the pictures in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for the pictures")
    folder = parser.parse_args().folder
    (folder / "tour").mkdir(parents=True, exist_ok=True)
    async with served(PAGE_TIMEOUT_SECONDS) as url, opened(url, PAGE_TIMEOUT_SECONDS, **PAGE_OPTIONS) as page:
        await take_tour(Newcomer(page, folder))


if __name__ == "__main__":
    asyncio.run(main())
