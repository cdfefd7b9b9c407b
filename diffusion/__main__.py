"""Make images without Discord: ``python -m diffusion "red apple" -o apple.png``."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from diffusion.errors import DarkroomError, reason_of
from diffusion.images.files import encode_result
from diffusion.images.io import read_image
from diffusion.images.masks import fit_and_fill, read_mask
from diffusion.lora.tags import take_tags
from diffusion.redaction import add_secrets, redact, secrets_of
from diffusion.request import SAMPLER_NAMES, UPSCALES, ImageRequest, Limits, random_seed, start_step_for
from diffusion.result import ImageResult

# torch takes seconds to import, so `--help` and mistakes in the options come before it.
if TYPE_CHECKING:
    from diffusion.families.model import ImageModel

log = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser("python -m diffusion", description="Draw an image from a text.")
    parser.add_argument("prompt", help="what the image should show")
    parser.add_argument("-o", "--output", type=Path, default=Path("image.png"), help="PNG file to write (image.png)")
    parser.add_argument("-n", "--negative-prompt", default="", metavar="TEXT", help="what it should not show")
    parser.add_argument("--model", metavar="PATH_OR_ID", help="folder, file or hub id (default: the embedded model)")
    parser.add_argument("--vae", metavar="PATH_OR_ID", help="autoencoder for a model in one file that has none")
    parser.add_argument("--denoiser", metavar="PATH", help="GGUF file whose transformer draws in place of the model's")
    parser.add_argument("--image", type=Path, help="image to start from")
    parser.add_argument("--similarity", type=float, default=0.4, help="how much of that image to keep, 0 to 1 (0.4)")
    parser.add_argument("--edit", action="store_true", help="change --image as the prompt says, with a model that edits")
    parser.add_argument("--mask", type=Path, help="image that is white where --image is drawn anew")
    parser.add_argument("--morph-to", default="", metavar="TEXT", help="second prompt of an animation (WebP)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the animation (12)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="in pixels (default: the model's)")
    parser.add_argument("--steps", type=int, help="number of steps (default: the model's)")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the model's)")
    parser.add_argument("--sampler", choices=SAMPLER_NAMES, help="default: the model's")
    parser.add_argument("--upscale", type=int, choices=UPSCALES, help="factor to enlarge it by (default: the model's)")
    parser.add_argument("--steer", default="", metavar="LABEL", help="label to guide towards, such as food or red")
    parser.add_argument("--steer-scale", type=float, help="strength of that guidance (10)")
    parser.add_argument("--variety", type=int, help="how much pictures differ, 0 to 100 (default: the model's)")
    parser.add_argument("--clip-skip", type=int, help="layer of the text encoder, 1 is the last (default: the model's)")
    parser.add_argument("--embeddings", type=Path, metavar="FOLDER", help="embeddings that the prompt may name")
    parser.add_argument("--loras", default="", metavar="PATHS_OR_IDS", help="LoRAs that the prompt may name: <lora:name:0.8>")
    parser.add_argument("--seed", type=int, help="default: random")
    parser.add_argument("--count", type=int, default=1, help="number of images (1)")
    return parser


def build_request(options: argparse.Namespace, model: "ImageModel") -> ImageRequest:
    """Return the request of the command line; reads its image and mask files."""
    image = read_image(options.image.read_bytes()) if options.image else None
    width, height = options.size or (model.sample_side, model.sample_side)
    if options.edit and image and not options.size:
        width, height = Limits(side=model.sample_side).shrink_size(*model.size_of(image.width / image.height), model.grid)
    mask = read_mask(options.mask.read_bytes()) if options.mask else None
    start_step = 0
    if image and mask:
        image, mask = fit_and_fill(image, mask, width, height)
    elif image and not options.edit:
        start_step = start_step_for(options.similarity, options.steps or model.defaults.steps)
    prompt, loras = take_tags(options.prompt)
    return model.request(
        prompt,
        loras=loras,
        negative_prompt=options.negative_prompt,
        width=width,
        height=height,
        steps=options.steps,
        guidance_scale=options.guidance,
        sampler=options.sampler,
        seed=random_seed() if options.seed is None else options.seed,
        count=options.frames if options.morph_to else options.count,
        upscale=options.upscale,
        variety=options.variety,
        clip_skip=options.clip_skip,
        guide_label=options.steer,
        label_scale=options.steer_scale,
        image=image,
        mask=mask,
        morph_to=options.morph_to,
        start_step=start_step,
        is_edit=options.edit,
    )


async def draw(options: argparse.Namespace) -> ImageResult:
    """Draw the request of the command line, with a progress bar."""
    from diffusion.loading.embeddings import add_embeddings
    from diffusion.loading.lora_sources import find_lora_sources
    from diffusion.loading.model import load_model, plan_model
    from diffusion.serving.engine import Engine

    placement = None
    if options.model:
        plan = plan_model(options.model, vae=options.vae, denoiser=options.denoiser)
        placement = plan.placement
        if placement.saves_memory:
            print(plan.sentence, file=sys.stderr)
    model = load_model(options.model, placement, vae=options.vae, denoiser=options.denoiser)
    if options.embeddings:
        add_embeddings(model, options.embeddings)
    model.offer_loras(find_lora_sources(options.loras))
    request = build_request(options, model)
    async with Engine(model) as engine:
        job = engine.submit(request)
        with tqdm(total=job.progress.total, unit="step", desc=request.prompt[:40]) as bar:
            async for progress in job:
                bar.total = progress.total
                bar.update(progress.completed - bar.n)
            bar.update(bar.total - bar.n)
        return await job


def write_files(result: ImageResult, output: Path) -> list[Path]:
    """Write ``result`` to ``output`` and numbered files beside it; return their paths."""
    if result.request.morph_to:
        output = output.with_suffix(f".{result.request.animation}")
    paths = []
    for index, data in enumerate(encode_result(result)):
        path = output if index == 0 else output.with_stem(f"{output.stem}-{index + 1}")
        path.write_bytes(data)
        paths.append(path)
    return paths


def main() -> int:
    """Run the command line and return the exit status, 2 for an error."""
    options = build_parser().parse_args()
    add_secrets(secrets_of())
    try:
        for path in write_files(asyncio.run(draw(options)), options.output):
            print(path)
    except KeyboardInterrupt:
        return 130
    except (DarkroomError, OSError) as error:
        print(redact(str(error)), file=sys.stderr)
        return 2
    except Exception as error:  # of a library, for which nobody was prepared
        log.debug("the command failed", exc_info=True)
        print(redact(f"The picture could not be drawn: {type(error).__name__}: {reason_of(error)}"), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
