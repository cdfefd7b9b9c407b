"""Files fit the limit of a file and of a request; texts are cut after escaping, so Discord takes each of them."""

from datetime import UTC, datetime

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cogs.core.i18n.catalogues import LANGUAGE_BY_LOCALE
from cogs.core.messages import message, render
from cogs.core.messages.message import LAYOUT_LIMIT, PictureFile, Result, fit_text, fit_together
from cogs.core.storage.creations import Creation
from diffusion.images.io import to_png
from diffusion.request import ImageRequest
from tests.support.messages import private_text

NOISE = numpy.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=numpy.uint8)
PNG = to_png(Image.fromarray(NOISE))  # about 7 kB, which WebP hardly shrinks without loss
TEXTS = st.text(st.sampled_from("a *`_~|\\<@.:/#-1"), max_size=300)


def result(count):
    return Result("fox", tuple(PictureFile(f"{number}.png", PNG, "a fox") for number in range(count)))


def size_of(answer):
    return sum(len(picture.data) for picture in answer.pictures)


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


@given(TEXTS, st.integers(10, 200))
def test_fit_text_cuts_after_escaping(text, most):
    fitted = fit_text(text, most, render.escape)
    assert len(fitted) <= most
    assert fitted == render.escape(text) or fitted.endswith("…")


def test_fit_text_uses_the_room_it_has():
    assert fit_text("a" * 11, 10) == "a" * 9 + "…"
    assert fit_text("*" * 11, 10, render.escape) == r"\*\*\*\*…"
    assert fit_text("*" * 5, 10, render.escape) == r"\*" * 5


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(60, 900))
def test_fit_together_cuts_the_longest_only(texts, most):
    fitted = fit_together(texts, most, render.escape)
    assert sum(map(len, fitted)) <= most
    if sum(len(render.escape(text)) for text in texts) <= most:
        assert fitted == [render.escape(text) for text in texts]
    shortest = min(texts, key=lambda text: len(render.escape(text)))
    assert render.escape(shortest) in fitted or len(render.escape(shortest)) > most // len(texts)


@pytest.mark.parametrize("language", ["en", *dict.fromkeys(LANGUAGE_BY_LOCALE.values())])
def test_info_fits_into_a_layout(language):
    branches = tuple((step, "`" * 1000) for step in (3, 4, 5))
    request = ImageRequest("`" * 1000, "`" * 1000, guide_label="x" * 50, count=4, branches=branches)
    creation = Creation(
        id=2**62,
        parent_id=2**62 - 1,
        owner=2**62,
        guild_id=2**62,
        channel_id=2**62,
        message_id=2**62,
        created=datetime.now(UTC),
        model="m" * 200,
        seconds=12345.6,
        private=False,
    )
    assert len(render.info_text(request, creation, language)) <= LAYOUT_LIMIT


def test_info_keeps_long_prompts_whole():
    text = render.info_text(ImageRequest("red fox " * 120, "dog " * 240), None)
    assert "red fox " * 120 in text and "dog " * 240 in text


async def test_question_about_marked_up_prompts_fits_into_a_message(server, monkeypatch):
    monkeypatch.setattr(server.service.engine.model, "validate", lambda request: None)  # of the length of the prompt
    shown = await server.alice.slash(server.channel, "imagine", prompt="*" * 150 + "{0|1|2|3|4|5|6|7|8|9}")
    question = private_text(shown)
    assert question.startswith("This makes 10 pictures:") and "\n10. " in question
