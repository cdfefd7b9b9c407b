"""Cut out emojis of known alpha: ``python -m benchmarks.cutout ARCHIVE``.

The emojis are put on plain backgrounds. Everything inside an outline counts as subject, because the cut-out removes only
background connected to the border. An emoji that covers the border or has the colour of its background is not cut out: the
second column counts those that are.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from diffusion.images.cutout import matte
from diffusion.training.pictures import SIZE, read_archive

BACKGROUNDS = ("white", "#f18bba", "#2f71eb", "black")
SIDE_PIXELS = 2 * SIZE  # the side at which the embedded model's pictures are posted
EDGE_PIXELS = 3  # width of the soft outline


def true_alpha(alpha: np.ndarray) -> np.ndarray:
    """Fill the area that the outline of ``alpha`` encloses."""
    outside = alpha < 0.5
    border = np.ones(alpha.shape, bool)
    border[1:-1, 1:-1] = False
    background = ndimage.binary_propagation(border & outside, mask=outside)
    return np.where(ndimage.binary_dilation(background, iterations=EDGE_PIXELS), alpha, 1)


def main() -> None:
    """Print the error of the cut-outs on each background, as a share of the subject."""
    parser = argparse.ArgumentParser("python -m benchmarks.cutout", description=__doc__)
    parser.add_argument("archive", type=Path, help="emojis from `python -m diffusion.training data`")
    parser.add_argument("--count", type=int, default=250)
    options = parser.parse_args()
    emojis = random.Random(0).sample(read_archive(options.archive), options.count)
    print("background  cut out  median error  within 5 %")
    for background in BACKGROUNDS:
        errors = []
        for emoji in emojis:
            image = emoji.image().resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS)
            picture = Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")
            alpha, _ = matte(np.asarray(picture, dtype=np.float32))
            expected = true_alpha(np.asarray(image.getchannel("A")) / 255)
            if alpha.any():
                errors.append(np.abs(alpha - expected).sum() / expected.sum())
        within = np.mean(np.array(errors) < 0.05)
        print(f"{background:10} {len(errors):3}/{len(emojis)}  {np.median(errors):12.2%}  {within:10.1%}")


if __name__ == "__main__":
    main()
