"""Templates for people: gaps, plural forms and English texts."""

import pytest

from diffusion.errors import DarkroomError, InvalidRequestError
from diffusion.text import fill, plural


@pytest.mark.parametrize(("count", "english"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (5, "5 steps")])
def test_plural_is_chosen_by_the_number(count, english):
    assert str(DarkroomError(plural("{count} step", "{count} steps"), count=count)) == english


def test_plural_is_chosen_by_the_value_named():
    error = DarkroomError(plural("{left} of {most} picture", "{left} of {most} pictures", by="most"), left=0, most=1)
    assert str(error) == "0 of 1 picture"


def test_error_keeps_its_template_and_values():
    error = DarkroomError("You wait for {most} requests, {…|…}.", most=5)
    assert (str(error), error.values) == ("You wait for 5 requests, {…|…}.", {"most": 5})


def test_invalid_request_fills_in_the_name_of_its_field():
    assert str(InvalidRequestError("guidance_scale", "The {field} is odd.")) == "The guidance scale is odd."


def test_fill_does_not_read_gaps_in_values():
    assert fill("“{word}” {b}", {"word": "{b}", "b": 1}) == "“{b}” 1"
