"""The stages that make a student of few steps; `diffusion.training.__main__` runs them."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion.training.config import TrainingConfig
from diffusion.training.errors import TrainingError
from diffusion.training.stages import require, run_pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusion.families.model import ImageModel
    from diffusion.training.config import DistilConfig
    from diffusion.training.distil import Student


def trajectories(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Draw captions with the teacher and keep every step, or go on with it."""
    from diffusion.training.scenes import scenes
    from diffusion.training.trajectories import SHARD_SIZE, shard_paths, write_shards

    if not (arguments.shards or arguments.minutes < math.inf):
        raise TrainingError("Set --minutes or --shards.")
    teacher = _load_teacher(_teacher_folder(arguments))
    described = scenes(run_pictures(arguments.run), config.data)
    folder = arguments.run / "trajectories"
    written = write_shards(
        teacher,
        [scene.description for scene in described],
        [scene.weight for scene in described],
        folder,
        shards=arguments.shards or sys.maxsize,
        minutes=arguments.minutes,
    )
    for path in written:
        print(path, flush=True)
    print(f"{len(shard_paths(folder)) * SHARD_SIZE} trajectories in {folder}")


def distil(arguments: argparse.Namespace, config: TrainingConfig) -> None:
    """Train a student of few steps on the teacher's trajectories, or resume it."""
    import torch
    from diffusers import UNet2DConditionModel

    from diffusion.training.distil import train
    from diffusion.training.export import drop_local_keys

    if not (arguments.steps or arguments.minutes < math.inf):
        raise TrainingError("Set --minutes or --steps.")
    if arguments.decay_from is not None and arguments.decay_from >= arguments.steps:
        raise TrainingError("--decay-from must be less than --steps, where the rate reaches 0.")
    run = arguments.run
    require(run / "trajectories" / "00000.safetensors", "trajectories")
    teacher = _teacher_folder(arguments)
    student = train(
        run,
        UNet2DConditionModel.from_pretrained(teacher / "unet", dtype=torch.float32),
        config.distil,
        steps=arguments.steps or sys.maxsize,
        minutes=arguments.minutes,
        decay_from=arguments.decay_from,
        on_checkpoint=_compare(run, _load_teacher(teacher), config.distil),
    )
    student.averaged().half().save_pretrained(run / "student")
    drop_local_keys(run / "student" / "config.json")
    print(f"{student.step} steps, weights in {run / 'student'}")


def _teacher_folder(arguments: argparse.Namespace) -> Path:
    from diffusion.loading.folder import PRETRAINED

    folder: Path = arguments.teacher or PRETRAINED
    require(folder / "model_index.json", "export")
    return folder


def _load_teacher(folder: Path) -> "ImageModel":
    from diffusion import load_model

    return load_model(folder)


def _compare(run: Path, teacher: "ImageModel", config: "DistilConfig") -> "Callable[[Student], None]":
    from diffusion.training.nearness import TeacherPictures
    from diffusion.training.prompts import SEEN_SHEET, UNSEEN_SHEET
    from diffusion.training.sheet import draw_grid

    pictures = TeacherPictures.draw(teacher, [*SEEN_SHEET, *UNSEEN_SHEET])

    def compare(student: "Student") -> None:
        drawn = pictures.drawn_by(student.averaged(), config.states)
        psnr = pictures.psnr_of(drawn)
        seen, unseen = (part.median().item() for part in psnr.split(len(SEEN_SHEET)))
        loss = sum(student.losses) / max(len(student.losses), 1)
        draw_grid(lambda *_: drawn).save(run / "distil" / "grid.webp", quality=92)
        with (run / "distil" / "log.tsv").open("a") as log:
            cells = (
                student.step,
                student.seen,
                f"{student.cpu_seconds / 60:.1f}",
                f"{loss:.5f}",
                f"{seen:.2f}",
                f"{unseen:.2f}",
            )
            print(*cells, sep="\t", file=log)

    return compare
