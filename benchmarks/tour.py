"""Save the README's pictures of the preview: ``python -m benchmarks.tour cogs``.

A newcomer goes through the page; each picture shows one message or form. It needs Chromium and some minutes.
"""

import argparse
import asyncio
import io
import re
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from cogs.core.simulator.page import command, opened, served

PAGE_WIDTH = 660  # pixels, as are the next
PAGE_HEIGHT = 1800  # no message is higher
SCALE = 1.5
BOARD = {"width": 1280, "height": 800}  # the dashboard
PAGE_TIMEOUT_SECONDS = 600.0  # enough for slow machines
WEBP_QUALITY = 90
FIRST_PROMPT = "grinning cat wearing sunglasses"
SECOND_PROMPT = "bear wearing sunglasses"
GRID_BUTTON = "U1"  # below finished pictures
APPLY = "Apply"  # the page's own word
THIRD_PROMPT = "panda wearing sunglasses"
ZOOMED = "Zoom out 2x of picture 1"  # by whom follows
STORY = ("grinning cat", "wearing a top hat")
JAM = {"you": "pancakes", "guest": "croissant"}
ALL_SETTINGS = re.compile("Your settings.*Sampler", re.DOTALL)
JAM_THEME = "breakfast"
HAT_PROMPT = "grinning cat wearing a top hat"
BLEND_PROMPT = "panda bear wearing sunglasses"


class Newcomer:
    """A member who uses the page and saves pictures of it below ``folder``, and what they upload in ``uploads``.

    As the operator, they open the dashboard at the address ``dashboard`` with the ``token``.
    """

    def __init__(self, page: Any, folder: Path, uploads: str, dashboard: str, token: str) -> None:
        self.page = page
        self.folder = folder
        self.uploads = uploads
        self.form = page.locator(".modal-dialog")
        self.member = page.get_by_label("Viewing as")
        self.dashboard = dashboard
        self.token = token
        self.first: Any = None  # the message with the first pictures

    async def type(self, name: str, text: str = "", choose_option: bool = False) -> None:
        """Use a command with ``text``, or with the first choice offered for ``text``."""
        await command(self.page, name)
        await self.page.keyboard.type(text, delay=20)
        if choose_option:
            await self.page.get_by_role("option").filter(has_text=text).first.click()
        await self.page.locator("#send-message").click()
        await self.page.locator("#channel-composer-input").wait_for()  # the page shows it again once the command was sent

    async def find_message(self, text: str | re.Pattern[str], button: str = "") -> Any:
        """Wait for and return the newest message with ``text`` and ``button``, if given."""
        messages = self.page.locator("article.channel-message").filter(has_text=text)
        messages = messages.filter(has=self.page.get_by_role("button", name=button)) if button else messages
        number = await messages.last.get_attribute("data-message-id")
        return self.page.locator(f'article[data-message-id="{number}"]')

    async def choose(self, message: Any, option: str, picture: int = 0) -> None:
        """Choose an ``option`` of the select in ``message``, and then the number of a ``picture`` if asked."""
        wanted = self.page.get_by_role("option", name=option)
        while not await wanted.count():  # the page closes a list when it is redrawn
            await message.get_by_role("combobox").click()
            await asyncio.sleep(0.5)
        await wanted.first.dispatch_event("click")  # the list may reach below the page
        if picture:
            question = await self.find_message(f"{option}: for which picture?", str(picture))
            await question.get_by_role("button", name=str(picture), exact=True).click()

    async def keep(self, message: Any) -> None:
        """Make the pictures of ``message`` a favourite."""
        await self.choose(message, "Favourite")
        await self.find_message("This is one of your favourites now")

    async def save(self, prompt: str) -> Path:
        """Save the first picture of that ``prompt`` from its message, and return the file."""
        message = await self.find_message(prompt, GRID_BUTTON)
        path = Path(self.uploads) / f"{prompt}.png"
        await message.get_by_role("img", name=prompt).first.screenshot(path=path)
        return path

    async def submit(self, prompt: str) -> None:
        """Submit the open form with another prompt."""
        await self.form.get_by_role("textbox").first.fill(prompt)
        await self.form.get_by_role("button", name="Submit").click()

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


