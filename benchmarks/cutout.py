"""How well subjects are cut out, against emojis whose alpha is known: ``python -m benchmarks.cutout runs/emoji/archive``.

The emojis are put on plain grounds. What their outline encloses counts as subject, as only ground at the border is cut away.
One that covers the border, or has its ground's own colour, is not cut out: the second column says how many are.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from diffusion.images.cutout import matte
from diffusion.training.pictures import SIZE, read_archive

GROUNDS = ("white", "#f18bba", "#2f71eb", "black")
SIDE = 2 * SIZE  # as large as the embedded model's pictures are posted
EDGE = 3  # pixels within which the outline's own softness counts


def truth(alpha: np.ndarray) -> np.ndarray:
    """Fill what the outline of ``alpha`` encloses."""
    outside = alpha < 0.5
    border = np.ones(alpha.shape, bool)
    border[1:-1, 1:-1] = False
    ground = ndimage.binary_propagation(border & outside, mask=outside)
    return np.where(ndimage.binary_dilation(ground, iterations=EDGE), alpha, 1)


def main() -> None:
    """Print for each ground how far the cut-outs are from the truth, as a share of the subject."""
    parser = argparse.ArgumentParser("python -m benchmarks.cutout", description=__doc__)
    parser.add_argument("archive", type=Path, help="of emojis, from `python -m diffusion.training data`")
    parser.add_argument("--count", type=int, default=250)
    options = parser.parse_args()
    emojis = random.Random(0).sample(read_archive(options.archive), options.count)
    print("ground   cut out  median error  within 5 %")
    for ground in GROUNDS:
        errors = []
        for emoji in emojis:
            image = emoji.image().resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            picture = Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")
            alpha, _ = matte(np.asarray(picture, dtype=np.float32))
            expected = truth(np.asarray(image.getchannel("A")) / 255)
            if alpha.any():
                errors.append(np.abs(alpha - expected).sum() / expected.sum())
        within = np.mean(np.array(errors) < 0.05)
        print(f"{ground:8} {len(errors):3}/{len(emojis)}  {np.median(errors):12.2%}  {within:10.1%}")


if __name__ == "__main__":
    main()
