import pytest
from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.canvas import DIRECTIONS, extend_canvas, grow

PICTURE = Image.new("RGB", (100, 100), "red")


@pytest.mark.parametrize(
    ("direction", "size", "kept"),
    [
        ("left", (192, 128), (64, 0, 192, 128)),
        ("right", (192, 128), (0, 0, 128, 128)),
        ("up", (128, 192), (0, 64, 128, 192)),
        ("down", (128, 192), (0, 0, 128, 128)),
        ("all", (192, 192), (32, 32, 160, 160)),
    ],
)
def test_extend_canvas_masks_all_but_the_picture(direction, size, kept):
    width, height = grow(PICTURE.size, direction, 0.5)
    assert width / height == size[0] / size[1]
    canvas, mask = extend_canvas(PICTURE, direction, share=0.5, size=size, cell=8)
    assert canvas.size == mask.size == size
    outside = Image.new("L", size, 255)
    outside.paste(0, kept)
    assert mask.tobytes() == outside.tobytes()
    assert canvas.getextrema() == ((255, 255), (0, 0), (0, 0))


@pytest.mark.parametrize("share", [0.1, 0.33, 1.0])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_extend_canvas_aligns_the_border_to_latent_cells(direction, share):
    box = extend_canvas(PICTURE, direction, share=share, size=(88, 136), cell=8)[1].point(lambda value: 255 - value).getbbox()
    assert all(edge % 8 == 0 for edge in box)
    assert box != (0, 0, 88, 136)


@pytest.mark.parametrize(("direction", "size"), [("right", (8, 64)), ("all", (64, 16))])
def test_extend_canvas_rejects_narrow_pictures(direction, size):
    with pytest.raises(InvalidImageError, match="too narrow"):
        extend_canvas(PICTURE, direction, share=0.5, size=size, cell=8)
