"""Sheets of pictures for people to look at."""

import textwrap
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

from diffusion.training.pictures import SIZE
from diffusion.training.prompts import SEEN_SHEET, UNSEEN_SHEET

COLUMNS = 8
GAP = 6  # pixels
LINE = 14  # pixels
BLACK = (20, 20, 24)
BLUE = (30, 80, 200)

# Draws a picture for each prompt and its seed.
Generate = Callable[[list[str], list[int]], list[Image.Image]]


def draw_grid(generate: Generate) -> Image.Image:
    """Return a captioned sheet of `SEEN_SHEET` and `UNSEEN_SHEET`.

    The seeds are 0, 1, 2 and so on.
    """
    prompts = [*SEEN_SHEET, *UNSEEN_SHEET]
    images = generate(prompts, list(range(len(prompts))))
    font = ImageFont.load_default(11)
    width, height = SIZE + GAP, SIZE + 2 * LINE + GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, -(-len(prompts) // COLUMNS) * height + GAP + LINE), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        x, y = GAP + index % COLUMNS * width, GAP + index // COLUMNS * height
        sheet.paste(image, (x, y))
        caption = "\n".join(textwrap.wrap(prompt, 22))
        pen.multiline_text((x, y + SIZE), caption, BLUE if prompt in UNSEEN_SHEET else BLACK, font, spacing=1)
    pen.text((GAP, sheet.height - LINE - 2), "blue captions: not in the training set", BLUE, font)
    return sheet


def pairs_sheet(above: Sequence[Image.Image], below: Sequence[Image.Image]) -> Image.Image:
    """Show the images ``above`` in a row over those ``below``, all 128x128."""
    sheet = Image.new("RGB", (len(above) * (SIZE + GAP) + GAP, 2 * (SIZE + GAP) + GAP), "white")
    for row, images in enumerate((above, below)):
        for column, image in enumerate(images):
            sheet.paste(image, (GAP + column * (SIZE + GAP), GAP + row * (SIZE + GAP)))
    return sheet
