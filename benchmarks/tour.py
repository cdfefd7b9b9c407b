"""The README's pictures of the preview, taken anew: ``python -m benchmarks.tour cogs``. It needs Chromium and some minutes.

Goes through the page as a newcomer would. Each picture is cut to the message or form that it is about.
"""

import argparse
import asyncio
import io
from pathlib import Path
from typing import Any

from PIL import Image

from cogs.core.simulator.page import command, opened, served

PAGE = {"viewport": {"width": 660, "height": 1300}, "device_scale_factor": 1.5}
PATIENCE = 600.0  # seconds, for slow machines
QUALITY = 90
FIRST, SECOND, THIRD = "grinning cat wearing sunglasses", "bear wearing sunglasses", "panda wearing sunglasses"


class Visitor:
    """Somebody at the page, with a camera."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.form = page.locator(".modal-dialog")

    async def type(self, name: str, text: str = "", offered: bool = False) -> None:
        """Call a command with ``text`` as its first option, or with what is ``offered`` for that."""
        await command(self.page, name)
        await self.page.keyboard.type(text, delay=20)
        if offered:
            await self.page.get_by_role("option").filter(has_text=text).first.click()
        await self.page.locator("#send-message").click()
        await self.page.locator("#channel-composer-input").wait_for()  # it is back when the command was sent

    async def message(self, text: str, button: str = "") -> Any:
        """Wait for a message that has ``text``, and a ``button`` of that name if need be; give the newest one."""
        found = self.page.locator("article.channel-message").filter(has_text=text)
        found = found.filter(has=self.page.get_by_role("button", name=button)) if button else found
        number = await found.last.get_attribute("data-message-id")
        return self.page.locator(f'article[data-message-id="{number}"]')

    async def choose(self, message: Any, option: str) -> None:
        """Choose an ``option`` of the select under ``message``."""
        await message.get_by_role("combobox").click()
        await self.page.get_by_role("option", name=option).click()

    async def submit(self, prompt: str) -> None:
        """Type another prompt into the form that is open, send it and wait for what comes of it."""
        await self.form.get_by_role("textbox").first.fill(prompt)
        await self.form.get_by_role("button", name="Submit").click()
        await self.message(prompt, "Reroll")

    async def photograph(self, name: str, shown: Any) -> None:
        """Take the picture ``name`` of what is ``shown``, as soon as that has its own pictures."""
        await shown.wait_for()
        async with asyncio.timeout(PATIENCE):
            while not await shown.evaluate("it => [...it.querySelectorAll('img')].every(image => image.naturalWidth)"):
                await asyncio.sleep(0.1)
        await self.page.evaluate("() => document.activeElement?.blur()")
        await self.page.mouse.move(0, 0)
        await shown.scroll_into_view_if_needed()
        await asyncio.sleep(1)  # until nothing is highlighted and nothing moves any more
        with Image.open(io.BytesIO(await shown.screenshot())) as image:
            image.convert("RGB").save(self.folder / f"{name}.webp", quality=QUALITY, method=6)


async def walk(visitor: Visitor) -> None:
    """Go through what the bot does."""
    page, form = visitor.page, visitor.form
    await visitor.type("imagine", f"{FIRST} --repeat 4 --seed 1")
    first = await visitor.message(FIRST, "Reroll")
    await visitor.photograph("preview", first)

    await first.get_by_role("button", name="Info").click()
    await visitor.photograph("tour/info", await visitor.message("To the message"))

    await first.get_by_role("button", name="Edit").click()
    await visitor.photograph("tour/edit", form)
    await visitor.submit(SECOND)

    await first.get_by_role("button", name="How it formed").click()
    film = await visitor.message("Choose one to go on")
    await visitor.photograph("tour/film", film)
    await visitor.choose(film, "After step 4")
    await visitor.submit(THIRD)

    await visitor.choose(first, "Picture 1: make emoji")
    await visitor.photograph("tour/emoji", await visitor.message("This is how your emoji will look"))

    await visitor.type("history")
    await visitor.photograph("tour/history", await visitor.message("Show one"))
    await visitor.type("tree", THIRD, offered=True)
    await visitor.photograph("tour/tree", await visitor.message("├"))
    await visitor.type("settings mine")
    await visitor.photograph("tour/settings", await visitor.message("Your settings"))

    await page.get_by_label("Viewing as").select_option(label="guest")
    for prompt in ("red apple", "sunflower"):
        await visitor.type("imagine", f"{prompt} --repeat 4 --steps 150")
    await page.get_by_label("Viewing as").select_option(label="you")
    for prompt in ("ghost", "hamburger", "red heart"):
        await visitor.type("imagine", f"{prompt} --repeat 4 --steps 150")
    await visitor.type("queue")
    await visitor.photograph("tour/queue", await visitor.message("done", "Refresh"))


async def main() -> None:
    """Read the folder from the command line and fill it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    (folder / "tour").mkdir(parents=True, exist_ok=True)
    async with served(PATIENCE) as url, opened(url, PATIENCE, **PAGE) as page:
        await walk(Visitor(page, folder))


if __name__ == "__main__":
    asyncio.run(main())
