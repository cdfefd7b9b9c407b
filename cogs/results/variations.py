"""Requests that start from a finished picture: variations and upscales.

Nothing here talks to Discord.
"""

from typing import Final

from PIL import Image

from cogs.core.policy.context import Context
from cogs.core.request.prompt import ParsedPrompt
from diffusion.errors import InvalidRequestError, Problems
from diffusion.request import MAX_UPSCALED_SIDE, ImageRequest, Limits, random_seed, start_step_for

SIMILARITIES: Final = {"subtle": 0.65, "strong": 0.25}
UPSCALE: Final = 2


def with_fresh_seed(request: ImageRequest) -> ImageRequest:
    """Return ``request`` with seeds that it does not have yet."""
    while True:
        fresh = request.replace(seed=random_seed())
        if set(fresh.seeds).isdisjoint(request.seeds):
            return fresh


def with_prompt(
    context: Context, request: ImageRequest, parsed: ParsedPrompt, problems: Problems, *, no_aspect: str
) -> ImageRequest:
    """Return ``request`` with the prompt that a member typed, at its own size.

    Raises `InvalidRequestError` with all ``problems``; ``no_aspect`` is the sentence against another size.
    """
    edited = request
    with problems.collect():
        if "aspect" in parsed.flags:
            raise InvalidRequestError("aspect", no_aspect)
    with problems.collect():
        edited = context.interaction.client.service.builder.edit(context, request, parsed)
    problems.report()
    return edited


def img2img(request: ImageRequest, picture: Image.Image, index: int, similarity: float) -> ImageRequest:
    """Return the request for variations of ``picture``.

    ``request`` made the picture as its number ``index``. Its sampler should have evenly spaced steps: with others a picture may
    be nearly clean after a third of them.
    """
    fresh = with_fresh_seed(single(request, index, request.count_each))
    return fresh.img2img(picture, start_step_for(similarity, request.steps))


def validate_upscale(request: ImageRequest, limits: Limits) -> None:
    """Raise `InvalidRequestError` if twice the size of ``request`` is too large."""
    width, height = UPSCALE * request.width, UPSCALE * request.height
    most = min(limits.side, MAX_UPSCALED_SIDE // request.upscale)
    if request.upscale * max(width, height) > MAX_UPSCALED_SIDE or not limits.allow_size(width, height):
        raise InvalidRequestError(
            "width",
            "This picture would be {width}x{height}, and the limit here is as many pixels as {most}x{most}:"
            " it cannot be upscaled.",
            width=width,
            height=height,
            most=most,
        )


def upscaled(request: ImageRequest, picture: Image.Image, index: int, start: float) -> ImageRequest:
    """Return the request for ``picture`` at twice the size.

    ``request`` made the picture as its number ``index``. The enlarged picture gets the noise of the step at the share ``start``
    of all steps, and is drawn from there.
    """
    one = single(request, index, 1).img2img(picture, start_step_for(start, request.steps))
    return one.replace(width=UPSCALE * request.width, height=UPSCALE * request.height)


def single(request: ImageRequest, index: int, count: int) -> ImageRequest:
    """Return the request for ``count`` pictures like the one of that ``index``.

    They share its prompt and seed. A morph keeps all of its frames.
    """
    own = request.single(index)
    return own if own.morph_to else own.replace(count=count)
