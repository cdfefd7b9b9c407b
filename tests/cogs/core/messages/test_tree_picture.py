import io

import pytest
from PIL import Image

from cogs.core.messages import tree_picture
from cogs.core.messages.lineage import Relative, tree_rows
from cogs.core.messages.thumbnails import thumbnail
from cogs.core.messages.tree_picture import MARGIN, MAX_ROWS, ROW, THUMBNAIL, WIDTH, draw_tree
from cogs.core.storage.creations import request_to_json
from diffusion.request import ImageRequest
from tests.support.messages import png

RED, GREEN = (255, 0, 0), (0, 255, 0)
MIDDLE = THUMBNAIL // 2


def relative(id, parent=None, **settings):
    return Relative(id, parent, request_to_json(ImageRequest(**{"prompt": "a red fox", "seed": 5} | settings)), None, f"k{id}")


def drawn(family, marked, thumbnails=None):
    data = draw_tree(tree_rows(family, marked), thumbnails or {}, marked)
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def is_near(colour, other):
    return all(abs(a - b) < 30 for a, b in zip(colour, other, strict=True))


def hex_of(colour):
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def test_tree_shows_thumbnails_joined_by_lines_and_outlines_the_current_one():
    thumbnails = {1: thumbnail(png((300, 300), RED)), 2: thumbnail(png((300, 300), GREEN))}
    image = drawn([relative(1), relative(2, 1, seed=6)], 2, thumbnails)
    assert image.size == (WIDTH, 2 * MARGIN + ROW + THUMBNAIL)
    child = MARGIN + tree_picture.INDENT, MARGIN + ROW
    assert is_near(image.getpixel((MARGIN + MIDDLE, MARGIN + MIDDLE)), RED)
    assert is_near(image.getpixel((child[0] + MIDDLE, child[1] + MIDDLE)), (0, 255, 0))
    line = MARGIN + tree_picture.INDENT // 2
    for place in ((line, MARGIN + THUMBNAIL + 10), (child[0] - 10, child[1] + MIDDLE)):
        assert is_near(image.getpixel(place), hex_of(tree_picture.LINE))
    assert is_near(image.getpixel((child[0] + MIDDLE, child[1] - 1)), hex_of(tree_picture.MARK))
    assert not is_near(image.getpixel((MARGIN + MIDDLE, MARGIN - 1)), hex_of(tree_picture.MARK))


def test_hidden_pictures_have_an_empty_place():
    image = drawn([Relative(1, None, None)], 1)
    assert is_near(image.getpixel((MARGIN + MIDDLE, MARGIN + MIDDLE)), hex_of(tree_picture.EMPTY))


@pytest.mark.parametrize("shape", ["deep", "wide"])
def test_size_is_bounded(shape):
    family = [relative(number, (number - 1 if shape == "deep" else 1) or None, seed=number) for number in range(1, 61)]
    image = drawn(family, 60)
    assert image.size == (WIDTH, 2 * MARGIN + ROW * MAX_ROWS - (ROW - THUMBNAIL))


@pytest.mark.parametrize("prompt", ["語" * 300, "word " * 200, "\U0001f600" * 80, "a\u0301" * 50, "x" * 1000])
def test_any_prompt_can_be_drawn(prompt):
    assert drawn([relative(1, prompt=prompt)], 1).size[0] == WIDTH


def test_text_without_a_font_keeps_what_can_be_shown(monkeypatch):
    monkeypatch.setattr(tree_picture, "FONTS", ())
    tree_picture.fonts.cache_clear()
    try:
        assert tree_picture.shown_text("seed 5 → 9, ein Fuchs im Schnee")[0] == "seed 5 -> 9, ein Fuchs im Schnee"
        assert tree_picture.shown_text("ein 狐狸 im Schnee")[0] == "ein ... im Schnee"
        assert tree_picture.shown_text("語" * 30) is None
    finally:
        tree_picture.fonts.cache_clear()
