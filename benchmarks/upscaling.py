"""Compare ways to enlarge small pictures: ``python -m benchmarks.upscaling``.

A resampler stands beside a second pass of the model, which starts from the enlarged picture at one of several steps. The
command writes a sheet to compare by eye and prints the seconds per picture.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from diffusion import ImageModel, load_model
from diffusion.images.io import enlarge
from diffusion.loading.folder import PRETRAINED

PROMPTS = (
    "red apple",
    "fox",
    "grinning cat wearing sunglasses",
    "panda, pink background",
    "ghost",
)
START_STEPS = (14, 17, 19)
STEPS = 20
GAP_PIXELS = 4
LINE_PIXELS = 18

Upscale = Callable[[Image.Image, int, int], Image.Image]  # the picture, the factor, the picture's index


def ways(model: ImageModel) -> dict[str, Upscale]:
    """Return the ways of enlarging a picture by their names."""

    def resample(image: Image.Image, factor: int, index: int) -> Image.Image:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)

    def redraw(image: Image.Image, factor: int, index: int, start_step: int) -> Image.Image:
        larger = resample(image, factor, index)
        (image,) = model.generate(
            [PROMPTS[index]],
            seeds=[index],
            image=larger,
            width=larger.width,
            height=larger.height,
            sampler="ddim",
            steps=STEPS,
            start_step=start_step,
        )
        return image

    return {
        "Lanczos": resample,
        "Lanczos, sharpened (posted)": lambda image, factor, index: enlarge(image, factor),
        **{f"second pass from {start}/{STEPS}": partial(redraw, start_step=start) for start in START_STEPS},
    }


def compare(model: ImageModel, factor: int) -> Image.Image:
    """Draw `PROMPTS` and return a sheet with a column for each way of enlarging them."""
    images = model.generate(list(PROMPTS), seeds=list(range(len(PROMPTS))))
    side = model.sample_side * factor + GAP_PIXELS
    font = ImageFont.load_default(13)
    columns = ways(model)
    sheet = Image.new("RGB", (side * len(columns), LINE_PIXELS + (side + LINE_PIXELS) * len(images)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, prompt in enumerate(PROMPTS):
        pen.text((GAP_PIXELS, LINE_PIXELS + row * (side + LINE_PIXELS)), f"{prompt}, seed {row}", "grey", font)
    for column, (name, upscale) in enumerate(columns.items()):
        upscale(images[0], factor, 0)  # warm up
        started = time.perf_counter()
        for row, image in enumerate(images):
            sheet.paste(upscale(image, factor, row), (column * side, 2 * LINE_PIXELS + row * (side + LINE_PIXELS)))
        seconds = (time.perf_counter() - started) / len(images)
        pen.text((column * side + GAP_PIXELS, 0), name, "black", font)
        print(f"{name:30} {seconds:.3f} s")
    return sheet


def main() -> None:
    """Compare with the options of the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.upscaling", description=__doc__)
    parser.add_argument("--factor", type=int, choices=(2, 4), default=2)
    parser.add_argument("-o", "--output", type=Path, default=PRETRAINED / "upscaling.webp")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    compare(load_model(options.model), options.factor).save(options.output, quality=92, method=6)
    print(options.output)


if __name__ == "__main__":
    main()
