"""Requests that start from the mixture of several pictures."""

import pytest
import torch
from PIL import Image

from diffusion.cluster.schema import decode_request, encode_request
from diffusion.errors import InvalidRequestError
from diffusion.images.io import hstack
from diffusion.images.source import blended_pictures, fit_source
from diffusion.request import ImageRequest, Limits

COLOURS = ("red", "lime", "blue")
PICTURES = [Image.new("RGB", (32, 32), colour) for colour in COLOURS]
SHEET = hstack(PICTURES)


def request_for(model, weights, pictures=PICTURES):
    return model.request("a pond", image=hstack(pictures[: len(weights)]), blend=weights, steps=4, start_step=2, seed=1)


def first_latents(model, request):
    return model.trajectory(request).sample


def test_a_blend_of_equal_pictures_is_that_picture(tiny_model, monkeypatch):
    monkeypatch.setattr(tiny_model.family, "to_latents", lambda pixels, generator: pixels[:, :, ::8, ::8][:, [0, 1, 2, 0]])
    same = request_for(tiny_model, (1.0, 2.0), [PICTURES[0]] * 2)
    alone = same.img2img(PICTURES[0], 2)
    assert torch.allclose(first_latents(tiny_model, same), first_latents(tiny_model, alone), atol=1e-6)


def test_a_blend_is_the_weighted_mean(tiny_model, monkeypatch):
    monkeypatch.setattr(tiny_model.family, "to_latents", lambda pixels, generator: pixels[:, :, ::8, ::8][:, [0, 1, 2, 0]])
    mixed, red, lime, blue = (
        first_latents(tiny_model, request)
        for request in (
            request_for(tiny_model, (1.0, 2.0, 5.0)),
            *(request_for(tiny_model, (1.0, 1.0)).img2img(picture, 2) for picture in PICTURES),
        )
    )
    assert torch.allclose(mixed, (red + 2 * lime + 5 * blue) / 8, atol=1e-5)


def test_fit_source_fits_each_of_the_pictures():
    sheet = hstack([Image.new("RGB", (60, 40), colour) for colour in COLOURS])
    fitted = fit_source(ImageRequest("", width=32, height=48, image=sheet, blend=(1, 1, 1)))
    assert fitted.image.size == (96, 48)
    assert [set(picture.get_flattened_data()) for picture in blended_pictures(fitted)] == [
        {(255, 0, 0)},
        {(0, 255, 0)},
        {(0, 0, 255)},
    ]


def test_a_blend_reaches_a_replica():
    asked = ImageRequest("a pond", width=32, height=32, image=SHEET, blend=(1.0, 2.0, 0.5))
    request, _, _ = decode_request(encode_request(asked, 1), Limits(side=32))
    assert (request.blend, request.image.tobytes()) == (asked.blend, SHEET.tobytes())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"blend": (1.0,)}, "two to five"),
        ({"blend": (1.0,) * 6}, "two to five"),
        ({"blend": (1.0, 0.0, 1.0)}, "above 0"),
        ({"blend": (1.0, float("inf"), 1.0)}, "above 0"),
        ({"blend": (1.0, 1000.0, 1.0)}, "at most 100"),
        ({"blend": (1.0, 1.0, 1.0), "image": None}, "whole pictures"),
        ({"blend": (1.0, 1.0, 1.0), "mask": Image.new("L", SHEET.size)}, "whole pictures"),
        ({"blend": (1.0, 1.0, 1.0, 1.0, 1.0)}, "whole pictures"),
    ],
)
def test_unusable_blends_are_refused(fields, words):
    with pytest.raises(InvalidRequestError, match=words):
        ImageRequest("a pond", **{"image": SHEET} | fields)
