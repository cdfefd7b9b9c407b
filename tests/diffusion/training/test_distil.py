import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from diffusion import load_model
from diffusion.sampling.trajectory import denoise_all
from diffusion.training import trajectories
from diffusion.training.__main__ import main
from diffusion.training.denoiser import SCHEDULER
from diffusion.training.distil import CHECKPOINT, Jump, Student, jumps, roll_out, train
from diffusion.training.errors import TrainingError
from diffusion.training.trajectories import Shard, shard_paths
from tests.support.models import model_of


@pytest.fixture(scope="module")
def teacher(run):
    return run / "model"


@pytest.fixture(scope="module")
def distilled(run, teacher, recipe, tmp_path_factory):
    """Two shards of four trajectories, and two steps of a student."""
    folder = tmp_path_factory.mktemp("distilled")
    shutil.copytree(run / "archive", folder / "archive")
    shared = ["--run", str(folder), "--config", str(recipe), "--teacher", str(teacher)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectories, "SHARD_SIZE", 4)
        assert main(["trajectories", *shared, "--shards", "2"]) == 0
    assert main(["distil", *shared, "--steps", "2"]) == 0
    return folder


@pytest.fixture(scope="module")
def shard(distilled):
    return Shard.read(distilled / "trajectories" / "00000.safetensors")


def test_trajectories_go_from_the_seeds_noise_to_the_teachers_latents(shard, teacher):
    model = load_model(teacher)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(shard.latents[2, 0].shape, generator=generator)
    prompt = "red apple"
    drawn = trajectories.draw_trajectories(model, [prompt], [2])
    [latents] = denoise_all(model, [model.trajectory(model.request(prompt, seed=2))])

    assert shard.latents.shape[:2] == (4, len(shard.timesteps) + 1)
    torch.testing.assert_close(shard.latents[2, 0].float(), noise, atol=2e-3, rtol=0)
    torch.testing.assert_close(drawn.latents[0, -1].float(), latents[0], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("sampler", ["euler", "dpm++"])
def test_trajectories_are_what_the_network_reads(teacher, sampler):
    model = load_model(teacher)
    model.defaults = replace(model.defaults, steps=3, sampler=sampler)

    shard = trajectories.draw_trajectories(model, ["red apple"], [2])

    assert shard.latents.float().std((2, 3, 4)).max() < 1.3
    torch.testing.assert_close(shard.levels.square().sum(1), torch.ones(4))


def test_a_teacher_that_predicts_the_noise_is_refused(tiny_components):
    with pytest.raises(TrainingError, match="does not predict the velocity"):
        trajectories.draw_trajectories(model_of(tiny_components), ["red apple"], [2])


def test_interrupted_trajectories_go_on_with_the_same_shard(distilled, teacher, recipe, tmp_path, monkeypatch):
    shutil.copytree(distilled / "archive", tmp_path / "archive")
    first, second = shard_paths(distilled / "trajectories")
    (tmp_path / "trajectories").mkdir()
    shutil.copy(first, tmp_path / "trajectories")
    monkeypatch.setattr(trajectories, "SHARD_SIZE", 4)

    shared = ["--run", str(tmp_path), "--config", str(recipe), "--teacher", str(teacher)]
    assert main(["trajectories", *shared, "--shards", "2"]) == 0

    resumed = Shard.read(tmp_path / "trajectories" / second.name)
    assert torch.equal(resumed.latents, Shard.read(second).latents)


def test_a_jump_follows_clean_latents_and_noise_to_their_new_levels(shard):
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for jump in jumps(shard, (0, 5, 9)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = shard.levels[jump.start].tolist(), shard.levels[jump.end].tolist()
        x_t, x_s = alpha_t * clean + sigma_t * noise, alpha_s * clean + sigma_s * noise

        torch.testing.assert_close(jump.land(x_t, alpha_t * noise - sigma_t * clean), x_s)
        torch.testing.assert_close(jump.velocity(x_t, x_s), alpha_t * noise - sigma_t * clean, atol=1e-4, rtol=1e-4)


def test_a_jump_is_diffusers_ddim_step():
    scheduler = DDIMScheduler.from_config(SCHEDULER)
    scheduler.set_timesteps(4)
    start, end = scheduler.timesteps[1], scheduler.timesteps[2]
    levels = torch.stack([scheduler.alphas_cumprod.sqrt(), (1 - scheduler.alphas_cumprod).sqrt()], 1)
    x_t, velocity = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(0)

    jump = Jump.between(Shard(nothing, nothing, start[None].float(), levels[torch.stack([start, end])]), 0, 1)

    torch.testing.assert_close(jump.land(x_t, velocity), scheduler.step(velocity, start, x_t).prev_sample)


def test_a_student_that_meets_every_target_has_no_loss(shard, config):
    path = jumps(shard, config.distil.states)
    states = shard.latents.float()
    targets = {jump.timestep: jump.velocity(states[:, jump.start], states[:, jump.end]) for jump in path}

    class Perfect:
        device = torch.device("cpu")

        def __call__(self, latents, timesteps, prompt_embeds, return_dict):
            return (targets[timesteps[0].item()],)

    landed = roll_out(Perfect(), states[:, 0], shard.prompt_embeds, path)
    loss = Student.loss(SimpleNamespace(unet=Perfect(), config=config.distil), shard, torch.arange(4))

    torch.testing.assert_close(landed[-1], states[:, -1], atol=1e-3, rtol=1e-3)
    assert loss.item() < 1e-6


def test_distilling_resumes_exactly(distilled, teacher, config, tmp_path):
    for name, targets in (("straight", (4,)), ("stopped", (2, 4))):
        shutil.copytree(distilled / "trajectories", tmp_path / name / "trajectories")
        for steps in targets:
            unet = UNet2DConditionModel.from_pretrained(teacher / "unet", dtype=torch.float32)
            train(tmp_path / name, unet, config.distil, steps=steps, minutes=5, device=torch.device("cpu"))

    a, b = (torch.load(tmp_path / name / "distil" / CHECKPOINT) for name in ("straight", "stopped"))
    assert a["step"] == b["step"] == 4 and a["seen"] == 4 * config.distil.batch_size
    assert all(torch.equal(a["unet"][name], b["unet"][name]) for name in a["unet"])
    assert all(torch.equal(x, y) for x, y in zip(a["ema"]["shadow_params"], b["ema"]["shadow_params"], strict=True))


def test_distil_stage_writes_averaged_weights_a_log_and_a_sheet(distilled, teacher):
    student = UNet2DConditionModel.from_pretrained(distilled / "student")
    before = UNet2DConditionModel.from_pretrained(teacher / "unet")
    step, seen, *figures = (distilled / "distil" / "log.tsv").read_text().split()

    assert (step, seen) == ("2", "4") and len(figures) == 4 and float(figures[1]) > 0
    assert student.config.in_channels == before.config.in_channels
    assert not torch.equal(student.conv_out.weight, before.conv_out.weight)
    assert (distilled / "distil" / "grid.webp").exists()
    assert "_name_or_path" not in json.loads((distilled / "student" / "config.json").read_text())


def test_distil_stage_names_what_is_missing(run, teacher, recipe, tmp_path, capsys):
    shared = ["--run", str(tmp_path), "--config", str(recipe), "--teacher", str(teacher)]

    assert main(["distil", *shared]) == 2
    assert main(["distil", *shared, "--steps", "1"]) == 2
    assert main(["trajectories", *shared]) == 2

    unlimited, early, unbounded = capsys.readouterr().err.splitlines()
    assert "--minutes or --steps" in unlimited and "`trajectories` stage first" in early
    assert "--minutes or --shards" in unbounded
