"""Files fit the limit of a file and of a request."""

import numpy
import pytest
from PIL import Image

from cogs.core.messages import message
from cogs.core.messages.message import PictureFile, Result
from diffusion.images.io import to_png

NOISE = numpy.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=numpy.uint8)
PNG = to_png(Image.fromarray(NOISE))  # about 7 kB, which WebP hardly shrinks without loss


def result(count):
    return Result("fox", tuple(PictureFile(f"{number}.png", PNG, "a fox") for number in range(count)))


def size_of(answer):
    return sum(len(picture.data) for picture in answer.attached)


@pytest.mark.parametrize(("count", "fits"), [(3, True), (4, False)])
def test_files_of_one_request_share_its_limit(monkeypatch, count, fits):
    monkeypatch.setattr(message, "MAX_REQUEST_BYTES", 3 * len(PNG))
    assert result(count).fits(limit=0) is fits
    assert result(count).fits(limit=10 * len(PNG)) is fits
    assert not result(count).fits(limit=len(PNG) - 1)


def test_smaller_files_fit_the_limit_of_a_request(monkeypatch):
    monkeypatch.setattr(message, "MAX_REQUEST_BYTES", 3 * len(PNG))
    smaller = result(4).smaller(limit=10 * len(PNG))
    assert size_of(smaller) <= 3 * len(PNG)
    assert smaller.shrink_level == 2  # the first that is not lossless


def test_request_limit_is_that_of_discord():
    assert message.MAX_REQUEST_BYTES < 25 * 2**20 <= message.MAX_REQUEST_BYTES + 2**17
