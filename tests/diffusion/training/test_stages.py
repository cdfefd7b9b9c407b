import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

import diffusion
from diffusion.training.__main__ import main
from diffusion.training.denoiser import new_unet, train, widen
from diffusion.training.errors import ModelTooLargeError, TrainingError
from diffusion.training.evaluate import Evaluation, table
from diffusion.training.export import export
from diffusion.training.latents import read_latents
from tests.support.training import PlainModel


def new_run(run: Path, folder: Path) -> Path:
    for part in ("tokenizer", "vae", "latents"):
        shutil.copytree(run / part, folder / part)
    return folder


def test_exported_model_draws_in_diffusers(run):
    pipeline = StableDiffusionPipeline.from_pretrained(run / "model", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    [image] = pipeline("red apple", num_inference_steps=2, height=128, width=128).images

    assert image.size == (128, 128)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"


def test_exported_model_is_half_precision_without_local_paths(run):
    configs = [path for path in (run / "model").rglob("*.json") if "config" in path.name or "index" in path.name]

    assert len(configs) == 7
    for path in configs:
        text = path.read_text()
        assert str(run) not in text and "/tmp" not in text and "_path" not in text
    assert json.loads((run / "model" / "text_encoder" / "config.json").read_text())["dtype"] == "float16"
    assert {path.name for path in (run / "model" / "tokenizer").iterdir()} >= {"vocab.json", "merges.txt"}


def test_export_over_the_limit_writes_nothing(run, config, tmp_path):
    with pytest.raises(ModelTooLargeError, match=r"over the limit of 0\.1 MB"):
        export(run, config.denoiser, tmp_path / "model", limit=100_000)

    assert not (tmp_path / "model").exists()


def test_encode_scenes_gives_unit_deviation(run):
    latents, weights, descriptions = read_latents(run / "latents")

    assert len(latents) == len(weights) == len(descriptions)
    assert latents.std().item() == pytest.approx(1, abs=0.3)


def test_denoiser_training_resumes_exactly(run, config, tmp_path):
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


def test_evaluate_writes_figures_table_and_sheets(run):
    figures = json.loads((run / "evaluation" / "evaluation.json").read_text())

    assert figures["pictures"] == (3 + 4) * 2
    assert set(figures["unseen_kinds"]) == {"colour", "background", "second subject"}
    assert all(0 <= share <= 1 for name in ("seen", "unseen", "real_seen", "real_unseen") for share in figures[name].values())
    assert figures["diversity"] == pytest.approx(2)  # the stand-in paints by seed alone
    assert figures["copies"] == 0
    table = (run / "evaluation" / "table.md").read_text().splitlines()
    assert all(line.startswith("| ") and line.count("|") == 3 for line in [table[0], *table[2:]])
    for name in ("grid", "nearest"):
        with Image.open(run / "evaluation" / f"{name}.webp") as sheet:
            assert sheet.width > 5 * 128


def test_table_compares_two_evaluations(run, tmp_path):
    path = run / "evaluation" / "evaluation.json"
    evaluation = Evaluation.read(path)

    assert json.loads(json.dumps(asdict(evaluation))) == json.loads(path.read_text())
    head, _, first, *_ = table({"before": evaluation, "now": evaluation}).splitlines()
    assert head == "|  | before | now |" and first.count("%") == 2
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(TrainingError, match="no evaluation"):
        Evaluation.read(tmp_path / "bad.json")


def test_denoiser_stage_draws_and_recognises_samples(run, config, recipe, tmp_path, monkeypatch):
    assert [path.name for path in (run / "denoiser").glob("*.png")] == ["samples-0000002.png"]
    assert not (run / "denoiser" / "recognition.tsv").exists()  # there was no recogniser yet

    monkeypatch.setattr(diffusion, "load_model", PlainModel.from_pretrained, raising=False)
    again = tmp_path / "run"
    shutil.copytree(run, again)
    assert main(["denoiser", "--run", str(again), "--config", str(recipe), "--steps", "3", "--sample-minutes", "1e-9"]) == 0

    step, seen, *shares = (again / "denoiser" / "recognition.tsv").read_text().split()
    assert (step, seen) == ("3", "6") and len(shares) == 8


def test_training_starts_from_a_model_folder(run, recipe, tmp_path, capsys):
    shared = ["--run", str(tmp_path), "--config", str(recipe), "--start-from", str(run / "model")]

    assert main(["denoiser", *shared, "--steps", "1"]) == 2
    assert "run the `latents` stage first" in capsys.readouterr().err
    shutil.copytree(run / "latents", tmp_path / "latents")
    assert main(["denoiser", *shared, "--steps", "1"]) == 0

    assert (tmp_path / "tokenizer" / "vocab.json").exists() and (tmp_path / "vae" / "config.json").exists()
    started = StableDiffusionPipeline.from_pretrained(run / "model").unet.conv_in.weight.float()
    checkpoint = torch.load(tmp_path / "denoiser" / "checkpoint.pt")
    assert torch.allclose(checkpoint["unet"]["conv_in.weight"], started, atol=0.01)


@torch.inference_mode()
def test_widen_keeps_the_predictions_of_the_unet(config):
    torch.manual_seed(0)
    shape = dict(new_unet(config.denoiser, 4, 16).config) | {"addition_embed_type": None}
    small = UNet2DConditionModel.from_config(shape).eval()
    latents, prompt_embeds = torch.randn(2, 6, 16, 16), torch.randn(2, 77, config.denoiser.text_width)

    large = widen(small, 6).eval()
    before = small(latents[:, :4], torch.tensor([10, 900]), prompt_embeds).sample
    after = large(latents, torch.tensor([10, 900]), prompt_embeds).sample

    assert torch.allclose(before, after[:, :4], atol=1e-5)
    assert not after[:, 4:].any()
    assert widen(large, 6) is large


@pytest.mark.parametrize(
    ("stage", "first"),
    [
        (["tokenizer"], "data"),
        (["autoencoder"], "data"),
        (["latents"], "data"),
        (["classifier"], "latents"),
        (["denoiser", "--steps", "1"], "tokenizer"),
        (["export"], "tokenizer"),
        (["evaluate"], "data"),
    ],
)
def test_stage_names_the_stage_to_run_first(stage, first, tmp_path, capsys):
    assert main([*stage, "--run", str(tmp_path)]) == 2

    error = capsys.readouterr().err
    assert f"run the `{first}` stage first" in error
    assert len(error.splitlines()) == 1


def test_main_explains_a_damaged_recipe(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("[data]\nstyle = 1\n")

    assert main(["tokenizer", "--run", str(tmp_path), "--config", str(tmp_path / "bad.toml")]) == 2
    assert "bad.toml is no training recipe" in capsys.readouterr().err


def test_data_stage_rejects_a_folder_without_pictures(tmp_path, capsys):
    assert main(["data", "--run", str(tmp_path / "run"), "--archive", str(tmp_path)]) == 2
    assert "is no picture archive" in capsys.readouterr().err


def test_denoiser_stage_requires_a_duration(tmp_path, capsys):
    assert main(["denoiser", "--run", str(tmp_path)]) == 2
    assert "--minutes or --steps" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["autoencoder", "denoiser"])
def test_diverged_training_names_the_setting_to_lower(run, recipe, tmp_path, capsys, stage):
    head, _, tail = recipe.read_text().partition(f"[{stage}]")
    wild = tmp_path / "wild.toml"
    wild.write_text(f"{head}[{stage}]" + re.sub(r"learning_rate = \S+", "learning_rate = 1e20", tail, count=1))
    for name in ("archive", "tokenizer", "latents", "vae"):
        shutil.copytree(run / name, tmp_path / name)
    assert main([stage, "--run", str(tmp_path), "--config", str(wild), *(["--steps", "40"] * (stage == "denoiser"))]) == 2
    assert "diverged before step" in (told := capsys.readouterr().err) and "learning_rate" in told
