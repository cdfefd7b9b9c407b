"""Requests that go on from a picture which was made: others like it, or the same larger. Nothing that talks to Discord."""

from typing import Final

from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.request import MAX_UPSCALED_SIDE, ImageRequest, Limits, random_seed, start_step_for
from diffusion.text import plural

SIMILARITIES: Final = {"subtle": 0.65, "strong": 0.25, "more": 0.4}  # "more" is a button of messages from before
SAMPLER: Final = "ddim"  # its steps go down evenly: with others a picture may be nearly clean after a third of them
UPSCALE: Final = 2


def with_fresh_seed(request: ImageRequest) -> ImageRequest:
    """Change the seed so that none of the pictures has a seed of ``request``."""
    while True:
        fresh = request.replace(seed=random_seed())
        if set(fresh.seeds).isdisjoint(request.seeds):
            return fresh


def alike(request: ImageRequest, picture: Image.Image, index: int, similarity: float) -> ImageRequest:
    """Ask for pictures that start from ``picture``, the one of that ``index`` of ``request``."""
    fresh = with_fresh_seed(_own(request, index, request.count_each))
    return fresh.img2img(picture, start_step_for(similarity, request.steps))


def check_upscale(request: ImageRequest, limits: Limits) -> None:
    """Raise `InvalidRequestError` where the pictures of ``request`` are as large as they get under ``limits``."""
    side = UPSCALE * max(request.width, request.height)
    most = min(limits.side, MAX_UPSCALED_SIDE // request.upscale)
    if side > most:
        raise InvalidRequestError(
            "width",
            plural(
                "This would be drawn at {side} pixel a side, and at most {most} are drawn here: it cannot be upscaled.",
                "This would be drawn at {side} pixels a side, and at most {most} are drawn here: it cannot be upscaled.",
                by="side",
            ),
            side=side,
            most=most,
        )


def upscaled(request: ImageRequest, picture: Image.Image, index: int, start: float) -> ImageRequest:
    """Ask for ``picture``, the one of that ``index`` of ``request``, twice as large.

    It is enlarged, noised as it is after the share ``start`` of all steps, and developed from there.
    """
    one = _own(request, index, 1).img2img(picture, start_step_for(start, request.steps))
    return one.replace(width=UPSCALE * request.width, height=UPSCALE * request.height)


def _own(request: ImageRequest, index: int, count: int) -> ImageRequest:
    """Give what ``count`` pictures of the prompt and seed of that ``index`` need; the frames of a morph share theirs."""
    own = request.single(index).replace(sampler=SAMPLER)
    return own if own.morph_to else own.replace(count=count)
