"""Dockerfile and compose.yaml name only files, settings, extras and versions that exist. No container engine is needed."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from cogs.core.config import Config

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SETTINGS = {name.upper() for name in Config.model_fields}
OTHER_VARIABLES = {"HF_HOME", "XDG_CACHE_HOME", "PIP_NO_CACHE_DIR", "PYTHONUNBUFFERED"}  # of libraries


def instructions(name):
    """Return the arguments of each ``name`` instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


@pytest.fixture
def compose():
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


@pytest.fixture
def image_arguments():
    return dict(argument.split("=", 1) for argument in instructions("ARG"))


@pytest.mark.parametrize("arguments", instructions("COPY"))
def test_dockerfile_copies_what_exists(arguments):
    *sources, _ = arguments.split()
    assert all((ROOT / source).exists() for source in sources)


def test_dockerfile_installs_the_torch_of_the_project():
    (torch,) = [requirement for requirement in PROJECT["dependencies"] if requirement.startswith("torch")]
    assert any(step.endswith(f" {torch}") for step in instructions("RUN"))


def test_dockerfile_installs_extras_that_exist(image_arguments):
    assert set(image_arguments["EXTRAS"].split(",")) <= PROJECT["optional-dependencies"].keys()


def test_dockerfile_starts_a_command_of_the_project():
    (entrypoint,) = instructions("ENTRYPOINT")
    assert yaml.safe_load(entrypoint)[0] in PROJECT["scripts"]


def test_dockerfile_sets_variables_that_exist():
    variables = {variable.partition("=")[0] for line in instructions("ENV") for variable in line.split()}
    assert variables <= SETTINGS | OTHER_VARIABLES


def test_dockerfile_does_not_run_the_bot_as_root():
    assert instructions("USER") == ["darkroom"]


def test_compose_checks_the_health_of_the_bot_by_its_metrics(compose):
    bot = compose["services"]["bot"]
    assert f"http://127.0.0.1:{bot['environment']['METRICS_PORT']}/metrics" in bot["healthcheck"]["test"][-1]


def test_compose_sets_settings_that_exist(compose):
    assert compose["services"]["bot"]["environment"].keys() <= SETTINGS


def test_compose_passes_build_arguments_that_exist(compose, image_arguments):
    assert compose["services"]["bot"]["build"]["args"].keys() <= image_arguments.keys()


def test_compose_names_volumes_that_exist(compose):
    mounted = {volume.partition(":")[0] for service in compose["services"].values() for volume in service["volumes"]}
    assert mounted == compose["volumes"].keys()


def test_compose_gives_the_bot_longer_to_stop_than_its_grace_seconds(compose):
    assert int(compose["services"]["bot"]["stop_grace_period"].removesuffix("s")) > Config.model_fields["grace_seconds"].default
