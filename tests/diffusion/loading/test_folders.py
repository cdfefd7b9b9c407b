"""Each kind of folder draws as diffusers does, or is refused by a sentence before any weights."""

import re

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline

from diffusion.errors import ModelLoadError
from diffusion.loading.model import load_model, load_parts
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support.parity import difference_of
from tests.support.tiny_folders import FOLDERS, write_folder

TOLERANCE = 1e-4


def names(refused):
    return [name for name, kind in FOLDERS.items() if bool(kind.refused) is refused]


@pytest.mark.parametrize("name", names(refused=True))
def test_load_model_refuses_a_folder_by_name(tiny_folder, tmp_path, name):
    folder = write_folder(tmp_path / "model", tiny_folder, FOLDERS[name])
    with pytest.raises(ModelLoadError, match=re.escape(FOLDERS[name].refused)) as caught:
        load_model(folder, "cpu")
    print(f"{name}: {str(caught.value).partition(': ')[2]}")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", names(refused=False))
def test_load_model_draws_a_folder_as_diffusers_does(tiny_folder, tmp_path, name):
    folder = write_folder(tmp_path / "model", tiny_folder, FOLDERS[name])
    parts = load_parts(str(folder), "cpu", torch.float32).parts
    sampler = "euler" if name == "beta_sigmas" else "ddim"
    kind = EulerDiscreteScheduler if sampler == "euler" else DDIMScheduler
    networks = {part: parts[part] for part in ("vae", "tokenizer", "text_encoder", "unet")}
    reference = StableDiffusionPipeline(
        **networks,
        scheduler=kind.from_pretrained(folder, subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    reference.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    settings = {"height": 32, "width": 32, "guidance_scale": 5.0, "negative_prompt": "a dog"}
    theirs = reference("a red fox", num_inference_steps=5, latents=noise, output_type="latent", **settings).images

    model = load_model(folder, "cpu", torch.float32)
    request = ImageRequest("a red fox", steps=5, sampler=sampler, **settings)
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]

    difference = difference_of(ours, theirs)
    print(f"{name}: relative difference {difference:.1e}")
    assert difference <= TOLERANCE


def test_load_model_takes_512_pixels_where_a_folder_leaves_the_size_open(tiny_folder, tmp_path):
    folder = write_folder(tmp_path / "model", tiny_folder, FOLDERS["null_sample_size"])
    assert load_model(folder, "cpu").sample_side == 512
