"""A tiny archive of drawn shapes, a recipe to match, and a run of all stages over them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import diffusion
from diffusion.training.__main__ import main
from diffusion.training.config import TrainingConfig
from diffusion.training.pictures import Picture, write_archive
from tests.support.training import CONCEPTS, RECIPE, PlainModel, draw


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pictures() -> list[Picture]:
    others = [draw(name, style) for name in ("fox", "panda", "star") for style in ("noto", "twemoji")]
    return [draw(name) for name in CONCEPTS] + others


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "config.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def config(recipe: Path) -> TrainingConfig:
    return TrainingConfig.read(recipe)


@pytest.fixture(scope="session")
def run(pictures: list[Picture], recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages, from a ready archive to an evaluated model."""
    archive, run = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("run")
    write_archive(pictures, archive)
    stages = ["all", "--run", str(run), "--config", str(recipe), "--archive", str(archive)]
    few = ["--samples", "4", "--seen", "3", "--unseen", "4", "--seeds", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "load_model", PlainModel.from_pretrained, raising=False)
        assert main([*stages, *few, "--steps", "2", "--sample-minutes", "1e-9"]) == 0
    return run
