"""The stages of training; `diffusion.training.__main__` runs them."""

import argparse
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from diffusion.training.config import TrainingConfig
from diffusion.training.errors import MissingStageError, TrainingError
from diffusion.training.pictures import INDEX_FILE, PIXELS_FILE, SIZE, Picture, read_archive, write_archive

# Each stage imports what it needs, so `--help` is fast and only `data` needs the SVG renderer.
if TYPE_CHECKING:
    from PIL.Image import Image

    from diffusion.training.denoiser import Denoiser
    from diffusion.training.recogniser import Recogniser
    from diffusion.training.sheet import Generate

NO_LIMIT = 10**9
PRESET: dict[str, Any] = {"steps": 20, "sampler": "dpm++", "guidance_scale": 3.0, "height": SIZE, "width": SIZE}
RECOGNISER = "recogniser.pt"


def data(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Copy a picture archive to the run, or build one from npm packages."""
    archive = arguments.run / "archive"
    if arguments.archive:
        archive.mkdir(parents=True, exist_ok=True)
        for name in (INDEX_FILE, PIXELS_FILE):
            if not (arguments.archive / name).exists():
                raise TrainingError(f"{arguments.archive} is no picture archive: {name} is missing.")
            shutil.copyfile(arguments.archive / name, archive / name)
    else:
        from diffusion.training.packages import build_pictures

        write_archive(build_pictures(arguments.run / "packages"), archive)
    print(f"{len(read_archive(archive))} pictures in {archive}")


def tokenizer(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Train the tokenizer on the words of the archive."""
    from diffusion.training.tokenizer import train

    trained = train(run_pictures(arguments.run), config.tokenizer, arguments.run / "tokenizer")
    print(f"{len(trained)} entries")


def autoencoder(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Train the autoencoder on all pictures of the archive, or resume it."""
    from diffusers import AutoencoderKL

    from diffusion.training.autoencoder import train

    anchor = AutoencoderKL.from_pretrained(arguments.anchor / "vae") if arguments.anchor else None
    quality = train(
        arguments.run, config.autoencoder, run_pictures(arguments.run), anchor=anchor, minutes=arguments.autoencoder_minutes
    )
    print(f"{quality:.2f} dB on held-out pictures")


def latents(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Encode the scenes that the denoiser learns from."""
    import torch
    from diffusers import AutoencoderKL

    from diffusion.training.latents import encode_scenes
    from diffusion.training.scenes import scenes

    run = arguments.run
    _copy_start_model(arguments.start_from, run)
    pictures = run_pictures(run)
    require(run / "vae" / "config.json", "autoencoder")
    vae = AutoencoderKL.from_pretrained(run / "vae", dtype=torch.float32)
    vae.to("cuda" if torch.cuda.is_available() else "cpu")
    encode_scenes(scenes(pictures, config.data), vae, run / "latents")


def classifier(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Train the classifier for label guidance and measure it on unseen subjects."""
    from diffusion.training.classifier import train

    require(arguments.run / "latents" / "labels.json", "latents")
    for accuracy in train(arguments.run, config.classifier):
        print(accuracy)


def denoiser(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Train the UNet and text encoder, or resume them."""
    from diffusion.training.denoiser import train

    run = arguments.run
    if not (arguments.steps or arguments.minutes < math.inf):
        raise TrainingError("Set --minutes or --steps.")
    if arguments.decay_from is not None and arguments.decay_from >= arguments.steps:
        raise TrainingError("--decay-from must be less than --steps, where the rate reaches 0.")
    _copy_start_model(arguments.start_from, run)
    require(run / "tokenizer" / "vocab.json", "tokenizer")
    require(run / "vae" / "config.json", "autoencoder")
    require(run / "latents" / "latents.safetensors", "latents")
    train(
        run,
        config.denoiser,
        steps=arguments.steps or sys.maxsize,
        minutes=arguments.minutes,
        decay_from=arguments.decay_from,
        on_checkpoint=_sample_every(arguments.sample_minutes, run, config) if arguments.sample_minutes else None,
    )


def recogniser(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Train the network that judges generated pictures, on real ones only."""
    from diffusion.training.recogniser import train

    trained = train(arguments.run / RECOGNISER, config.recogniser, config.data.default_style, run_pictures(arguments.run))
    first = trained.accuracy["top_1"]
    five = trained.accuracy["top_5"]
    print(f"held-out drawings, of {len(trained.concepts)} concepts: {first:.0%} named first, {five:.0%} among the first five")


def export(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Write the trained model as a folder that diffusers can load."""
    from diffusion.training.export import export as export_run

    require(arguments.run / "tokenizer" / "vocab.json", "tokenizer")
    require(arguments.run / "vae" / "config.json", "autoencoder")
    require(arguments.run / "denoiser" / "checkpoint.pt", "denoiser")
    folder = arguments.model or arguments.run / "model"
    print(f"{export_run(arguments.run, config.denoiser, folder) / 1e6:.1f} MB in {folder}")


def evaluate(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Measure a model and draw a sheet of prompts with it."""
    from diffusion.training.evaluate import Evaluation, EvaluationSize, Evaluator, table

    run = arguments.run
    model = arguments.model or arguments.run / "model"
    pictures = run_pictures(run)
    require(run / "latents" / "latents.safetensors", "latents")
    require(run / RECOGNISER, "recogniser")
    require(model / "model_index.json", "export")
    size = EvaluationSize(arguments.seen, arguments.unseen, arguments.seeds, arguments.samples)
    generate = _set_generator(model, size.seeds) if arguments.standard else _generator(model)
    evaluator = Evaluator(generate, _recogniser(run), config.data.default_style, pictures, size)
    judged = evaluator.evaluate(model, run)
    before = {"before": Evaluation.read(arguments.before)} if arguments.before else {}
    compared = table({**before, model.name: judged})
    (run / "evaluation" / "table.md").write_text(compared)
    print(compared, end="")


def curve(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Draw the recognition over training and extrapolate it to the goals."""
    from diffusion.training.curve import draw_curve, read_points

    folder = arguments.run / "denoiser"
    require(folder / "recognition.tsv", "denoiser --sample-minutes")
    points = read_points(folder / "recognition.tsv", arguments.seen_before)
    for name, latents in draw_curve(points, folder / "curve.png").items():
        print(f"{name}: the goal after {latents / 1e6:.2f} million latents, by a power law")


def steering(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Draw how well label guidance works, against its scale."""
    from diffusion import load_model
    from diffusion.training.steering import NEUTRAL_PROMPT, draw_steering, measure

    run = arguments.run
    model = arguments.model or arguments.run / "model"
    require(run / RECOGNISER, "recogniser")
    require(model / "classifier" / "config.json", "classifier")
    loaded = load_model(model)

    def steer(label: str, scale: float, guidance_scale: float, seeds: Sequence[int]) -> "list[Image]":
        options = {**PRESET, "guidance_scale": guidance_scale, "guide_label": label, "label_scale": scale}
        return loaded.generate([NEUTRAL_PROMPT] * len(seeds), seeds=list(seeds), **options)

    curves = measure(steer, _recogniser(run), run_pictures(run), arguments.seeds)
    draw_steering(curves, run / "evaluation")
    for kind, ways in curves.items():
        for way, curve in ways.items():
            shares = ", ".join(f"s = {scale:g}: {share:.0%}" for scale, share in curve.items())
            print(f"{kind}, {way}: {shares}")


STAGES = {
    stage.__name__: stage
    for stage in (data, tokenizer, autoencoder, latents, classifier, denoiser, export, recogniser, evaluate)
}
GIVEN_BY_START = ("tokenizer", "autoencoder")


def run_all(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Run all stages in order.

    The tokenizer and autoencoder of a start model are kept.
    """
    for name, stage in STAGES.items():
        if not (arguments.start_from and name in GIVEN_BY_START):
            print(f"== {name}", flush=True)
            stage(arguments, config)


def run_pictures(run: Path) -> list[Picture]:
    """Read the pictures of ``run``; raises `MissingStageError` if there are none."""
    require(run / "archive" / INDEX_FILE, "data")
    return read_archive(run / "archive")


def require(path: Path, stage: str) -> None:
    """Raise `MissingStageError` if ``path``, which ``stage`` writes, is missing."""
    if not path.exists():
        raise MissingStageError(path, stage)


def _copy_start_model(model: Path | None, run: Path) -> None:
    """Copy ``model``, its tokenizer and its autoencoder to the run, if not there yet."""
    if model is None:
        return
    if not (model / "model_index.json").exists():
        raise TrainingError(f"{model} is no model folder: model_index.json is missing.")
    for source, target in ((model, "start"), (model / "tokenizer", "tokenizer"), (model / "vae", "vae")):
        if not (run / target).exists():
            shutil.copytree(source, run / target)


def _generator(model: Path) -> "Generate":
    from diffusion import load_model

    loaded = load_model(model)
    return lambda prompts, seeds: loaded.generate(prompts, seeds=seeds, **PRESET)


def _set_generator(model: Path, count: int) -> "Generate":
    """Draw with the defaults of ``model`` as the bot does: the pictures of seeds 0 to ``count`` - 1 are a set."""
    from diffusion import load_model

    loaded = load_model(model)

    def prompt_in_set(prompt: str, seed: int) -> str:
        return loaded.in_set_styles(loaded.request(prompt, count=count)).single(seed % count).prompt

    return lambda prompts, seeds: loaded.generate(list(map(prompt_in_set, prompts, seeds)), seeds=seeds)


def _recogniser(run: Path) -> "Recogniser":
    import torch

    from diffusion.training.recogniser import Recogniser

    return Recogniser.read(run / RECOGNISER, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _sample_every(minutes: float, run: Path, config: TrainingConfig) -> "Callable[[Denoiser], None]":
    from diffusion.training.evaluate import EvaluationSize, Evaluator
    from diffusion.training.export import assemble
    from diffusion.training.sheet import draw_grid

    pictures = run_pictures(run)
    drawn = time.monotonic()

    def draw(denoiser: "Denoiser") -> None:
        nonlocal drawn
        if time.monotonic() - drawn < 60 * minutes:
            return
        with TemporaryDirectory() as temporary:
            assemble(denoiser, run, Path(temporary), NO_LIMIT)
            generate = _generator(Path(temporary))
        draw_grid(generate).save(run / "denoiser" / f"samples-{denoiser.step:07}.png")
        if (run / RECOGNISER).exists():  # adds a point to the curve of quality over training
            size = EvaluationSize(seen=100, unseen=50, seeds=1)
            evaluator = Evaluator(generate, _recogniser(run), config.data.default_style, pictures, size)
            judged = evaluator.recognition()
            shares = [f"{share:.3f}" for each in judged for share in astuple(each)]
            with (run / "denoiser" / "recognition.tsv").open("a") as log:
                print(denoiser.step, denoiser.seen, *shares, sep="\t", file=log)
        drawn = time.monotonic()

    return draw