async def draw(newcomer: Newcomer) -> None:
    """Draw four pictures, and look at how they were made."""
    await newcomer.type("imagine", f"{FIRST_PROMPT} --repeat 4 --seed 1")
    first = newcomer.first = await newcomer.find_message(FIRST_PROMPT, GRID_BUTTON)
    await newcomer.take_picture("preview", first)
    await newcomer.choose(first, "Info")
    await newcomer.take_picture("tour/info", await newcomer.find_message("To the message"))
    await newcomer.keep(first)


async def go_on(newcomer: Newcomer) -> None:
    """Zoom out of a picture, and draw a part of another one anew."""
    await newcomer.choose(newcomer.first, "Zoom out 2x", picture=1)
    await newcomer.take_picture("tour/zoom", await newcomer.find_message(ZOOMED, GRID_BUTTON))
    await newcomer.choose(newcomer.first, "Vary region", picture=2)
    await newcomer.form.get_by_role("combobox").click()
    await newcomer.page.get_by_role("option", name="Top row").click()
    await newcomer.page.get_by_role("button", name=APPLY).click()
    await newcomer.form.get_by_role("textbox").last.fill(HAT_PROMPT)
    await newcomer.form.get_by_role("button", name="Submit").click()
    question = await newcomer.find_message("I draw the part inside the line anew")
    await newcomer.take_picture("tour/region", question)
    await question.get_by_role("button", name="Draw").click()
    await newcomer.find_message(HAT_PROMPT, GRID_BUTTON)


async def edit(newcomer: Newcomer) -> None:
    """Change the prompt, and branch off from an early step."""
    await newcomer.first.get_by_role("button", name="✏️").click()
    await newcomer.take_picture("tour/edit", newcomer.form)
    await newcomer.submit(SECOND_PROMPT)
    await newcomer.find_message(SECOND_PROMPT, GRID_BUTTON)
    await newcomer.choose(newcomer.first, "How it formed")
    animation = await newcomer.find_message("Branch from step")
    await newcomer.take_picture("tour/timelapse", animation)
    await newcomer.choose(animation, "After step 1")
    await newcomer.submit(THIRD_PROMPT)
    await newcomer.find_message(THIRD_PROMPT, GRID_BUTTON)
    await newcomer.choose(newcomer.first, "Make emoji", picture=1)
    await newcomer.take_picture("tour/emoji", await newcomer.find_message("This is how your emoji will look"))


async def blend(newcomer: Newcomer) -> None:
    """Blend two uploaded pictures."""
    files = [await newcomer.save(prompt) for prompt in (SECOND_PROMPT, THIRD_PROMPT)]
    await newcomer.type("blend")
    await newcomer.form.get_by_label("Two to five pictures").set_input_files(files)
    await newcomer.form.get_by_role("textbox").first.fill(BLEND_PROMPT)
    await newcomer.form.get_by_role("button", name="Submit").click()
    await newcomer.take_picture("tour/blend", await newcomer.find_message(BLEND_PROMPT, "Reroll"))


async def describe(newcomer: Newcomer) -> None:
    """Find the prompt of an earlier picture by its id."""
    await command(newcomer.page, "describe")
    await newcomer.page.get_by_role("option").filter(has_text="link").first.click()
    info = await (await newcomer.find_message("To the message")).inner_text()
    known = re.search(r"Id\s+(\w{6})", info)
    assert known, info
    await newcomer.page.keyboard.type(known[1], delay=20)
    await newcomer.page.get_by_role("option").filter(has_text=known[1]).first.click()
    await newcomer.page.locator("#send-message").click()
    await newcomer.choose(await newcomer.find_message("Which one do you mean?"), "1.")
    await newcomer.take_picture("tour/describe", await newcomer.find_message("carries the prompt", "Imagine 1"))


async def look_back(newcomer: Newcomer) -> None:
    """Look at the pictures of before, and at the settings."""
    await newcomer.keep(await newcomer.find_message(SECOND_PROMPT, GRID_BUTTON))
    for name, text in (("favourites", "Show one"), ("gallery", "All time"), ("history", "Show one")):
        await newcomer.type(name)
        answer = re.compile(f"used /{name}.*{text}", re.DOTALL)
        await newcomer.take_picture(f"tour/{name}", await newcomer.find_message(answer))
    await newcomer.type("tree", THIRD_PROMPT, choose_option=True)
    await newcomer.take_picture("tour/tree", await newcomer.find_message("├"))
    await newcomer.type("settings mine")
    await (await newcomer.find_message("Your settings")).get_by_role("button", name="Show all").click()
    await newcomer.take_picture("tour/settings", await newcomer.find_message(ALL_SETTINGS))


