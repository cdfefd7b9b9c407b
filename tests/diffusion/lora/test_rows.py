"""Rows with other LoRAs in one call, against one LoRA at a time."""

import copy

import torch

from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support.lora_files import merge
from tests.support.models import model_of
from tests.support.parity import difference_of

SCALES = {"style": 2 / 4, "texts": 2 / 4, "convs": 2 / 3}  # alpha / rank of the files
MIXED = [
    ImageRequest("a red fox", "", 32, 32, 4, 7.5, "ddim", seed=1),
    ImageRequest("two cats", "dog", 32, 32, 3, 3.0, "euler", seed=2, loras=(("style", 0.8),)),
    ImageRequest("a red fox", "dog", 32, 32, 4, 7.5, "dpm++", seed=3, loras=(("texts", -0.6), ("style", 0.5))),
    ImageRequest("a barn", "", 32, 32, 2, 1.0, "ddim", seed=4, loras=(("convs", 1.2),)),
]


def merged_latents(components, pairs, request):
    """Draw ``request`` with a copy of the model whose weights have its LoRAs added."""
    parts = {name: copy.deepcopy(part) for name, part in components.items()}
    networks = {name: parts[name] for name in ("unet", "text_encoder")}
    for name, weight in request.loras:
        merge(networks, pairs[name], weight * SCALES[name])
    model = model_of(parts)
    return denoise_all(model, [model.trajectory(request.replace(loras=()))])[0]


def test_mixed_rows_equal_merged_weights(model, components, pairs):
    together = denoise_all(model, [model.trajectory(request) for request in MIXED])
    without = denoise_all(model, [model.trajectory(request.replace(loras=())) for request in MIXED])
    for request, found, plain in zip(MIXED, together, without, strict=True):
        wanted = merged_latents(components, pairs, request)
        print(f"{request.loras}: {difference_of(found, wanted):.1e}, changes {difference_of(plain, wanted):.2f}")
        assert difference_of(found, wanted) <= 1e-5
        assert not request.loras or difference_of(plain, wanted) > 0.01


def test_mixed_rows_equal_each_alone(model):
    together = denoise_all(model, [model.trajectory(request) for request in MIXED])
    for request, found in zip(MIXED, together, strict=True):
        assert difference_of(found, denoise_all(model, [model.trajectory(request)])[0]) <= 1e-4


def test_one_row_with_a_lora_does_not_change_others(model):
    requests = [request.replace(guidance_scale=1.0, steps=2) for request in (MIXED[0], MIXED[1])]
    together = denoise_all(model, [model.trajectory(request) for request in requests])
    for request, found in zip(requests, together, strict=True):
        assert difference_of(found, denoise_all(model, [model.trajectory(request)])[0]) <= 1e-4


def test_pictures_without_lora_are_the_same_to_the_byte(model, components):
    plain = model_of(components)
    settings = {"seeds": [1, 2], "steps": 4, "width": 32, "height": 32}
    model.trajectory(MIXED[1])  # loads a LoRA
    drawn = model.generate(["a fox", "a cat"], **settings)
    assert [image.tobytes() for image in drawn] == [image.tobytes() for image in plain.generate(["a fox", "a cat"], **settings)]


def test_a_compiled_model_draws_rows_with_loras_by_the_uncompiled_network(model, monkeypatch):
    calls = []

    class Recorded:
        def __init__(self, network, *example, **conditions):
            self.network = network

        def fits(self, latents):
            return True

        def __call__(self, latents, timesteps, **conditions):
            calls.append((len(latents), set(conditions)))
            return self.network(latents, timesteps, **conditions)

    monkeypatch.setattr("diffusion.families.model.is_installed", lambda: False)
    monkeypatch.setattr("diffusion.families.model.Compiled", Recorded)
    wanted = denoise_all(model, [model.trajectory(request) for request in MIXED[:2]])
    monkeypatch.setattr(model, "_network", model._network)
    model.compile()
    found = denoise_all(model, [model.trajectory(request) for request in MIXED[:2]])
    assert calls == [(2, {"prompt_embeds"})] * MIXED[0].steps
    for latents, plain in zip(found, wanted, strict=True):
        assert difference_of(latents, plain) <= 1e-5


def test_a_copy_of_an_adapted_network_draws_without_loras(model, networks):
    model.trajectory(MIXED[1])
    copied = copy.deepcopy(model.family.denoiser)
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([5.0]), torch.randn(1, 77, copied.config.cross_attention_dim)
    with torch.no_grad():
        assert torch.equal(copied(*inputs)[0], networks["unet"](*inputs)[0])
