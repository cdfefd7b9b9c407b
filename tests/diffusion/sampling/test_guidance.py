"""Classifier guidance: what it does to one picture, and that it leaves the others alone."""

import itertools
import shutil

import pytest
import torch

from diffusion.errors import InvalidRequestError, ModelLoadError, NotFiniteError
from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.loading.model import load_model
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import ImageRequest
from diffusion.sampling.classifier_guidance import classifier_guidance
from diffusion.sampling.guidance import predict_x_0
from diffusion.sampling.samplers import SAMPLERS
from diffusion.sampling.trajectory import denoise_all, step
from diffusion.serving.engine import Engine
from tests.support.models import build_classifier, model_of

TOLERANCE = 1e-3


def asked(seed=1, **settings):
    defaults = {"width": 32, "height": 32, "steps": 6, "sampler": "ddim", "guidance_scale": 3.0}
    return ImageRequest("a fox", seed=seed, **defaults | settings)


def drawn(model, *requests):
    return denoise_all(model, [model.trajectory(request) for request in requests])


def log_p(classifier, x_t, timesteps, labels):
    heads = [logits.log_softmax(1) for logits in classifier(x_t, timesteps)]
    return torch.cat(heads, 1).gather(1, labels[:, None])[:, 0]


@pytest.fixture(scope="module")
def classifier():
    return build_classifier().eval().requires_grad_(False)


def test_classifier_guidance_follows_equation_14():
    eps, gradient = torch.randn(2, 1, 4, 4, 4)
    expected = eps - (1 - 0.3) ** 0.5 * 2.5 * gradient
    torch.testing.assert_close(
        classifier_guidance(eps, gradient, torch.tensor(0.3), scale=2.5, prediction_type="epsilon"), expected
    )


