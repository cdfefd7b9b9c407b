"""Finished results as files."""

from typing import Final

from diffusion.images.animation import encode_animation, ping_pong
from diffusion.images.io import enlarge, to_png
from diffusion.images.parameters import format_parameters
from diffusion.result import ImageResult

MORPH_MILLISECONDS: Final = 1500  # in each direction
MORPH_PAUSE_MILLISECONDS: Final = 400  # at both ends
MORPH_QUALITY: Final = 90  # of WebP


def encode_result(result: ImageResult) -> list[bytes]:
    """Encode the images of ``result`` as PNG files, or a morph as one animation.

    The images are enlarged by the request's ``upscale``, unless an upscaler has done that. Each file holds its parameters.
    """
    request = result.request
    factor = 1 if request.by_upscaler else request.upscale
    images = [enlarge(image, factor) for image in result.images]
    texts = [format_parameters(request.single(index), seed, result.model) for index, seed in enumerate(result.seeds)]
    if not request.morph_to:
        return [to_png(image, text) for image, text in zip(images, texts, strict=True)]
    frames, milliseconds = ping_pong(images, MORPH_MILLISECONDS, MORPH_PAUSE_MILLISECONDS)
    return [encode_animation(frames, milliseconds, request.animation, texts[0], quality=MORPH_QUALITY)]
