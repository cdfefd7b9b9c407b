"""The difference of two images."""

import math

import numpy as np
from PIL import Image


def difference(first: Image.Image, second: Image.Image) -> tuple[int, float]:
    """Return the largest difference of two RGB images, 0 to 255, and their PSNR in dB.

    The peak signal-to-noise ratio is 10 log10(255² / mean squared error), infinite for equal images. Both have one size.
    """
    errors = np.asarray(first, dtype=np.int16) - np.asarray(second, dtype=np.int16)
    mean_squared = float(np.square(errors, dtype=np.float64).mean())
    return int(np.abs(errors).max()), 10 * math.log10(255**2 / mean_squared) if mean_squared else math.inf
