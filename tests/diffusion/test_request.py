import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.request import DISTILLED, MAX_SEED, SAMPLER_NAMES, ImageRequest, Limits, edited_size, start_step_for
from diffusion.sampling.samplers import FLOW_SAMPLERS, SAMPLERS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", " \n"),
        ("width", 0),
        ("height", -8),
        ("steps", 0),
        ("guidance_scale", math.nan),
        ("guidance_scale", math.inf),
        ("guidance_scale", -1.0),
        ("guidance_scale", 51.0),
        ("sampler", "magic"),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("count", 0),
        ("label_scale", math.nan),
        ("label_scale", -0.1),
        ("label_scale", 50.1),
        ("start_step", -1),
        ("start_step", 50),
        ("upscale", 3),
    ],
)
def test_request_rejects_values_out_of_range(field, value):
    with pytest.raises(InvalidRequestError) as refused:
        ImageRequest(**{"prompt": "a fox", field: value})
    assert refused.value.field == field
    assert len(str(refused.value)) > 20


PICTURE = Image.new("RGB", (8, 8))


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("mask", {"mask": Image.new("L", (8, 8))}),
        ("mask", {"mask": Image.new("L", (9, 8)), "image": PICTURE}),
        ("branches", {"branches": ((0, "a dog"),)}),
        ("branches", {"branches": ((50, "a dog"),)}),
        ("branches", {"branches": ((7, "a dog"), (7, "a cat"))}),
        ("branches", {"branches": ((4, "a dog"),), "image": PICTURE, "start_step": 4}),
        ("branches", {"branches": ((7, " "),)}),
        ("count", {"morph_to": "a dog"}),
        ("morph_to", {"morph_to": "a dog", "count": 2, "image": PICTURE, "mask": Image.new("L", (8, 8))}),
        ("morph_to", {"morph_to": "a dog", "count": 2, "branches": ((7, "a cat"),)}),
        ("animation", {"animation": "mp4"}),
    ],
)
def test_request_rejects_contradictory_settings(field, settings):
    with pytest.raises(InvalidRequestError) as refused:
        ImageRequest("a fox", **settings)
    assert refused.value.field == field
    assert len(str(refused.value)) > 20


def test_morph_frames_share_a_seed_and_have_a_limit():
    morph = ImageRequest("a fox", morph_to="a dog", count=12, seed=MAX_SEED)
    morph.validate_limits(Limits(count=4, frames=12))
    assert morph.seeds == (MAX_SEED,) * 12 and morph.morph_seed == 0
    assert (morph.morph_weight(0), morph.morph_weight(11)) == (0, 1)
    with pytest.raises(InvalidRequestError, match="frames may be at most 11"):
        morph.validate_limits(Limits(frames=11))


def test_img2img_starts_from_its_image_alone():
    masked = ImageRequest("a fox", image=PICTURE, mask=Image.new("L", (8, 8)), branches=((20, "a dog"),), count=3)
    other = Image.new("RGB", (16, 16))
    assert masked.img2img(other, 5) == ImageRequest("a fox", image=other, start_step=5, count=3)
    assert ImageRequest("a fox", morph_to="a dog", count=12).img2img(other, 0) == ImageRequest("a fox", image=other)


def test_request_with_an_image_needs_no_prompt():
    assert ImageRequest("", image=Image.new("RGB", (8, 8))).prompt == ""


def test_request_rejects_upscales_too_large_to_post():
    assert ImageRequest("a fox", width=1024, height=1024, upscale=2).upscale == 2
    with pytest.raises(InvalidRequestError, match="2048 pixels") as refused:
        ImageRequest("a fox", width=1024, height=512, upscale=4)
    assert refused.value.field == "upscale"


def test_variants_share_the_seeds():
    request = ImageRequest("{red|blue} fox", seed=MAX_SEED, count=4, variants=("red fox", "blue fox"))
    assert [request.single(index).prompt for index in range(4)] == ["red fox", "red fox", "blue fox", "blue fox"]
    assert request.seeds == (MAX_SEED, 0, MAX_SEED, 0) == tuple(request.single(index).seed for index in range(4))
    assert request.single(3) == ImageRequest("blue fox", seed=0) and request.prompts == ("red fox", "blue fox")
    request.validate_limits(Limits(count=2))
    with pytest.raises(InvalidRequestError, match="count may be at most 1"):
        request.validate_limits(Limits(count=1))


