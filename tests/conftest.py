"""Options, models of toy size and databases that many tests share."""

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and networks of toy size gain nothing from threads
os.environ.setdefault("COMPILE", "false")  # compiling in the background would slow down whatever runs meanwhile
os.environ.setdefault("TIPS", "false")  # tests look at all messages that a member sees

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from diffusion import redaction
from diffusion.families.model import ImageModel
from diffusion.loading.random_weights import build_tiny_components
from tests.support.databases import new_sqlite
from tests.support.models import build_classifier, model_of

# Many tests start programs: without bytecode, each compiles all of the code again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

FUZZ = 100
SHARED_FIXTURES = ("tests/diffusion/cluster", "tests/diffusion/training")  # each folder sets up much, once
# What takes long begins first, so that no process is left alone with it at the end.
LONGEST = (
    "tests/diffusion/cluster",
    "tests/test_command_lines.py",
    "benchmarks",
    "tests/diffusion/loading",
    "tests/cogs/core/generation",
    "tests/diffusion/test_tutorial.py",
    "tests/test_docs.py",
)


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=6, help="how often the crash test kills the bot")
    parser.addoption(
        "--jam-kills", type=int, default=2, help="how often the test of a jam kills the bot; from 20 on, 30 members play"
    )
    parser.addoption("--kill-seed", type=int, default=1, help="which random moments the crash test takes")
    parser.addoption("--rows", type=int, default=4_000, help="how many creations the tests of large tables write")
    parser.addoption("--delays", default="", help="seconds by which each message to PostgreSQL is late, several with commas")
    parser.addoption("--published", action="store_true", help="compare families in their published shapes, widths / 8, too")
    parser.addoption("--openapi", type=Path, help="Discord's openapi.json, against which tests of commands hold requests")
    parser.addoption("--fuzz", type=int, default=FUZZ, help="how many examples each fuzz test takes")


def pytest_xdist_auto_num_workers():
    """Run three more tests than there are cores, because tests wait for much of their time, but at most five."""
    return min(5, (os.cpu_count() or 1) + 3)


def pytest_configure(config):
    examples = config.getoption("fuzz")
    settings.register_profile(
        "fuzz",
        max_examples=examples,
        derandomize=examples == FUZZ,  # a long run takes others each time, or those of --hypothesis-seed
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("fuzz")


class Scheduling(LoadScopeScheduling):
    """Let one process run all tests of a file, and of a folder whose tests share what takes long to set up."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return next((folder for folder in SHARED_FIXTURES if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    def rank(item):
        return next((rank for rank, start in enumerate(LONGEST) if item.nodeid.startswith(start)), len(LONGEST))

    items.sort(key=rank)


def pytest_collection_finish():
    """Take the imported libraries out of every later collection of garbage, which would go through all of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch):
    """Forget the secrets that a test configures, as they would be blanked in the texts of others."""
    monkeypatch.setattr(redaction, "_configured", set())
    monkeypatch.setattr(redaction, "_pattern", None)


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def components(request):
    return build_tiny_components(request.param)


@pytest.fixture(scope="session")
def tiny_components():
    return build_tiny_components()


@pytest.fixture(scope="session")
def tiny_model(tiny_components) -> ImageModel:
    """32x32 pictures, latents of 4x4 cells, float32."""
    return model_of(tiny_components)


@pytest.fixture(scope="session")
def steerable_model(components) -> ImageModel:
    """The same with a classifier, for both prediction types."""
    return model_of(components | {"classifier": build_classifier()})


@pytest.fixture(scope="session")
def tiny_folder(tiny_components, tmp_path_factory) -> Path:
    """The same model as `from_pretrained` reads it."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, component in tiny_components.items():
        component.save_pretrained(folder / name)
    (folder / "model_index.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def postgresql():
    """A server that is there for the tests only; without one, what asks for it is skipped."""
    from tests.support.postgresql import PostgreSQL  # here, as Windows lacks what it imports

    with PostgreSQL() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """A fresh database of each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").create_database()
    return new_sqlite(tmp_path / "data" / "darkroom.sqlite")
