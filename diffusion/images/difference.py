"""How far two pictures are apart."""

import math

import numpy as np
from PIL import Image


def difference(first: Image.Image, second: Image.Image) -> tuple[int, float]:
    """Give the largest difference of two RGB pictures of one size in levels of 0 to 255, and their PSNR in dB.

    The peak signal-to-noise ratio is 10 log10(255² / mean squared error), infinite for identical pictures.
    """
    errors = np.asarray(first, dtype=np.int16) - np.asarray(second, dtype=np.int16)
    mean_squared = float(np.square(errors, dtype=np.float64).mean())
    return int(np.abs(errors).max()), 10 * math.log10(255**2 / mean_squared) if mean_squared else math.inf
