import pytest

from cogs.emoji.expressions import EMOJI, STICKER, guess_tag
from diffusion.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("prompt", "emoji", "sticker"),
    [
        ("red apple", "red_apple", "red apple"),
        ("Fox wearing a top hat, pixel art", "fox_wearing_a_top_hat", "Fox wearing a top hat"),
        ("crème brûlée!", "creme_brulee", "crème brûlée!"),
        ("grinning cat wearing sunglasses on a beach", "grinning_cat_wearing_sunglasses", "grinning cat wearing"),
        ("x" * 50, "x" * 32, "x" * 30),
        ("日本", "darkroom", "日本"),
        ("", "darkroom", "darkroom"),
    ],
)
def test_guess_name_returns_valid_names(prompt, emoji, sticker):
    assert (EMOJI.guess_name(prompt), STICKER.guess_name(prompt)) == (emoji, sticker)
    assert (EMOJI.validate_name(emoji), STICKER.validate_name(sticker)) == (emoji, sticker)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(EMOJI, "a"), (EMOJI, "a" * 33), (EMOJI, "a b"), (EMOJI, "ä_b"), (EMOJI, "a-b"), (STICKER, "a"), (STICKER, "a" * 31)],
)
def test_validate_name_rejects_invalid_names(kind, name):
    with pytest.raises(InvalidRequestError, match="2 to 3"):
        kind.validate_name(name)


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [("red apple", "🍎"), ("a fox in the snow", "🦊"), ("cat face", "🐱"), ("letter A", "🎨"), ("plus sign", "🎨"), ("", "🎨")],
)
def test_guess_tag_chooses_the_emoji_of_the_prompt(prompt, tag):
    assert guess_tag(prompt) == tag
