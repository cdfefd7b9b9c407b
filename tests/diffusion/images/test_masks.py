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


def test_a_mask_is_scaled_and_cropped_as_its_picture_is():
    mask = box_mask((300, 100), (100, 0, 200, 100))
    assert fit_mask(mask, 32, 32).getextrema() == (WHITE, WHITE)
    assert fit_mask(mask, 48, 16).getbbox() == (16, 0, 32, 16)


def test_grey_is_black_or_white():
    assert sorted(set(binarize(Image.linear_gradient("L")).get_flattened_data())) == [BLACK, WHITE]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_the_mask(mode):
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image.paste((0, 0, 0, 200), (4, 0, 5, 8))
    mask = mask_from_alpha(image.convert(mode))
    assert mask is not None and mask.mode == "L"
    assert mask.getbbox() == (0, 0, 4, 8)


@pytest.mark.parametrize("image", [Image.new("RGB", (8, 8)), Image.new("RGBA", (8, 8), (0, 0, 0, 255))])
def test_an_opaque_picture_has_no_mask(image):
    assert mask_from_alpha(image) is None


@pytest.mark.parametrize("mask", [box_mask((16, 8), (2, 2, 9, 7)), None])
def test_a_picture_and_its_mask_are_kept_in_one_file(mask):
    image = Image.linear_gradient("L").resize((16, 8)).convert("RGB")
    read, its_mask = read_masked(to_png(mask_to_alpha(image, mask)))
    assert read.tobytes() == image.tobytes()
    assert (its_mask and its_mask.tobytes()) == (mask and mask.tobytes())


def test_what_is_no_picture_has_no_mask_either():
    with pytest.raises(InvalidImageError):
        read_masked(b"junk")


def test_what_is_filled_continues_its_surroundings():
    image = Image.new("RGB", (64, 64), "white")
    image.paste("red", (0, 32, 64, 64))
    filled = fill(image, box_mask((64, 64), (32, 0, 64, 64)))
    assert filled.getpixel((60, 4)) == (255, 255, 255)
    assert filled.getpixel((60, 60)) == (255, 0, 0)
    assert filled.crop((0, 0, 32, 64)).tobytes() == image.crop((0, 0, 32, 64)).tobytes()


def test_where_nothing_is_known_white_is_filled_in():
    assert fill(Image.new("RGB", (8, 8)), Image.new("L", (8, 8), WHITE)).getextrema() == ((WHITE, WHITE),) * 3


def test_what_was_to_stay_is_put_back_to_the_pixel_and_without_a_seam():
    original, drawn = Image.new("RGB", (64, 64), (100, 150, 200)), Image.new("RGB", (64, 64), (140, 110, 200))
    mask = Image.new("L", (64, 64), BLACK)
    ImageDraw.Draw(mask).ellipse((8, 8, 55, 55), fill=WHITE)
    result, outside = np.asarray(restore_unmasked(drawn, original, mask), int), np.asarray(mask) == BLACK
    assert (result[outside] == (100, 150, 200)).all()
    assert tuple(result[32, 32]) == (140, 110, 200)
    assert np.abs(np.diff(result, axis=1)).max() <= 10  # of a difference of 40


def test_where_nothing_is_to_stay_the_drawn_picture_is_left_as_it_is():
    drawn = Image.linear_gradient("L").convert("RGB")
    whole = Image.new("L", drawn.size, WHITE)
    assert restore_unmasked(drawn, Image.new("RGB", drawn.size), whole).tobytes() == drawn.tobytes()
