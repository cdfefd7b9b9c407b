"""How to post small pictures larger: a resampler beside the model's own second pass: ``python -m benchmarks.upscaling``.

The second pass starts from the picture scaled up, at later and later steps. The sheet it writes is for the eye; the seconds a
picture takes are printed.
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
STEPS, GAP, LINE = 20, 4, 18

Upscale = Callable[[Image.Image, int, int], Image.Image]  # the picture, the factor, the picture's index


def ways(model: ImageModel) -> dict[str, Upscale]:
    """Name the ways of making a picture larger."""

    def resampled(image: Image.Image, factor: int, index: int) -> Image.Image:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)

    def redrawn(image: Image.Image, factor: int, index: int, start_step: int) -> Image.Image:
        larger = resampled(image, factor, index)
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
        "Lanczos": resampled,
        "Lanczos, sharpened (posted)": lambda image, factor, index: enlarge(image, factor),
        **{f"second pass from {start}/{STEPS}": partial(redrawn, start_step=start) for start in START_STEPS},
    }


def compare(model: ImageModel, factor: int) -> Image.Image:
    """Draw `PROMPTS` with seeds 0, 1, 2, … and give a sheet with a column for each way of upscaling them."""
    drawn = model.generate(list(PROMPTS), seeds=list(range(len(PROMPTS))))
    side, font = model.sample_side * factor + GAP, ImageFont.load_default(13)
    columns = ways(model)
    sheet = Image.new("RGB", (side * len(columns), LINE + (side + LINE) * len(drawn)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, prompt in enumerate(PROMPTS):
        pen.text((GAP, LINE + row * (side + LINE)), f"{prompt}, seed {row}", "grey", font)
    for column, (name, upscale) in enumerate(columns.items()):
        upscale(drawn[0], factor, 0)  # warm up
        started = time.perf_counter()
        for row, image in enumerate(drawn):
            sheet.paste(upscale(image, factor, row), (column * side, 2 * LINE + row * (side + LINE)))
        seconds = (time.perf_counter() - started) / len(drawn)
        pen.text((column * side + GAP, 0), name, "black", font)
        print(f"{name:30} {seconds:.3f} s")
    return sheet


def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser("python -m benchmarks.upscaling", description=__doc__)
    parser.add_argument("--factor", type=int, choices=(2, 4), default=2)
    parser.add_argument("-o", "--output", type=Path, default=PRETRAINED / "upscaling.webp")
    parser.add_argument("--model", help="folder or hub id; the embedded model if left out")
    options = parser.parse_args()
    compare(load_model(options.model), options.factor).save(options.output, quality=92, method=6)
    print(options.output)


if __name__ == "__main__":
    main()
