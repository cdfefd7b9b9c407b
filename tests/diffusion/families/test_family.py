"""A family that has nothing of Stable Diffusion's draws by the same engine, in the same steps."""

from types import MappingProxyType

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from torch import nn

from diffusion.config import EngineConfig
from diffusion.errors import InvalidRequestError
from diffusion.families.family import Family
from diffusion.families.model import ImageModel
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.samplers import Sampler
from diffusion.sampling.trajectory import denoise_all
from diffusion.serving.engine import Engine


class Letters(Family):
    """Hears one row of code points of any length and the picture's size; its latents are pixels, 3 to a cell of 4 x 4."""

    pipeline, label, parts = "LettersPipeline", "Letters", MappingProxyType({})
    samplers = MappingProxyType({"euler": Sampler(EulerDiscreteScheduler)})
    guidance_above = float("inf")  # its network knows the scale itself: one row is enough
    grid, latent_factor, latent_channels, sample_side, max_tokens, tokenizer = 8, 4, 3, 16, 50, None
    device, dtype, pixel_dtype = torch.device("cpu"), torch.float32, torch.float32

    def __init__(self):
        torch.manual_seed(0)
        self.denoiser = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
        self.calls = []

    def count_tokens(self, text):
        return len(text)

    def encode(self, text, request):
        letters = torch.tensor([[ord(letter) / 1000 for letter in text]])
        return Conditions({"letters": letters, "scale": torch.tensor([request.guidance_scale])})

    def predict(self, latents, timesteps, letters, scale):
        self.calls.append(letters.shape)
        return self.denoiser(latents) * (letters.sum(1) * scale / 10).view(-1, 1, 1, 1)

    def schedule(self, sampler, steps, shape):
        return self.samplers[sampler].schedule({}, steps)

    def predict_x_0(self, x_t, predictions, timesteps):
        return x_t - predictions

    def to_latents(self, pixels, generator):
        return nn.functional.avg_pool2d(pixels, 4)

    def to_pixels(self, latents):
        return nn.functional.interpolate(latents, scale_factor=4.0).clamp(-1, 1)


@pytest.fixture
def model():
    return ImageModel(Letters(), name="letters")


def requests_of(model):
    common = {"sampler": "euler", "steps": 4}
    return [model.request(prompt, seed=seed, **common) for seed, prompt in enumerate(("fox", "a red apple"))]


async def test_engine_draws_another_family_in_one_call_a_step(model):
    async with Engine(model, EngineConfig(max_rows=8)) as engine:
        jobs = [engine.submit(request) for request in requests_of(model)]
        results = [await job for job in jobs]
    assert model.family.calls == [(2, len("a red apple"))] * 4
    assert [result.images[0].size for result in results] == [(16, 16)] * 2
    assert results[0].timelapses[0].size == (4, 4 * 4)


def test_shared_step_draws_what_each_step_alone_draws(model):
    alone = [denoise_all(model, [model.trajectory(request)])[0] for request in requests_of(model)]
    together = denoise_all(model, [model.trajectory(request) for request in requests_of(model)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)  # of values up to 20


@pytest.mark.parametrize(("field", "settings"), [("sampler", {"sampler": "lms"}), ("width", {"width": 20})])
def test_validate_refuses_what_the_family_does_not_take(model, field, settings):
    with pytest.raises(InvalidRequestError) as refused:
        model.validate(model.request("fox", **{"sampler": "euler"} | settings))
    assert refused.value.field == field
