"""Draw compositions of pictures: RGBA in, 128x128 RGB out."""

import numpy as np
from PIL import Image, ImageOps

from diffusion.training.pictures import SIZE, Picture

WHITE = (255, 255, 255)
BACKGROUNDS = {
    "red": (225, 45, 50),
    "orange": (250, 140, 30),
    "yellow": (250, 215, 60),
    "green": (60, 170, 75),
    "blue": (50, 110, 225),
    "purple": (140, 75, 200),
    "pink": (250, 150, 190),
    "black": (20, 20, 24),
    "grey": (140, 140, 145),
    "light blue": (160, 215, 250),
    "brown": (125, 80, 50),
}
HUES = {"red": 0, "orange": 20, "yellow": 38, "green": 88, "blue": 155, "purple": 192, "pink": 228}  # of Pillow's 0 to 255
EYEWEAR = {"sunglasses", "glasses"}


def flatten(image: Image.Image, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """Lay an RGBA image on a plain background and drop the alpha channel."""
    ground = Image.new("RGBA", image.size, (*background, 255))
    ground.alpha_composite(image)
    return ground.convert("RGB")


def place(image: Image.Image, scale: float, x: float, y: float) -> Image.Image:
    """Scale ``image`` to a share ``scale`` of the side, centred at (``x``, ``y``).

    The result is an RGBA canvas of `SIZE` pixels, otherwise empty.
    """
    side = max(8, round(SIZE * scale))
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(image.resize((side, side), Image.Resampling.LANCZOS), (round(x - side / 2), round(y - side / 2)))
    return canvas


def draw_plain(picture: Picture) -> Image.Image:
    """Draw ``picture`` on white."""
    return flatten(picture.image())


def draw_moved(picture: Picture, mirrored: bool, scale: float, x: float, y: float) -> Image.Image:
    """Draw ``picture`` smaller and off the centre, on white."""
    image = picture.image()
    return flatten(place(ImageOps.mirror(image) if mirrored else image, scale, x, y))


def draw_on_background(picture: Picture, colour: tuple[int, int, int]) -> Image.Image:
    """Draw ``picture`` on a plain background."""
    return flatten(place(picture.image(), 0.92, 64, 64), colour)


def draw_recoloured(picture: Picture, hue: int) -> Image.Image:
    """Draw ``picture`` in one hue, 0 to 255 around the circle, on white."""
    image = picture.image()
    hsv = np.array(image.convert("RGB").convert("HSV")).astype(int)
    hsv[..., 0] = hue
    hsv[..., 1] = np.clip(hsv[..., 1] * 0.9 + 60 * (hsv[..., 2] < 235), 0, 255)  # greys take colour, white stays white
    recoloured = Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")
    recoloured.putalpha(image.getchannel("A"))
    return flatten(recoloured)


def draw_pair(left: Picture, right: Picture) -> Image.Image:
    """Draw ``left`` and ``right`` side by side, half as large, on white."""
    canvas = place(left.image(), 0.5, 33, 64)
    canvas.alpha_composite(place(right.image(), 0.5, 95, 64))
    return flatten(canvas)


def draw_wearing(picture: Picture, accessory: Picture) -> Image.Image:
    """Draw ``picture`` with ``accessory`` where glasses or hats are worn, on white."""
    eyewear = accessory.name in EYEWEAR
    wearer = picture.image() if eyewear else place(picture.image(), 0.8, 64, 74)  # leaves room for a hat
    x0, y0, x1, y1 = _bounds(wearer)
    worn = accessory.image()
    worn = worn.crop(_bounds(worn))
    width = (x1 - x0) * (0.78 if eyewear else 0.62)
    if not eyewear:
        width = min(width, 46 * worn.width / worn.height)
    height = worn.height * width / worn.width
    worn = worn.resize((max(1, round(width)), max(1, round(height))), Image.Resampling.LANCZOS)
    middle = y0 + (0.43 if eyewear else 0.14) * (y1 - y0) - (0 if eyewear else 0.38 * height)
    layer = Image.new("RGBA", (SIZE, SIZE))
    layer.paste(worn, (round((x0 + x1 - width) / 2), max(0, round(middle - height / 2))))
    wearer.alpha_composite(layer)
    return flatten(wearer)


def _bounds(image: Image.Image) -> tuple[int, int, int, int]:
    solid = image.getchannel("A").point(lambda alpha: 255 * (alpha > 40))
    return solid.getbbox() or (0, 0, SIZE, SIZE)