@pytest.mark.parametrize("changes", [{"count": 3}, {"morph_to": "bear"}])
def test_variants_need_equal_counts_and_no_morph(changes):
    with pytest.raises(InvalidRequestError, match="same number of pictures"):
        ImageRequest("{a|b}", **{"count": 2, "variants": ("a", "b")} | changes)


def test_styles_follow_the_prompt_of_each_image_in_turn():
    request = ImageRequest("fox", seed=7, count=3, styles=("", "flat"))
    assert [request.single(index) for index in range(3)] == [
        ImageRequest("fox", seed=7),
        ImageRequest("fox, flat", seed=8),
        ImageRequest("fox", seed=9),
    ]
    assert request.prompts == ("fox", "fox, flat")
    assert request.replace(count=1, styles=("ink",)).single(0) == ImageRequest("fox, ink", seed=7)


def test_replace_validates_the_copy():
    request = ImageRequest("a fox")
    assert request.replace(seed=4).seed == 4
    with pytest.raises(InvalidRequestError):
        request.replace(steps=-1)


@pytest.mark.parametrize(("field", "value"), [("width", 129), ("height", 129), ("steps", 6), ("count", 2)])
def test_validate_limits_names_field_and_limit(field, value):
    request = ImageRequest("a fox", width=64, height=64, steps=5)
    limits = Limits(side=64, steps=5, count=1)
    request.validate_limits(limits)
    with pytest.raises(InvalidRequestError, match="at most") as refused:
        request.replace(**{field: value}).validate_limits(limits)
    assert refused.value.field == field


def test_validate_limits_allows_as_many_pixels_as_the_largest_square():
    limits = Limits()
    for width, height in ((1024, 1024), (1216, 832), (768, 1344), (2048, 512)):
        ImageRequest("a fox", width=width, height=height).validate_limits(limits)
        assert limits.shrink_size(width, height, 8) == (width, height)
    with pytest.raises(InvalidRequestError, match="as many pixels as 1024x1024 here, and 1280x840 has more"):
        ImageRequest("a fox", width=1280, height=840).validate_limits(limits)


@given(st.floats(1, 5000), st.floats(1, 5000), st.sampled_from([8, 16, 64]), st.integers(64, 2048))
def test_shrink_size_keeps_to_the_limits(width, height, grid, side):
    shrunk = Limits(side=side).shrink_size(width, height, grid)
    assert Limits(side=side).allow_size(*shrunk)
    assert all(each % grid == 0 and each >= grid for each in shrunk)


def test_seeds_wrap_round():
    assert ImageRequest("a", seed=MAX_SEED, count=3).seeds == (MAX_SEED, 0, 1)


@pytest.mark.parametrize(("similarity", "step"), [(0, 0), (0.5, 10), (0.96, 19), (1, 19)])
def test_start_step_for_skips_a_share_of_the_steps(similarity, step):
    assert start_step_for(similarity, 20) == step


@pytest.mark.parametrize("similarity", [-0.1, 1.1, math.nan])
def test_start_step_for_rejects_values_out_of_range(similarity):
    with pytest.raises(InvalidRequestError):
        start_step_for(similarity, 20)


def test_uses_classifier_needs_a_label_and_a_scale():
    assert ImageRequest("a", guide_label="red").uses_classifier
    assert not ImageRequest("a", guide_label="red", label_scale=0).uses_classifier
    assert not ImageRequest("a", label_scale=3).uses_classifier


def test_every_sampler_has_a_display_name():
    assert {*SAMPLERS, *FLOW_SAMPLERS, DISTILLED} == SAMPLER_NAMES.keys()
    assert len(SAMPLER_NAMES) < 25  # a select of Discord has one choice more, and the select of /settings one for "not set"


@pytest.mark.parametrize(
    ("size", "seen"),
    [((112, 80), (112, 80)), ((73, 200), (64, 192)), ((10, 20), (64, 128)), ((4000, 3000), (1168, 880))],
)
def test_a_picture_to_edit_is_seen_in_its_own_shape(size, seen):
    assert edited_size(*size) == seen


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": None}, "takes one whole picture"),
        ({"start_step": 3}, "Leave out the mask and the start step"),
        ({"prompt": " "}, "Say what to change"),
    ],
)
def test_an_edit_needs_words_and_one_whole_picture(changes, words):
    whole = ImageRequest("make it night", image=Image.new("RGB", (64, 64)), is_edit=True)
    with pytest.raises(InvalidRequestError, match=words):
        whole.replace(**changes)
