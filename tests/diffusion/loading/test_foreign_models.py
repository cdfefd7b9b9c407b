"""Each foreign repository is refused by one sentence, as a folder and as a hub id, before any of its weights."""

import json

import pytest

from diffusion.errors import ModelLoadError
from diffusion.loading.model import load_model
from tests.support.foreign_models import REPOSITORIES, write_repository
from tests.support.hub_mirror import mirror
from tests.support.programs import user_with

OWNER = "someone"
IDENTIFY = """
import json, sys
from diffusion.errors import ModelLoadError
from diffusion.loading.model import load_model
said = {}
for source in json.loads(sys.argv[1]):
    try:
        load_model(source, "cpu")
    except ModelLoadError as error:
        said[source] = str(error)
print(json.dumps(said))
"""
TEXTS = (".json", ".txt", ".jinja")


def said_of(source, sentence):
    return f"The model {str(source)!r} cannot be loaded: {sentence}"


@pytest.mark.parametrize("name", REPOSITORIES)
def test_load_model_refuses_a_foreign_folder(tmp_path, name):
    folder = write_repository(tmp_path / name, REPOSITORIES[name])
    with pytest.raises(ModelLoadError) as caught:
        load_model(folder, "cpu")
    assert str(caught.value) == said_of(folder, REPOSITORIES[name].sentence)


def test_load_model_refuses_an_empty_folder(tmp_path):
    with pytest.raises(ModelLoadError, match=r"there is nothing in it\. Name the folder that holds all parts of a model"):
        load_model(tmp_path, "cpu")


@pytest.fixture(scope="module")
def by_id(tmp_path_factory):
    """What is said about each repository as a hub id, and which files of all of them were downloaded."""
    folders = tmp_path_factory.mktemp("foreign")
    ids = {f"{OWNER}/{name}": write_repository(folders / name, foreign) for name, foreign in REPOSITORIES.items()}
    downloads = []
    with mirror(ids, downloads=downloads) as endpoint:
        ended = user_with(folders / "cache")("-c", IDENTIFY, json.dumps(list(ids)), HF_ENDPOINT=endpoint)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), downloads


@pytest.mark.parametrize("name", REPOSITORIES)
def test_load_model_refuses_a_foreign_id(by_id, name):
    foreign = REPOSITORIES[name]
    assert by_id[0].get(f"{OWNER}/{name}") == said_of(f"{OWNER}/{name}", foreign.by_id or foreign.sentence)


def test_load_model_downloads_no_weights_of_what_it_refuses(by_id):
    assert by_id[1]
    assert [name for name, _ in by_id[1] if not name.endswith(TEXTS)] == []
