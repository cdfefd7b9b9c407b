"""Models of the published configurations, every width divided by one factor: as a user runs them, and against diffusers."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    LMSDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)

from diffusion.errors import ModelLoadError
from diffusion.families.model import ImageModel
from diffusion.loading.model import load_model, load_parts
from diffusion.loading.random_weights import FACTOR, PUBLISHED_MODELS, SDXL_ID, write_configs, write_model
from diffusion.loading.single_file import load_checkpoint
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support.hub_mirror import mirror
from tests.support.original_layout import write_checkpoint

README = Path(__file__).parents[3] / "diffusion" / "README.md"
TOLERANCE = 1e-5  # of the largest: random weights drive latents far beyond what a trained model makes
SD1, DREAMLIKE, SD2 = PUBLISHED_MODELS


@pytest.fixture(scope="module", params=PUBLISHED_MODELS)
def hub_id(request):
    return request.param


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Writes each model once."""
    written = {}

    def folder(hub_id):
        if hub_id not in written:
            written[hub_id] = write_model(tmp_path_factory.mktemp("published") / "model", hub_id)
        return written[hub_id]

    return folder


def test_load_model_takes_published_configurations(hub_id, folder_of):
    model = load_model(folder_of(hub_id), "cpu", torch.float32)
    family, side = PUBLISHED_MODELS[hub_id]
    assert model.sample_side == side
    assert model.family.prediction_type == ("v_prediction" if family == "sd2" else "epsilon")
    assert model.max_tokens == 4 * 75
    assert model.family.tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize("sampler", ["lms", "ddim"])
def test_latents_equal_those_of_diffusers_pipeline(hub_id, folder_of, sampler):
    folder = folder_of(hub_id)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    request = ImageRequest("a red fox", "a dog", 64, 64, 6, 7.5, sampler, seed=5)
    kind = {"lms": LMSDiscreteScheduler, "ddim": DDIMScheduler}[sampler]
    pipeline = StableDiffusionPipeline(
        **{
            name: part
            for name, part in load_parts(str(folder), "cpu", torch.float32).parts.items()
            if name in ("vae", "tokenizer", "text_encoder", "unet")
        },
        scheduler=kind.from_pretrained(folder, subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt,
        height=64,
        width=64,
        num_inference_steps=6,
        guidance_scale=7.5,
        latents=noise,
        output_type="latent",
    ).images

    model = load_model(folder, "cpu", torch.float32)
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]

    difference = (ours - theirs).abs().max().item()
    print(f"parity {hub_id} {sampler}: {difference:.1e} of {theirs.abs().max():.1f}")
    assert difference <= TOLERANCE * theirs.abs().max()


def test_latents_of_sdxl_equal_those_of_diffusers_pipeline(folder_of):
    model = load_model(folder_of(SDXL_ID), "cpu", torch.float32)
    assert (model.sample_side, model.shape_grid) == (1024, 64)
    noise = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(3))
    request = ImageRequest("a red fox!", "a dog", 128, 64, 3, 5.0, "euler", seed=5)
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet")
    scheduler = EulerDiscreteScheduler.from_pretrained(folder_of(SDXL_ID), subfolder="scheduler")
    pipeline = StableDiffusionXLPipeline(**{name: getattr(model.family, name) for name in names}, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt,
        height=64,
        width=128,
        num_inference_steps=3,
        guidance_scale=5.0,
        latents=noise,
        output_type="latent",
    ).images
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]
    difference = (ours - theirs).abs().max().item()
    print(f"parity {SDXL_ID}: {difference:.1e} of {theirs.abs().max():.1f}")
    assert difference <= TOLERANCE * theirs.abs().max()


@pytest.mark.parametrize("hub_id", [SD1, SDXL_ID], indirect=False)
def test_build_engine_loads_a_model_id(hub_id, folder_of, user):
    code = "import bot; print(bot.build_engine(bot.Config()).model.name)"
    with mirror(folder_of(hub_id), hub_id) as endpoint:
        ended = user("-c", code, MODEL_ID=hub_id, HF_ENDPOINT=endpoint)
    assert ended.stdout.strip() == hub_id.partition("/")[2], ended.stderr


def test_readme_notebook_runs(folder_of, user):
    examples = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (code,) = [example for example in examples if DREAMLIKE in example]
    smaller = (
        code.replace("768", "64")
        .replace("num_inference_steps=50", "num_inference_steps=3")
        .replace("start_step=10", "start_step=49")
    )
    with mirror(folder_of(DREAMLIKE), DREAMLIKE) as endpoint:
        ended = user("-c", smaller + "\nprint(images[0].size, alike[0].size)", HF_ENDPOINT=endpoint)
    assert ended.stdout.strip() == "(64, 64) (64, 64)", ended.stderr


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """The configurations by which a single file is read, of the same widths as the models here."""
    for family in ("sd1", "sd2"):
        write_configs(tmp_path / "published" / family, family)
    monkeypatch.setattr(load_checkpoint, "__defaults__", (None, tmp_path / "published"))


@pytest.mark.parametrize("hub_id", [SD1, SD2], indirect=False)
def test_load_checkpoint_equals_the_folder(hub_id, folder_of, narrow, tmp_path):
    file = write_checkpoint(folder_of(hub_id), tmp_path / "some model.safetensors")
    single, whole = (load_parts(str(source), "cpu", torch.float32) for source in (file, folder_of(hub_id)))
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = single.parts[name].state_dict(), whole.parts[name].state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert single.name == "some model"
    first, second = (
        ImageModel(loaded.family(**loaded.parts)).generate(["a fox, naïve 🐱"], seeds=[1], width=64, height=64, steps=2)[0]
        for loaded in (single, whole)
    )
    assert max(abs(a - b) for a, b in zip(first.tobytes(), second.tobytes(), strict=True)) <= 1


def test_load_checkpoint_reads_the_files_metadata(folder_of, narrow, tmp_path):
    told = {"modelspec.resolution": "512x512", "modelspec.prediction_type": "epsilon"}
    file = write_checkpoint(folder_of(SD2), tmp_path / "base.safetensors", told)
    model = load_model(file, "cpu", torch.float32)
    assert (model.sample_side, model.family.prediction_type) == (512, "epsilon")


def test_load_checkpoint_reports_another_width(folder_of, tmp_path):
    with pytest.raises(ModelLoadError, match="expected shape"):
        load_model(str(write_checkpoint(folder_of(SD1), tmp_path / "narrow.safetensors")), "cpu", torch.float32)
    assert FACTOR > 1


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("model.ckpt", b"pickle", "pickle can run any code"),
        ("model.safetensors", None, "there is no such file"),
        ("model.safetensors", b"broken", "it is no complete safetensors file"),
    ],
)
def test_load_model_reports_a_file_that_is_no_model(tmp_path, name, data, words):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelLoadError, match=words):
        load_model(str(tmp_path / name), "cpu", torch.float32)


def test_load_model_reports_parts_that_do_not_fit(folder_of, tmp_path):
    mixed = shutil.copytree(folder_of(SD1), tmp_path / "mixed")
    shutil.rmtree(mixed / "text_encoder")
    shutil.copytree(folder_of(SD2) / "text_encoder", mixed / "text_encoder")
    with pytest.raises(ModelLoadError, match="its UNet needs more than this text encoder provides"):
        load_model(str(mixed), "cpu", torch.float32)
