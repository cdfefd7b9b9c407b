"""Models of few steps get defaults that suit them without being told, and draw as diffusers' pipeline does."""

import json
import shutil

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler, UNet2DConditionModel

from diffusion.errors import InvalidRequestError
from diffusion.families.defaults import QUALITIES, Defaults
from diffusion.families.distilled import FEW_STEPS, suggest_defaults
from diffusion.loading.model import load_model
from diffusion.loading.random_weights import TINY_SCHEDULER
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support.models import model_of
from tests.support.parity import difference_of

TRAILING = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}


def steps_of(defaults):
    return [defaults.of(quality)["steps"] for quality in QUALITIES if quality != "fast"]


def suggested(*names, **scheduler):
    found = suggest_defaults(Defaults(), names, scheduler)
    return steps_of(found), found.guidance_scale, found.sampler


@pytest.mark.parametrize(
    ("name", "steps", "sampler"),
    [
        ("stabilityai/sd-turbo", [1, 2, 4, 2], "euler_trailing"),
        ("stabilityai/sdxl-turbo", [1, 2, 4, 2], "euler_trailing"),
        ("sd_xl_turbo_1.0_fp16", [1, 2, 4, 2], "euler_trailing"),
        ("sdxl_lightning_4step", [4, 4, 4, 4], "euler_trailing"),
        ("sdxl_lightning_8step_unet", [8, 8, 8, 8], "euler_trailing"),
        ("Juggernaut_RDPhoto2_Lightning", [4, 4, 8, 4], "euler_trailing"),
        ("Hyper-SDXL-8steps-CFG-lora", [8, 8, 8, 8], "ddim_trailing"),
        ("RealVisXL_V5.0_Hyper", [4, 8, 8, 8], "ddim_trailing"),
        ("SimianLuo/LCM_Dreamshaper_v7", [2, 4, 8, 4], "lcm"),
        ("dmd2_sdxl_4step_unet_fp16", [4, 4, 4, 4], "lcm"),
        ("sdxl-TCD", [4, 4, 8, 4], "tcd"),
    ],
)
def test_suggest_defaults_knows_a_distilled_model_by_its_name(name, steps, sampler):
    assert suggested(name) == (steps, 1.0, sampler)


@pytest.mark.parametrize(
    "name", ["CompVis/stable-diffusion-v1-4", "turbocharged", "hyper-realistic-v2", "enlightning", "dreamshaper_8", "delcmix"]
)
def test_suggest_defaults_leaves_other_models_alone(name):
    assert suggest_defaults(Defaults(), (name,), {}) == Defaults()


@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [
        (TRAILING, "euler_trailing"),
        (TRAILING | {"_class_name": "EulerAncestralDiscreteScheduler"}, "euler_trailing"),
        ({"_class_name": "LCMScheduler"}, "lcm"),
        ({"_class_name": "TCDScheduler"}, "tcd"),
        (TRAILING | {"prediction_type": "v_prediction"}, "dpm++"),
        (TRAILING | {"rescale_betas_zero_snr": True}, "dpm++"),
        (TRAILING | {"_class_name": "DDIMScheduler"}, "dpm++"),
        (TRAILING | {"timestep_spacing": "leading"}, "dpm++"),
    ],
)
def test_suggest_defaults_knows_a_distilled_model_by_its_scheduler(scheduler, sampler):
    assert suggested("model", **scheduler)[2] == sampler


@pytest.fixture(scope="module")
def turbo_folder(tiny_folder, tmp_path_factory):
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("models") / "sd-turbo")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | TRAILING))
    return folder


def test_load_model_draws_a_turbo_model_in_few_steps_without_guidance(turbo_folder):
    model = load_model(turbo_folder, "cpu", torch.float32)
    request = model.request("a fox")
    assert (request.steps, request.guidance_scale, request.sampler) == (2, 1.0, "euler_trailing")
    assert model.trajectory(request).rows == 1
    assert [int(step.timestep) for step in model.solver("euler_trailing", 2).steps] == [999, 499]
    assert tuple(model.samplers) == FEW_STEPS
    with pytest.raises(InvalidRequestError, match=r"There is no sampler LMS\. Choose one of Euler, Euler a, Euler trailing"):
        model.validate(model.request("a fox", sampler="lms"))


def test_load_model_lets_its_own_file_override_what_was_suggested(turbo_folder, tmp_path):
    folder = shutil.copytree(turbo_folder, tmp_path / "turbo")
    (folder / "darkroom.json").write_text('{"steps": 3, "presets": {"fine": {"steps": 6, "sampler": "ddim"}}}')
    defaults = load_model(folder, "cpu", torch.float32).defaults
    assert steps_of(defaults) == [1, 3, 6, 2]
    assert (defaults.guidance_scale, defaults.samplers) == (1.0, (*FEW_STEPS, "ddim"))


@pytest.fixture(scope="module")
def consistency_components(tiny_components):
    torch.manual_seed(2)
    unet = UNet2DConditionModel.from_config(tiny_components["unet"].config, time_cond_proj_dim=32).eval()
    return tiny_components | {"unet": unet}


@pytest.mark.parametrize("guidance_scale", [1.0, 8.5])
def test_consistency_model_equals_diffusers(consistency_components, guidance_scale):
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    networks = {name: consistency_components[name] for name in ("vae", "tokenizer", "text_encoder", "unet")}
    reference = LatentConsistencyModelPipeline(
        **networks,
        scheduler=LCMScheduler.from_config(TINY_SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    reference.set_progress_bar_config(disable=True)
    settings = {"height": 32, "width": 32, "guidance_scale": guidance_scale}
    theirs = reference(
        "a red fox",
        num_inference_steps=4,
        latents=noise,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
        **settings,
    ).images

    model = model_of(consistency_components)
    request = ImageRequest("a red fox", "a dog", steps=4, sampler="lcm", seed=5, **settings)
    trajectory = model.trajectory(request, noise=noise)
    assert trajectory.rows == model.rows(request) == 1
    ours = denoise_all(model, [trajectory])[0]
    difference = difference_of(ours, theirs)
    print(f"parity consistency model, guidance {guidance_scale}: {difference:.1e}")
    assert difference <= 1e-5


def test_consistency_models_of_other_scales_share_a_call(consistency_components):
    model = model_of(consistency_components)
    requests = [
        ImageRequest("a red fox", width=32, height=32, steps=steps, sampler="lcm", guidance_scale=scale, seed=seed)
        for seed, (steps, scale) in enumerate(((4, 1.0), (2, 8.5), (3, 20.0)))
    ]
    alone = [denoise_all(model, [model.trajectory(request)])[0] for request in requests]
    together = denoise_all(model, [model.trajectory(request) for request in requests])
    for apart, shared in zip(alone, together, strict=True):
        assert (apart - shared).abs().max() <= 1e-5 * apart.abs().max()
