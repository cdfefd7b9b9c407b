import numpy as np
import pytest
from PIL import Image, ImageDraw

from diffusion.errors import InvalidImageError
from diffusion.images.io import to_png
from diffusion.images.masks import (
    binarize,
    box_mask,
    fill,
    fit_mask,
    mask_from_alpha,
    mask_to_alpha,
    read_masked,
    restore_unmasked,
)

WHITE, BLACK = 255, 0


def test_fit_mask_crops_like_fit():
    mask = box_mask((300, 100), (100, 0, 200, 100))
    assert fit_mask(mask, 32, 32).getextrema() == (WHITE, WHITE)
    assert fit_mask(mask, 48, 16).getbbox() == (16, 0, 32, 16)


def test_binarize_makes_grey_black_or_white():
    assert sorted(set(binarize(Image.linear_gradient("L")).get_flattened_data())) == [BLACK, WHITE]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_mask_from_alpha_is_white_where_transparent(mode):
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image.paste((0, 0, 0, 200), (4, 0, 5, 8))
    mask = mask_from_alpha(image.convert(mode))
    assert mask is not None and mask.mode == "L"
    assert mask.getbbox() == (0, 0, 4, 8)


@pytest.mark.parametrize("image", [Image.new("RGB", (8, 8)), Image.new("RGBA", (8, 8), (0, 0, 0, 255))])
def test_mask_from_alpha_is_none_for_opaque_pictures(image):
    assert mask_from_alpha(image) is None


@pytest.mark.parametrize("mask", [box_mask((16, 8), (2, 2, 9, 7)), None])
def test_read_masked_inverts_mask_to_alpha(mask):
    image = Image.linear_gradient("L").resize((16, 8)).convert("RGB")
    read, its_mask = read_masked(to_png(mask_to_alpha(image, mask)))
    assert read.tobytes() == image.tobytes()
    assert (its_mask and its_mask.tobytes()) == (mask and mask.tobytes())


def test_read_mask_rejects_other_files():
    with pytest.raises(InvalidImageError):
        read_masked(b"junk")


def test_fill_continues_the_surroundings():
    image = Image.new("RGB", (64, 64), "white")
    image.paste("red", (0, 32, 64, 64))
    filled = fill(image, box_mask((64, 64), (32, 0, 64, 64)))
    assert filled.getpixel((60, 4)) == (255, 255, 255)
    assert filled.getpixel((60, 60)) == (255, 0, 0)
    assert filled.crop((0, 0, 32, 64)).tobytes() == image.crop((0, 0, 32, 64)).tobytes()


def test_fill_is_white_without_surroundings():
    assert fill(Image.new("RGB", (8, 8)), Image.new("L", (8, 8), WHITE)).getextrema() == ((WHITE, WHITE),) * 3


def test_restore_unmasked_is_exact_and_seamless():
    original, drawn = Image.new("RGB", (64, 64), (100, 150, 200)), Image.new("RGB", (64, 64), (140, 110, 200))
    mask = Image.new("L", (64, 64), BLACK)
    ImageDraw.Draw(mask).ellipse((8, 8, 55, 55), fill=WHITE)
    result, outside = np.asarray(restore_unmasked(drawn, original, mask), int), np.asarray(mask) == BLACK
    assert (result[outside] == (100, 150, 200)).all()
    assert tuple(result[32, 32]) == (140, 110, 200)
    assert np.abs(np.diff(result, axis=1)).max() <= 10  # of a difference of 40


def test_restore_unmasked_keeps_a_fully_masked_picture():
    drawn = Image.linear_gradient("L").convert("RGB")
    whole = Image.new("L", drawn.size, WHITE)
    assert restore_unmasked(drawn, Image.new("RGB", drawn.size), whole).tobytes() == drawn.tobytes()
