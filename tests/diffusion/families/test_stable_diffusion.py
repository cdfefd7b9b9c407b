import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.families.stable_diffusion import TILE_SIDE
from diffusion.loading.device import best_dtype
from diffusion.loading.model import load_model
from diffusion.request import ImageRequest
from diffusion.sampling.guidance import classifier_free_guidance, predict_x_0
from diffusion.sampling.trajectory import step


def test_load_model_takes_the_dtype_of_the_device(tiny_folder):
    model = load_model(tiny_folder, device="cpu")
    assert model.dtype == best_dtype(torch.device("cpu"))
    assert (model.sample_side, model.latent_factor) == (32, 8)
    assert model.generate(["a fox"], seeds=[1], steps=2)[0].size == (32, 32)


def test_load_model_draws_as_the_saved_model(tiny_folder, tiny_model):
    loaded = load_model(tiny_folder, dtype=torch.float32)
    settings = {"seeds": [4], "steps": 3, "sampler": "ddim"}
    assert loaded.generate(["a fox"], **settings)[0].tobytes() == tiny_model.generate(["a fox"], **settings)[0].tobytes()


@pytest.mark.parametrize("missing", ["vae", "tokenizer", "text_encoder", "unet", "scheduler"])
def test_load_model_reports_a_missing_part(tiny_folder, tmp_path, missing):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    shutil.rmtree(folder / missing)
    with pytest.raises(ModelLoadError, match="cannot be loaded") as refused:
        load_model(folder)
    assert refused.value.source == str(folder)


@pytest.mark.parametrize("device", ["toaster", "cuda" if not torch.cuda.is_available() else "cuda:99"])
def test_load_model_reports_a_missing_device(tiny_folder, device):
    with pytest.raises(ModelLoadError, match=r"(?i)device|cuda"):
        load_model(tiny_folder, device=device)


def test_load_model_rejects_pickled_weights(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelLoadError):
        load_model(folder)


def test_load_model_reads_the_models_defaults(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "darkroom.json").write_text('{"steps": 7, "guidance_scale": 2.5, "sampler": "euler"}')
    request = load_model(folder).request("a fox", steps=None)
    assert (request.steps, request.guidance_scale, request.sampler, request.width) == (7, 2.5, "euler", 32)


def test_request_has_generic_defaults(tiny_model):
    request = tiny_model.request("a fox")
    assert (request.steps, request.guidance_scale, request.sampler) == (25, 7.5, "dpm++")


def test_trajectory_starts_closer_to_its_image_the_later_its_start_step(tiny_model):
    image = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    kept = tiny_model.encode_image(image, torch.Generator().manual_seed(0))

    def distance(start_step):
        request = ImageRequest("a fox", "", 32, 32, 20, sampler="ddim", image=image, start_step=start_step, seed=1)
        return (tiny_model.trajectory(request).sample - kept).abs().mean().item()

    assert distance(19) < distance(10) < distance(0)


def test_validate_counts_the_tokens_of_an_over_long_prompt(tiny_model):
    assert tiny_model.count_tokens("fox " * 300) == 300
    tiny_model.validate(ImageRequest("fox " * 300, width=32, height=32))
    with pytest.raises(InvalidRequestError, match="301 tokens and this model reads 300: the rest would be ignored"):
        tiny_model.validate(ImageRequest("fox " * 301, width=32, height=32))


def test_encode_caches_prompts(tiny_model):
    encode, request = tiny_model.family.encode, tiny_model.request("a fox")
    assert encode("encoded once", request) is encode("encoded once", request)


def test_preview_latents_has_one_pixel_per_latent_cell(tiny_model):
    trajectory = tiny_model.trajectory(ImageRequest("a fox", "", 32, 48, 5))
    with pytest.raises(ValueError, match="first step"):
        tiny_model.preview_latents([trajectory])
    step(tiny_model, [trajectory])
    assert tiny_model.preview_latents([trajectory])[0].shape == (6, 4, 3)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "morph_to", "branches"])
def test_validate_counts_the_tokens_of_every_prompt(tiny_model, field):
    text = "fox " * 301
    given = {"branches": ((1, text),)} if field == "branches" else {field: text}
    with pytest.raises(InvalidRequestError, match="301 tokens"):
        tiny_model.validate(ImageRequest(**{"prompt": "a", "width": 32, "height": 32, "count": 2} | given))


def test_guidance_scale_of_1_is_the_conditional_prediction():
    unconditional, conditional = torch.randn(2, 1, 4, 4, 4)
    torch.testing.assert_close(classifier_free_guidance(unconditional, conditional, 1.0), conditional)
    torch.testing.assert_close(classifier_free_guidance(unconditional, conditional, 0.0), unconditional)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_predict_x_0_recovers_clean_latents(prediction_type):
    x_0, noise = torch.randn(2, 1, 4, 4, 4)
    alpha_bar = torch.tensor(0.3)
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise
    velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x_0
    prediction = velocity if prediction_type == "v_prediction" else noise
    torch.testing.assert_close(predict_x_0(x_t, prediction, alpha_bar, prediction_type), x_0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "height"), [(1024, 32), (1544, 32), (40, 1200)])
def test_autoencoder_tiles_only_large_images(tiny_model, monkeypatch, width, height):
    image = Image.effect_noise((width, height), 60).convert("RGB").filter(ImageFilter.GaussianBlur(9))
    seen = []
    for network in (tiny_model.family.vae.encoder, tiny_model.family.vae.decoder):
        monkeypatch.setattr(network, "forward", noting(seen, network.forward))
    latents = tiny_model.encode_image(image, torch.Generator().manual_seed(1))
    (decoded,) = tiny_model.decode(latents)
    assert latents.shape == tiny_model.latent_shape(width, height) and decoded.size == (width, height)
    assert max(seen) <= TILE_SIDE
    tiled = max(width, height) > TILE_SIDE
    assert len(seen) > 2 if tiled else len(seen) == 2
    monkeypatch.setattr(tiny_model.family.vae, "use_tiling", False)
    whole = tiny_model.encode_image(image, torch.Generator().manual_seed(1))
    (once,) = tiny_model.decode(latents)
    difference = np.abs(np.asarray(decoded, int) - np.asarray(once, int)).mean()
    assert torch.equal(whole, latents) != tiled and (0 < difference < 3 if tiled else difference == 0)


def noting(seen, forward):
    """Let ``forward`` note the longer side of what goes in, in pixels."""

    def note(sample, *rest):
        seen.append(max(sample.shape[2:]) * (1 if sample.shape[1] == 3 else 8))
        return forward(sample, *rest)

    return note
