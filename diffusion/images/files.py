"""Finished pictures as files."""

from typing import Final

from diffusion.images.animation import encode_animation, ping_pong
from diffusion.images.io import enlarge, to_png
from diffusion.images.parameters import format_parameters
from diffusion.result import ImageResult

MORPH_WAY, MORPH_REST = 1500, 400  # milliseconds from one end to the other, and at each
MORPH_QUALITY: Final = 90  # of WebP


def encode_result(result: ImageResult) -> list[bytes]:
    """Encode the pictures of ``result``, upscaled as asked, as PNG files, or the frames of a morph as one animation.

    All say how they were made.
    """
    request = result.request
    images = [enlarge(image, request.upscale) for image in result.images]
    texts = [format_parameters(request.single(index), seed, result.model) for index, seed in enumerate(result.seeds)]
    if not request.morph_to:
        return [to_png(image, text) for image, text in zip(images, texts, strict=True)]
    frames, milliseconds = ping_pong(images, MORPH_WAY, MORPH_REST)
    return [encode_animation(frames, milliseconds, request.animation, texts[0], quality=MORPH_QUALITY)]
