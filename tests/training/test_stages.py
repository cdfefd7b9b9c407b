import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from diffusion.training.__main__ import main
from diffusion.training.denoiser import train
from diffusion.training.errors import ModelTooLargeError
from diffusion.training.evaluate import SEEN, UNSEEN, draw_grid, velocity_loss
from diffusion.training.export import export
from diffusion.training.latents import read_latents


def new_run(run: Path, folder: Path) -> Path:
    for part in ("tokenizer", "vae", "latents"):
        shutil.copytree(run / part, folder / part)
    return folder


def test_the_exported_model_draws_in_diffusers(run):
    pipeline = StableDiffusionPipeline.from_pretrained(run / "model", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    [image] = pipeline("red apple", num_inference_steps=2, height=128, width=128).images

    assert image.size == (128, 128)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


def test_the_exported_model_is_half_precision_and_tells_nothing_of_its_machine(run):
    configs = [path for path in (run / "model").rglob("*.json") if "config" in path.name or "index" in path.name]

    assert len(configs) == 6
    for path in configs:
        text = path.read_text()
        assert str(run) not in text and "/tmp" not in text and "_path" not in text
    assert json.loads((run / "model" / "text_encoder" / "config.json").read_text())["dtype"] == "float16"
    assert {path.name for path in (run / "model" / "tokenizer").iterdir()} >= {"vocab.json", "merges.txt"}


def test_a_model_over_the_limit_is_refused_and_nothing_written(run, config, tmp_path):
    with pytest.raises(ModelTooLargeError, match="over the limit of 0.1 MB"):
        export(run, config.denoiser, tmp_path / "model", limit=100_000)

    assert not (tmp_path / "model").exists()


def test_latents_have_about_unit_deviation(run):
    latents, weights, descriptions = read_latents(run / "latents")

    assert len(latents) == len(weights) == len(descriptions)
    assert latents.std().item() == pytest.approx(1, abs=0.3)


def test_a_resumed_denoiser_equals_one_that_never_stopped(run, config, tmp_path):
    straight, stopped = new_run(run, tmp_path / "straight"), new_run(run, tmp_path / "stopped")
    for folder, targets in ((straight, (4,)), (stopped, (2, 4))):
        torch.manual_seed(0)
        for steps in targets:
            train(folder, config.denoiser, steps=steps, minutes=5, device=torch.device("cpu"))

    a, b = (torch.load(folder / "denoiser" / "checkpoint.pt") for folder in (straight, stopped))
    assert a["step"] == b["step"] == 4
    for part in ("unet", "text_encoder"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])
    assert all(torch.equal(x, y) for x, y in zip(a["ema"]["shadow_params"], b["ema"]["shadow_params"], strict=True))


def test_the_velocity_loss_of_a_model_is_the_same_each_time(run):
    losses = {velocity_loss(run / "model", run / "latents", samples=6, batch_size=batch) for batch in (6, 6)}

    assert len(losses) == 1
    assert 0.1 < losses.pop() < 10


def test_evaluation_is_written_as_figures_and_a_sheet(run):
    figures = json.loads((run / "evaluation" / "evaluation.json").read_text())

    assert set(figures) == {"held_out_psnr", "velocity_loss", "samples", "seconds_per_picture"}
    assert figures["samples"] == 4
    with Image.open(run / "evaluation" / "grid.webp") as sheet:
        assert sheet.width > 8 * 128


def test_the_sheet_shows_each_picture_over_its_prompt():
    asked = []

    def generate(prompts: list[str], seeds: list[int]) -> list[Image.Image]:
        asked.extend(zip(prompts, seeds, strict=True))
        return [Image.new("RGB", (128, 128), (seed * 10, 0, 0)) for seed in seeds]

    sheet, seconds = draw_grid(generate)

    assert [prompt for prompt, _ in asked] == [*SEEN, *UNSEEN]
    assert sheet.getpixel((70, 70)) == (0, 0, 0)
    assert sheet.getpixel((70 + 7 * 134, 70)) == (70, 0, 0)
    assert seconds >= 0


def test_samples_are_drawn_while_the_denoiser_trains(run):
    assert [path.name for path in (run / "denoiser").glob("*.png")] == ["samples-0000002.png"]


def test_training_can_start_from_a_model(run, recipe, tmp_path, capsys):
    shared = ["--run", str(tmp_path), "--config", str(recipe), "--start-from", str(run / "model")]

    assert main(["denoiser", *shared, "--steps", "1"]) == 2
    assert "run the `latents` stage first" in capsys.readouterr().err
    shutil.copytree(run / "latents", tmp_path / "latents")
    assert main(["denoiser", *shared, "--steps", "1"]) == 0

    assert (tmp_path / "tokenizer" / "vocab.json").exists() and (tmp_path / "vae" / "config.json").exists()
    started = StableDiffusionPipeline.from_pretrained(run / "model").unet.conv_in.weight.float()
    checkpoint = torch.load(tmp_path / "denoiser" / "checkpoint.pt")
    assert torch.allclose(checkpoint["unet"]["conv_in.weight"], started, atol=0.01)


@pytest.mark.parametrize(
    ("stage", "first"),
    [
        (["tokenizer"], "data"),
        (["autoencoder"], "data"),
        (["latents"], "data"),
        (["denoiser", "--steps", "1"], "tokenizer"),
        (["export"], "tokenizer"),
        (["evaluate"], "data"),
    ],
)
def test_a_stage_names_the_one_to_run_before_it(stage, first, tmp_path, capsys):
    assert main([*stage, "--run", str(tmp_path)]) == 2

    error = capsys.readouterr().err
    assert f"run the `{first}` stage first" in error
    assert len(error.splitlines()) == 1


def test_a_damaged_recipe_is_told_in_one_sentence(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("[data]\nstyle = 1\n")

    assert main(["tokenizer", "--run", str(tmp_path), "--config", str(tmp_path / "bad.toml")]) == 2
    assert "bad.toml is no training recipe" in capsys.readouterr().err


def test_a_folder_without_pictures_is_no_archive(tmp_path, capsys):
    assert main(["data", "--run", str(tmp_path / "run"), "--archive", str(tmp_path)]) == 2
    assert "is no picture archive" in capsys.readouterr().err


def test_how_long_to_train_must_be_said(tmp_path, capsys):
    assert main(["denoiser", "--run", str(tmp_path)]) == 2
    assert "--minutes or --steps" in capsys.readouterr().err
