"""Run the stages of training: ``python -m diffusion.training STAGE --run DIR``."""

import argparse
import math
import sys
import tomllib
from pathlib import Path

from diffusion.training.config import DEFAULT, TrainingConfig
from diffusion.training.errors import TrainingError
from diffusion.training.stages import STAGES, curve, run_all, steering
from diffusion.training.student_stages import distil, trajectories


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m diffusion.training", description="Train the embedded model in stages.")
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    others = {stage.__name__: stage for stage in (steering, curve, trajectories, distil)}
    for name, stage in {**STAGES, **others, "all": run_all}.items():
        options = stages.add_parser(name, help=stage.__doc__, description=stage.__doc__)
        options.set_defaults(stage=stage, model=None)
        options.add_argument("--run", type=Path, required=True, help="folder that the stages read and write")
        options.add_argument("--config", type=Path, default=DEFAULT, help="recipe (default: the embedded model's)")
        if name in ("data", "all"):
            options.add_argument("--archive", type=Path, help="picture archive to copy instead of building one")
        if name in ("autoencoder", "all"):
            flags = ["--autoencoder-minutes", *(["--minutes"] if name == "autoencoder" else [])]
            options.add_argument(*flags, type=float, default=math.inf, help="time limit of the autoencoder")
            options.add_argument("--anchor", type=Path, help="model folder whose autoencoder to widen; its latents stay")
        if name in ("latents", "denoiser", "all"):
            options.add_argument("--start-from", type=Path, help="model folder to start from")
        if name in ("denoiser", "distil", "trajectories", "all"):
            options.add_argument("--minutes", type=float, default=math.inf, help="time limit")
        if name in ("denoiser", "distil", "all"):
            options.add_argument("--steps", type=int, default=0, help="steps in all")
            options.add_argument("--decay-from", type=int, help="step from which the learning rate falls to 0 at --steps")
        if name in ("denoiser", "all"):
            options.add_argument("--sample-minutes", type=float, default=0, help="minutes between sample sheets (0: none)")
        if name in ("trajectories", "distil"):
            options.add_argument("--teacher", type=Path, help="model folder (default: the embedded one)")
        if name == "trajectories":
            options.add_argument("--shards", type=int, default=0, help="files of 256 trajectories in all")
        if name == "export":
            options.add_argument("model", type=Path, nargs="?", metavar="FOLDER", help="model folder (default: RUN/model)")
        if name in ("evaluate", "all"):
            options.add_argument("--samples", type=int, default=1024, help="latents for the loss")
            options.add_argument("--seen", type=int, default=200, help="prompts from the training captions")
            options.add_argument("--unseen", type=int, default=100, help="held-out compositions")
            options.add_argument("--seeds", type=int, default=4, help="pictures per prompt")
            options.add_argument("--standard", action="store_true", help="draw sets with the model's defaults, not in 20 steps")
            options.add_argument("--before", type=Path, help="evaluation.json to compare with")
        if name == "curve":
            options.add_argument("--seen-before", type=int, default=0, help="latents that the start model had seen")
        if name == "steering":
            options.add_argument("--seeds", type=int, default=8, help="pictures per label and scale")
        if name in ("evaluate", "steering"):
            options.add_argument("model", type=Path, nargs="?", metavar="FOLDER", help="model folder (default: RUN/model)")
    return parser


def _read_config(path: Path) -> TrainingConfig:
    try:
        return TrainingConfig.read(path)
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path} is no training recipe: {error}.") from error


def _silence_libraries() -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def main(argv: list[str] | None = None) -> int:
    """Run the stage in ``argv`` and return the exit status.

    The status is 2 for an error that the user can fix.
    """
    arguments = _parser().parse_args(argv)
    try:
        config = _read_config(arguments.config)
        _silence_libraries()
        arguments.stage(arguments, config)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
