"""Draw the pictures that /about shows of the embedded model: ``python -m benchmarks.style_sheet``.

One sheet has its examples, the other one picture in each of its styles.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from diffusion import ImageModel, load_model
from diffusion.images.io import enlarge, grid, hstack, to_webp
from diffusion.loading.folder import PRETRAINED

SUBJECT = "fox"
SEED = 7
EXAMPLE_SIDE = 256
STYLE_SIDE = 128
CAPTION_PIXELS = 18
QUALITY = 85


def draw(model: ImageModel, prompts: Sequence[str], side: int) -> list[Image.Image]:
    """Draw a picture of each prompt, ``side`` pixels wide."""
    drawn = model.generate(list(prompts), seeds=[SEED + index for index in range(len(prompts))])
    larger = [enlarge(picture, model.defaults.upscale) for picture in drawn]
    return [picture.resize((side, side), Image.Resampling.LANCZOS) for picture in larger]


def captioned(picture: Image.Image, caption: str) -> Image.Image:
    """Return ``picture`` with a line of text below it."""
    tile = Image.new("RGB", (picture.width, picture.height + CAPTION_PIXELS), "white")
    tile.paste(picture)
    place = picture.width // 2, picture.height + CAPTION_PIXELS // 2
    ImageDraw.Draw(tile).text(place, caption, "black", ImageFont.load_default(12), anchor="mm")
    return tile


def main() -> None:
    """Save both sheets beside the model."""
    model = load_model()
    examples = hstack(draw(model, model.defaults.examples, EXAMPLE_SIDE))
    styles = ["no style", *model.defaults.styles]
    prompts = [SUBJECT, *(f"{SUBJECT}, {style}" for style in model.defaults.styles)]
    tiles = [captioned(picture, style) for picture, style in zip(draw(model, prompts, STYLE_SIDE), styles, strict=True)]
    for name, sheet in (("examples", examples), ("styles", grid(tiles))):
        data = to_webp(sheet, QUALITY)
        (PRETRAINED / f"{name}.webp").write_bytes(data)
        print(f"{name}.webp: {len(data) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