async def tell_story(newcomer: Newcomer) -> None:
    """Begin a story, and let another member go on."""
    opening, words = STORY
    await newcomer.type("story", opening)
    await newcomer.member.select_option(label="guest")
    await (await newcomer.find_message(opening, "Continue story")).get_by_role("button", name="Continue story").click()
    await newcomer.submit(words)
    last = await newcomer.find_message(words, "Continue story")
    await newcomer.member.select_option(label="you")
    await last.get_by_role("button", name="Show story").click()
    await newcomer.take_picture("tour/story", await newcomer.find_message("A story in 2 pictures"))


async def hold_jam(newcomer: Newcomer) -> None:
    """Take part in a jam with another member, who votes."""
    await command(newcomer.page, "jam start")
    for text in (JAM_THEME, "10"):
        await newcomer.page.keyboard.type(text, delay=20)
        await newcomer.page.keyboard.press("Tab")
    await newcomer.page.locator("#send-message").click()
    for member, prompt in JAM.items():
        await newcomer.member.select_option(label=member)
        invitation = await newcomer.find_message(JAM_THEME, "Join")
        await invitation.get_by_role("button", name="Join").click()
        await newcomer.submit(prompt)
        await newcomer.find_message(f"You take part with {prompt}")
    await newcomer.member.select_option(label="you")
    await newcomer.take_picture("tour/jam", invitation)
    await newcomer.type("jam end")
    ballot = await newcomer.find_message("Vote for the best picture")
    await newcomer.take_picture("tour/vote", ballot)
    number = re.search(rf"(\d)\s+{JAM['you']}", await ballot.inner_text())
    assert number
    await newcomer.member.select_option(label="guest")
    await ballot.get_by_role("button", name=number[1], exact=True).click()
    await newcomer.find_message("You voted")
    await newcomer.member.select_option(label="you")
    await newcomer.type("jam end")
    await newcomer.take_picture("tour/winner", await newcomer.find_message("wins with"))


async def wait_in_queue(newcomer: Newcomer) -> None:
    """Ask for much, beside another member."""
    for member, prompts in {"guest": ("red apple", "sunflower"), "you": ("ghost", "hamburger", "red heart")}.items():
        await newcomer.member.select_option(label=member)
        for prompt in prompts:
            await newcomer.type("imagine", f"{prompt} --repeat 4 --steps 150")
    await newcomer.type("queue")
    await newcomer.take_picture("tour/queue", await newcomer.find_message("done", "Refresh"))


async def operate(newcomer: Newcomer) -> None:
    """Look at the operator's dashboard meanwhile."""
    board = await newcomer.page.context.browser.new_page(viewport=BOARD, device_scale_factor=1)
    await board.goto(newcomer.dashboard)
    await board.get_by_label("Token").fill(newcomer.token)
    await board.keyboard.press("Enter")
    await newcomer.take_picture("tour/dashboard", board.locator("main"))


TOUR = (draw, edit, go_on, blend, describe, look_back, tell_story, hold_jam, wait_in_queue, operate)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def main() -> None:
    """Save the pictures in the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for the pictures")
    parser.add_argument("--width", type=int, default=PAGE_WIDTH, help="of the page, in pixels")
    arguments = parser.parse_args()
    (arguments.folder / "tour").mkdir(parents=True, exist_ok=True)
    options = {"viewport": {"width": arguments.width, "height": PAGE_HEIGHT}, "device_scale_factor": SCALE}
    with tempfile.TemporaryDirectory() as uploads:
        port, token = free_port(), secrets.token_hex()
        settings = {"DASHBOARD_PORT": str(port), "DASHBOARD_TOKEN": token}
        async with served(PAGE_TIMEOUT_SECONDS, **settings) as url, opened(url, PAGE_TIMEOUT_SECONDS, **options) as page:
            newcomer = Newcomer(page, arguments.folder, uploads, f"http://127.0.0.1:{port}", token)
            for part in TOUR:
                await part(newcomer)


if __name__ == "__main__":
    asyncio.run(main())
