"""Finished pictures as files."""

from typing import Final

from diffusion.images.animation import there_and_back, to_animation
from diffusion.images.io import enlarge, parameters, to_png
from diffusion.result import ImageResult

MORPH_WAY, MORPH_REST = 1500, 400  # milliseconds from one end to the other, and at each
MORPH_QUALITY: Final = 90  # of WebP


def to_files(result: ImageResult) -> list[bytes]:
    """Encode the pictures of ``result``, upscaled as asked, as PNG files, or the frames of a morph as one animation.

    All say how they were made.
    """
    request = result.request
    images = [enlarge(image, request.upscale) for image in result.images]
    texts = [parameters(request.single(index), seed, result.model) for index, seed in enumerate(result.seeds)]
    if not request.morph_to:
        return [to_png(image, text) for image, text in zip(images, texts, strict=True)]
    frames, milliseconds = there_and_back(images, MORPH_WAY, MORPH_REST)
    return [to_animation(frames, milliseconds, request.animation, texts[0], quality=MORPH_QUALITY)]
