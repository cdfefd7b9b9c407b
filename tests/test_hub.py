"""A hub id, loaded as a user loads it: in a process of its own, from a mirror on loopback into an empty cache."""

import pytest

from tests.hub_mirror import mirror
from tests.safety import build_checker
from tests.test_commands import run

REPOSITORY = "someone/tiny-diffusion"


@pytest.fixture
def draw(tiny_folder, tmp_path):
    def draw(model, **environment):
        settings = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
        arguments = ["-m", "diffusion", "fox", "-o", tmp_path / "fox.png", "--model", model, "--steps", 2]
        return run(*arguments, **settings | environment)

    return draw


def test_a_hub_id_is_downloaded_once_and_then_works_offline(tiny_folder, draw):
    with mirror(tiny_folder, REPOSITORY) as endpoint:
        first = draw(REPOSITORY, HF_ENDPOINT=endpoint)
    assert first.returncode == 0, first.stderr
    assert "Warning" not in first.stderr
    second = draw(REPOSITORY, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="1")
    assert second.returncode == 0, second.stderr


@pytest.mark.parametrize("brings", [True, False])
def test_a_checker_is_downloaded_where_the_model_brings_one(tmp_path, brings):
    build_checker(tmp_path / "model", flagging=True)
    if not brings:
        (tmp_path / "model" / "safety_checker" / "config.json").unlink()
    code = f"from diffusion.safety import load_check; print(load_check({REPOSITORY!r}) is not None)"
    with mirror(tmp_path / "model", REPOSITORY) as endpoint:
        ended = run("-c", code, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "cache"), HF_HUB_DISABLE_XET="1")
    assert ended.stdout.strip() == str(brings), ended.stderr


def test_an_id_the_hub_does_not_know_is_told_in_one_sentence(tiny_folder, draw):
    with mirror(tiny_folder, REPOSITORY) as endpoint:
        ended = draw("someone/else", HF_ENDPOINT=endpoint)
    assert ended.returncode == 2
    assert "someone/else" in ended.stderr and "Traceback" not in ended.stderr
