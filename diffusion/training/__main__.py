"""The stages of training, from the command line: ``python -m diffusion.training STAGE --run DIR``."""

import argparse
import math
import sys
import tomllib
from pathlib import Path

from diffusion.training.config import DEFAULT, TrainingConfig
from diffusion.training.errors import TrainingError
from diffusion.training.stages import STAGES, curve, run_all, steering


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m diffusion.training", description="Train the embedded model in stages.")
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    for name, stage in {**STAGES, "steering": steering, "curve": curve, "all": run_all}.items():
        options = stages.add_parser(name, help=stage.__doc__, description=stage.__doc__)
        options.set_defaults(stage=stage, model=None)
        options.add_argument("--run", type=Path, required=True, help="folder that the stages read and write")
        options.add_argument("--config", type=Path, default=DEFAULT, help="recipe, instead of the embedded model's")
        if name in ("data", "all"):
            options.add_argument("--archive", type=Path, help="picture archive to copy, instead of building one")
        if name in ("autoencoder", "all"):
            flags = ["--autoencoder-minutes", *(["--minutes"] if name == "autoencoder" else [])]
            options.add_argument(*flags, type=float, default=math.inf, help="at most, for the autoencoder")
            options.add_argument("--anchor", type=Path, help="model folder whose autoencoder to widen, keeping its latents")
        if name in ("latents", "denoiser", "all"):
            options.add_argument("--start-from", type=Path, help="model folder whose networks to go on from")
        if name in ("denoiser", "all"):
            options.add_argument("--minutes", type=float, default=math.inf, help="at most, for the denoiser")
            options.add_argument("--steps", type=int, default=0, help="to reach in all")
            options.add_argument("--decay-from", type=int, help="step from which the rate falls, to 0 at --steps")
            options.add_argument("--sample-minutes", type=float, default=0, help="between sheets of samples; 0: none")
        if name == "export":
            options.add_argument("model", type=Path, nargs="?", metavar="FOLDER", help="instead of RUN/model")
        if name in ("evaluate", "all"):
            options.add_argument("--samples", type=int, default=1024, help="latents to measure the loss on")
            options.add_argument("--seen", type=int, default=200, help="prompts out of the training captions to draw")
            options.add_argument("--unseen", type=int, default=100, help="held-out compositions to draw")
            options.add_argument("--seeds", type=int, default=4, help="pictures of each prompt")
            options.add_argument("--before", type=Path, help="evaluation.json to put beside this one in the table")
        if name == "curve":
            options.add_argument("--seen-before", type=int, default=0, help="latents that the run's start had seen")
        if name == "steering":
            options.add_argument("--seeds", type=int, default=8, help="pictures of each label and scale")
        if name in ("evaluate", "steering"):
            options.add_argument("model", type=Path, nargs="?", metavar="MODEL_FOLDER", help="instead of RUN/model")
    return parser


def _read_config(path: Path) -> TrainingConfig:
    try:
        return TrainingConfig.read(path)
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path} is no training recipe: {error}.") from error


def _quiet() -> None:
    import diffusers.utils.logging
    import transformers.utils.logging

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def main(argv: list[str] | None = None) -> int:
    """Run the stage that ``argv`` names; gives the exit status, 2 for an error that the user can mend."""
    arguments = _parser().parse_args(argv)
    try:
        config = _read_config(arguments.config)
        _quiet()
        arguments.stage(arguments, config)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
