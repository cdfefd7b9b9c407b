import io

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
    read_mask,
    read_masked,
    restore_unmasked,
)
from tests.support.cases import CASES

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


def layer(mode, colour, box=(4, 4, 12, 12), size=(20, 16), opacity=255):
    """Strokes of ``colour`` on a transparent layer, or none of it for other modes."""
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    image.paste((*colour, opacity), box)
    return image.convert(mode)


def file_of(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"), [("LA", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("RGBA", "WEBP"), ("RGBA", "GIF"), ("RGBA", "AVIF")]
)
def test_read_mask_takes_white_strokes_on_a_transparent_layer(mode, kind):
    mask = read_mask(file_of(layer(mode, (255, 255, 255)), kind))
    assert mask.getbbox() == (4, 4, 12, 12)


@pytest.mark.parametrize("colour", [(255, 0, 0), (250, 240, 10), (40, 90, 255), (128, 128, 128)])
def test_read_mask_takes_strokes_of_any_one_colour(colour):
    assert read_mask(to_png(layer("RGBA", colour))).getbbox() == (4, 4, 12, 12)


def test_read_mask_takes_strokes_of_a_half_transparent_brush():
    assert read_mask(to_png(layer("RGBA", (255, 255, 255), opacity=90))).getbbox() == (4, 4, 12, 12)


def test_read_mask_takes_white_strokes_beside_black_ones():
    image = layer("RGBA", (255, 255, 255))
    image.paste((0, 0, 0, 255), (14, 0, 20, 16))
    assert read_mask(to_png(image)).getbbox() == (4, 4, 12, 12)


@pytest.mark.parametrize("at", [(0, 0), (7, 7)], ids=["in black", "in white"])
@pytest.mark.parametrize("hidden", [(0, 0, 0, 0), (255, 255, 255, 0)], ids=["of black", "of white"])
def test_read_mask_ignores_one_transparent_pixel_in_black_and_white(at, hidden):
    plain = Image.new("RGB", (20, 16), "black")
    plain.paste("white", (4, 4, 12, 12))
    image = plain.convert("RGBA")
    image.putpixel(at, hidden)
    assert read_mask(to_png(image)).tobytes() == read_mask(to_png(plain)).tobytes()


def test_read_mask_ignores_one_transparent_pixel_among_greys():
    grey = Image.linear_gradient("L").convert("RGBA")
    grey.putpixel((3, 3), (0, 0, 0, 0))
    expected = read_mask(to_png(Image.linear_gradient("L").convert("RGB")))
    assert read_mask(to_png(grey)).tobytes() == expected.tobytes()


def test_read_mask_takes_the_hole_of_a_picture():
    image = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]).convert("RGBA")
    image.paste((0, 0, 0, 0), (50, 60, 100, 120))
    assert read_mask(to_png(image)).getbbox() == (50, 60, 100, 120)


def test_read_mask_takes_the_hole_of_a_black_layer():
    image = Image.new("RGBA", (20, 16), "black")
    image.paste((0, 0, 0, 0), (4, 4, 12, 12))
    assert read_mask(to_png(image)).getbbox() == (4, 4, 12, 12)


def test_read_mask_takes_all_of_a_transparent_picture():
    assert read_mask(to_png(Image.new("RGBA", (8, 8)))).getextrema() == (WHITE, WHITE)


def test_read_mask_reads_a_grey_mask_with_alpha_from_a_file():
    mask = read_mask(CASES["mask_la_white_on_transparent.png"])
    alpha = Image.open(io.BytesIO(CASES["mask_la_white_on_transparent.png"])).getchannel("A")
    assert mask.tobytes() == binarize(alpha).tobytes()
