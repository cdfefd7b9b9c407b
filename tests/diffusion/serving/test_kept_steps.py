import pytest
import torch
from PIL import Image

from diffusion.config import EngineConfig
from diffusion.images.masks import box_mask
from diffusion.request import ImageRequest
from diffusion.serving.engine import Engine
from diffusion.serving.kept_steps import Answer, KeptSteps, Segment

STEPS = 6
PICTURE = Image.new("RGB", (32, 32), "orange")


def asked(prompt="a fox", **settings):
    return ImageRequest(prompt, **{"width": 32, "height": 32, "steps": STEPS, "sampler": "ddim", "seed": 3} | settings)


@pytest.fixture
def calls(tiny_model, monkeypatch):
    """The rows of each network call."""
    rows = []
    predict_noise = tiny_model.predict_noise

    def count(latents, timesteps, conditions):
        rows.append(len(latents))
        return predict_noise(latents, timesteps, conditions)

    monkeypatch.setattr(tiny_model, "predict_noise", count)
    return rows


async def draw(model, *requests, anew=False):
    """Draw ``requests`` one after another with one engine; return the pictures and animations of the last."""
    async with Engine(model, EngineConfig()) as engine:
        for request in requests:
            job = engine.submit(request)
            job.draws_anew = anew
            result = await job
    return [image.tobytes() for image in (*result.images, *result.timelapses)]


@pytest.mark.parametrize("sampler", ["ddim", "lms", "heun", "euler_a", "dpm++", "pndm", "dpm++_2m_sde"])
async def test_branch_goes_on_from_the_step_it_leaves(tiny_model, calls, sampler):
    first = asked(sampler=sampler)
    branch = first.branch_at(4, "a dog")
    from_noise = await draw(tiny_model, branch)
    drawn = len(calls)
    calls.clear()
    assert await draw(tiny_model, first, branch) == from_noise
    assert len(calls) == drawn + (3 if sampler == "heun" else 2)


async def test_branch_of_a_loose_picture_goes_on_from_the_step_it_leaves(tiny_model, calls):
    loose = asked(variety=50)
    branch = loose.branch_at(2, "a dog")
    from_noise = await draw(tiny_model, branch)
    calls.clear()
    assert await draw(tiny_model, loose, branch) == from_noise
    assert len(calls) == STEPS + STEPS - 2


async def test_branch_of_a_branch_goes_on_from_the_later_one(tiny_model, calls):
    branch = asked().branch_at(2, "a dog")
    second = branch.branch_at(4, "a cat")
    from_noise = await draw(tiny_model, second)
    calls.clear()
    assert await draw(tiny_model, branch, second) == from_noise
    assert len(calls) == STEPS + 2


KINDS = {
    "text": {},
    "picture": {"image": PICTURE, "start_step": 1},
    "inpainting": {"image": PICTURE, "mask": box_mask(PICTURE.size, (8, 8, 24, 24))},
    "morph": {"morph_to": "a dog", "count": 2},
    "variants": {"variants": ("a fox", "a dog"), "count": 2},
    "interval": {"guidance_interval": (0.0, 0.5)},
    "variety": {"variety": 50},
    "noisy": {"sampler": "euler_a"},
}


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
async def test_repetition_makes_one_call_for_the_same_bytes(tiny_model, calls, settings):
    request = asked(**settings)
    from_noise = await draw(tiny_model, request)
    drawn = len(calls)
    calls.clear()
    assert await draw(tiny_model, request, request) == from_noise
    assert len(calls) == drawn + 1


async def test_more_pictures_of_a_request_reuse_its_first(tiny_model, calls):
    await draw(tiny_model, asked(), asked(count=2))
    assert sum(calls) == 2 * STEPS + 2 + 2 * STEPS


CHANGES = {
    "seed": {"seed": 4},
    "prompt": {"prompt": "a dog"},
    "negative prompt": {"negative_prompt": "a dog"},
    "guidance": {"guidance_scale": 2.0},
    "steps": {"steps": STEPS + 1},
    "sampler": {"sampler": "lms"},
    "size": {"width": 40},
    "picture": {"image": PICTURE},
    "variety": {"variety": 30},
    "interval of guidance": {"guidance_interval": (0.0, 0.5)},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
async def test_other_request_is_drawn_from_noise(tiny_model, calls, changes):
    await draw(tiny_model, asked(), asked().replace(**changes))
    assert len(calls) == 2 * STEPS + ("steps" in changes)


async def test_request_can_be_drawn_anew(tiny_model, calls):
    await draw(tiny_model, asked(), asked(), anew=True)
    assert len(calls) == 2 * STEPS


async def test_request_with_a_guidance_period_is_drawn_from_noise(tiny_model, calls):
    request = asked(guidance_period=2)
    assert await draw(tiny_model, request, request) == await draw(tiny_model, request)
    assert len(calls) == 3 * STEPS


async def test_answers_of_another_backend_are_forgotten(tiny_model, calls, monkeypatch):
    async with Engine(tiny_model) as engine:
        await engine.submit(asked())
        monkeypatch.setattr(tiny_model, "revision", tiny_model.revision + 1)
        await engine.submit(asked())
    assert len(calls) == 2 * STEPS


def test_least_recently_used_answers_leave_first():
    answer = Answer(torch.zeros(1, 4, 4, 4), torch.zeros(4, 4, 3, dtype=torch.uint8))
    first, second, third = ((Segment(name, 0, 2),) for name in (b"first", b"second", b"third"))
    kept = KeptSteps(max_bytes=4 * answer.nbytes)
    for segments in (first, second):
        kept.add(segments, 0, answer)
        kept.add(segments, 1, answer)
    kept.add(first, 0, answer)
    kept.add(third, 0, answer)
    assert [name in kept for name in (b"first", b"second", b"third")] == [True, False, True]