@pytest.mark.parametrize("alpha_bar", [0.005, 0.3, 0.95])
def test_classifier_guidance_agrees_for_epsilon_and_v_prediction(alpha_bar):
    x_0, noise, gradient = torch.randn(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha_bar = torch.tensor(alpha_bar, dtype=torch.float64)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise
    velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x_0

    def guided(output, prediction_type):
        output = classifier_guidance(output, gradient, alpha_bar, scale=2.5, prediction_type=prediction_type)
        return predict_x_0(x_t, output, alpha_bar, prediction_type)

    torch.testing.assert_close(guided(noise, "epsilon"), guided(velocity, "v_prediction"))
    torch.testing.assert_close(guided(noise, "epsilon"), x_0 + (1 - alpha_bar) / alpha_bar.sqrt() * 2.5 * gradient)


def test_gradient_is_that_of_each_rows_label(classifier):
    x_t, timesteps = torch.randn(3, 4, 4, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([10.0, 500.5, 990.0])
    labels, towards = torch.tensor([2, 0, 4]), torch.randn(3, 4, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        gradient = classifier.gradient(x_t + 0, timesteps + 0, labels + 0)

    exact, small = classifier.double(), 1e-4
    ahead, behind = (log_p(exact, (x_t + sign * small * towards).double(), timesteps, labels) for sign in (1, -1))
    classifier.float()
    expected = ((ahead - behind) / (2 * small)).float()
    torch.testing.assert_close((gradient * towards).sum((1, 2, 3)), expected, rtol=1e-3, atol=1e-4)


def test_classifier_takes_latents_of_any_size(classifier):
    for height, width in ((4, 4), (3, 9), (16, 16)):
        groups, colours = classifier(torch.randn(2, 4, height, width), torch.tensor([1.0, 999.0]))
        assert (groups.shape, colours.shape) == ((2, 2), (2, 3))


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_label_scale_makes_the_label_likelier(steerable_model, guidance_scale):
    request = asked(guidance_scale=guidance_scale)
    clean, blue = torch.zeros(1), torch.tensor([steerable_model.guide_labels.index("blue")])
    surer = [
        log_p(steerable_model.classifier.network, drawn(steerable_model, each)[0].clone(), clean, blue).item()
        for each in (
            request,
            request.replace(guide_label="blue", label_scale=0.5),
            request.replace(guide_label="blue", label_scale=2.0),
        )
    ]
    assert surer[0] < surer[1] < surer[2]


@pytest.mark.parametrize("sampler", ["ddim", "euler_a", "heun"])
def test_label_scale_of_0_never_calls_the_classifier(steerable_model, sampler, monkeypatch):
    monkeypatch.setattr(steerable_model.classifier, "gradient", lambda *rows: 1 / 0)
    plain = asked(sampler=sampler)
    [without], [at_0] = drawn(steerable_model, plain), drawn(steerable_model, plain.replace(guide_label="red", label_scale=0.0))
    assert torch.equal(without, at_0)


def test_label_guidance_in_a_mixed_batch_is_as_when_alone(steerable_model):
    labels = ("red", "", "animal", "blue", "", "green", "food")
    requests = [
        asked(
            index,
            sampler=sampler,
            steps=5 + index % 5,
            guidance_scale=(1.0, 3.0)[index % 2],
            guide_label=label,
            label_scale=1 + index,
        )
        for index, (sampler, label) in enumerate(zip(SAMPLERS, itertools.cycle(labels), strict=False))
    ]
    together = drawn(steerable_model, *requests)
    alone = [drawn(steerable_model, request)[0] for request in requests]
    unsteered = [drawn(steerable_model, request.replace(guide_label=""))[0] for request in requests]

    assert max((a - b).abs().max() for a, b in zip(together, alone, strict=True)) <= TOLERANCE
    for request, steered, plain in zip(requests, alone, unsteered, strict=True):
        assert ((steered - plain).abs().max() > 10 * TOLERANCE) == bool(request.guide_label)


def test_apply_stacks_one_classifier_call_per_step(steerable_model, monkeypatch):
    gradient, rows = steerable_model.classifier.gradient, []

    def counted(latents, timesteps, labels):
        rows.append(labels.tolist())
        return gradient(latents, timesteps, labels)

    monkeypatch.setattr(steerable_model.classifier, "gradient", counted)
    requests = asked(guide_label="red"), asked(), asked(guidance_scale=1.0, guide_label="food")
    step(steerable_model, [steerable_model.trajectory(request) for request in requests])
    assert rows == [[2, 1]]


def test_step_fails_only_the_image_whose_gradient_is_not_finite(steerable_model, monkeypatch):
    gradient = steerable_model.classifier.gradient

    def overflows_in_the_first(*rows):
        gradients = gradient(*rows)
        gradients[0, 0, 0, 0] = torch.inf
        return gradients

    monkeypatch.setattr(steerable_model.classifier, "gradient", overflows_in_the_first)
    broken, plain, steered = (steerable_model.trajectory(asked(guide_label=label)) for label in ("red", "", "blue"))
    step(steerable_model, [broken, plain, steered])
    assert isinstance(broken.error, NotFiniteError) and broken.step_index == 0
    assert [each.step_index for each in (plain, steered)] == [1, 1] and not plain.error and not steered.error


async def test_engine_guides_by_label(steerable_model):
    request = asked(guide_label="red", label_scale=3.0)
    async with Engine(steerable_model) as engine:
        result = await engine.submit(request)
    alone = steerable_model.decode(drawn(steerable_model, request)[0])[0]
    assert max(abs(a - b) for a, b in zip(alone.tobytes(), result.images[0].tobytes(), strict=True)) <= 1


def test_validate_names_the_known_labels(steerable_model, tiny_model):
    with pytest.raises(InvalidRequestError, match="'mauve', only to animal, food, red, green, blue") as refused:
        steerable_model.validate(asked(guide_label="mauve"))
    assert refused.value.field == "guide_label"
    with pytest.raises(InvalidRequestError, match="no classifier"):
        tiny_model.validate(asked(guide_label="red"))
    assert tiny_model.guide_labels == ()


def test_load_model_reads_a_half_precision_classifier_in_float32(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    build_classifier().half().save_pretrained(folder / "classifier")
    loaded = load_model(folder, device="cpu", dtype=torch.float32)
    rounded = model_of(build_tiny_components() | {"classifier": build_classifier().half().float()})

    assert loaded.guide_labels == ("animal", "food", "red", "green", "blue")
    assert loaded.classifier.network.dtype == torch.float32
    request = asked(guide_label="green")
    assert torch.equal(drawn(loaded, request)[0], drawn(rounded, request)[0])


def test_load_model_rejects_a_damaged_classifier(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "classifier").mkdir()
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load_model(folder)


def test_load_model_rejects_a_classifier_of_other_latents(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    NoisyLatentClassifier(("animal",), ("red",), 8, block_out_channels=(8,)).save_pretrained(folder / "classifier")
    with pytest.raises(ModelLoadError, match="reads 8 latent channels and its UNet makes 4"):
        load_model(folder)


def test_classifier_labels_are_those_of_both_heads():
    assert NoisyLatentClassifier(("animal",), ("red", "blue"), block_out_channels=(8,)).labels == ("animal", "red", "blue")
