"""Make a picture without Discord: ``python -m diffusion "red apple" -o apple.png``."""

import argparse
import asyncio
import sys
from pathlib import Path

from tqdm import tqdm

from diffusion.errors import DarkroomError
from diffusion.images.files import encode_result
from diffusion.images.io import read_image
from diffusion.images.masks import fit_and_fill, read_mask
from diffusion.request import SAMPLER_NAMES, UPSCALES, random_seed, start_step_for


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser("python -m diffusion", description="Develop a picture from a text.")
    parser.add_argument("prompt", help="what the picture should show")
    parser.add_argument("-o", "--output", type=Path, default=Path("image.png"), help="PNG file to write (image.png)")
    parser.add_argument("-n", "--negative-prompt", default="", metavar="TEXT", help="what it should not show")
    parser.add_argument("--model", metavar="PATH_OR_ID", help="folder or hub id; the embedded model if left out")
    parser.add_argument("--image", type=Path, help="a picture to start from")
    parser.add_argument("--similarity", type=float, default=0.4, help="how much of it to keep, 0 to 1 (0.4)")
    parser.add_argument("--mask", type=Path, help="a picture that is white where that one is to be drawn anew")
    parser.add_argument("--morph-to", default="", metavar="TEXT", help="what the picture becomes, in an animation (WebP)")
    parser.add_argument("--frames", type=int, default=12, help="how many pictures that has (12)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="in pixels; the model's own")
    parser.add_argument("--steps", type=int, help="the model's own if left out")
    parser.add_argument("--guidance", type=float, help="guidance scale; the model's own if left out")
    parser.add_argument("--sampler", choices=SAMPLER_NAMES, help="the model's own if left out")
    parser.add_argument("--upscale", type=int, choices=UPSCALES, help="how many times larger to save it; the model's own")
    parser.add_argument("--steer", default="", metavar="LABEL", help="what to push it towards, such as food or red")
    parser.add_argument("--steer-scale", type=float, help="how hard (10)")
    parser.add_argument("--seed", type=int, help="drawn at random if left out")
    parser.add_argument("--count", type=int, default=1, help="how many pictures (1)")
    return parser


async def develop(options: argparse.Namespace) -> list[Path]:
    """Make what ``options`` ask for and give the files written."""
    from diffusion.loading.model import load_model
    from diffusion.serving.engine import Engine

    image = read_image(options.image.read_bytes()) if options.image else None
    model = load_model(options.model)
    steps = model.defaults.steps if options.steps is None else options.steps
    width, height = options.size or (None, None)
    size = (width or model.sample_side, height or model.sample_side)
    mask = read_mask(options.mask.read_bytes()) if options.mask else None
    if image and mask:
        image, mask = fit_and_fill(image, mask, *size)
    request = model.request(
        options.prompt,
        negative_prompt=options.negative_prompt,
        width=width,
        height=height,
        steps=steps,
        guidance_scale=options.guidance,
        sampler=options.sampler,
        seed=random_seed() if options.seed is None else options.seed,
        count=options.frames if options.morph_to else options.count,
        upscale=options.upscale,
        guide_label=options.steer,
        label_scale=options.steer_scale,
        image=image,
        mask=mask,
        morph_to=options.morph_to,
        start_step=start_step_for(options.similarity, steps) if image and not mask else 0,
    )
    async with Engine(model) as engine:
        job = engine.submit(request)
        with tqdm(total=job.progress.total, unit="step", desc=request.prompt[:40]) as bar:
            async for progress in job:
                bar.total = progress.total
                bar.update(progress.completed - bar.n)
            bar.update(bar.total - bar.n)
        result = await job
    written = []
    output = options.output.with_suffix(f".{request.animation}") if request.morph_to else options.output
    for index, data in enumerate(encode_result(result)):
        name = output if index == 0 else output.with_stem(f"{output.stem}-{index + 1}")
        name.write_bytes(data)
        written.append(name)
    return written


def main() -> int:
    """Run the command line; problems are told in one sentence and end with status 2."""
    options = arguments().parse_args()
    try:
        for path in asyncio.run(develop(options)):
            print(path)
    except (DarkroomError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
