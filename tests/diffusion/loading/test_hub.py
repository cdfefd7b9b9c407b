"""A hub id, loaded as a user loads it: in a process of its own, from a mirror on loopback into an empty cache."""

import errno
import re
import shutil

import pytest
from huggingface_hub import ModelInfo
from huggingface_hub.constants import HF_HUB_CACHE

from diffusion.errors import ModelLoadError
from diffusion.loading import hub
from diffusion.loading.hub import NoWeightsError, variant_of
from tests.support.hub_mirror import LICENCE_ACCEPTED, mirror
from tests.support.safety import build_checker

REPOSITORY = "someone/tiny-diffusion"
PIECE = 10 * 2**20
FETCH = """
import sys
from diffusion.errors import ModelLoadError
from diffusion.loading.hub import fetch
try:
    print(fetch(sys.argv[1], ("unet", "vae", "text_encoder", "tokenizer", "scheduler"), sys.argv[2:] == ["half"]))
except ModelLoadError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def draw(user, tmp_path):
    def start(model, **environment):
        return user("-m", "diffusion", "fox", "-o", tmp_path / "fox.png", "--model", model, "--steps", 2, **environment)

    return start


@pytest.fixture
def fetch(user):
    """Returns what was fetched and what was said about it."""

    def start(endpoint, model=REPOSITORY, *half, **environment):
        ended = user("-c", FETCH, model, *half, HF_ENDPOINT=endpoint, **environment)
        assert "Traceback" not in ended.stderr
        return ended.stdout.strip(), ended.stderr

    return start


@pytest.fixture
def model(tiny_folder, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(tiny_folder, tmp_path / "model")


def sentence(stderr):
    """What stands below the bars."""
    return stderr.strip().splitlines()[-1]


def test_fetch_downloads_once_and_then_works_offline(tiny_folder, draw, fetch):
    with mirror(tiny_folder, REPOSITORY) as endpoint:
        first = draw(REPOSITORY, HF_ENDPOINT=endpoint)
    assert first.returncode == 0, first.stderr
    assert "Warning" not in first.stderr
    assert "Fetching" in first.stderr and "100%" in first.stderr
    again = draw(REPOSITORY, HF_ENDPOINT=endpoint)
    assert again.returncode == 0, again.stderr
    assert "Fetching" not in again.stderr
    fetched, said = fetch(endpoint, HF_HUB_OFFLINE="1")
    assert fetched and "Fetching" not in said


def test_fetch_reports_an_unknown_id(tiny_folder, draw):
    with mirror(tiny_folder, REPOSITORY) as endpoint:
        ended = draw("someone/else", HF_ENDPOINT=endpoint)
    assert ended.returncode == 2
    assert "someone/else" in ended.stderr and "the hub knows no model of this name" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("brings", [True, False])
def test_load_safety_check_downloads_the_models_checker(tmp_path, user, brings):
    build_checker(tmp_path / "model", flagging=True)
    if not brings:
        (tmp_path / "model" / "safety_checker" / "config.json").unlink()
    code = f"from diffusion.safety import load_safety_check; print(load_safety_check({REPOSITORY!r}) is not None)"
    with mirror(tmp_path / "model", REPOSITORY) as endpoint:
        ended = user("-c", code, HF_ENDPOINT=endpoint)
    assert ended.stdout.strip() == str(brings), ended.stderr


@pytest.fixture
def large(model):
    """The library writes what it downloads in pieces of 10 MiB; only whole ones are there after a break."""
    with (model / "unet" / "diffusion_pytorch_model.safetensors").open("r+b") as file:
        file.truncate(3 * PIECE)
    return model


def test_fetch_resumes_a_broken_transfer(large, fetch):
    downloads = []
    with mirror(large, REPOSITORY, breaks=1, downloads=downloads) as endpoint:
        folder, stderr = fetch(endpoint)
    assert folder, stderr
    assert ("unet/diffusion_pytorch_model.safetensors", PIECE) in downloads


def test_fetch_keeps_complete_files_for_the_next_start(large, fetch):
    before, after = [], []
    with mirror(large, REPOSITORY, breaks=1, closed=True, downloads=before) as endpoint:
        folder, stderr = fetch(endpoint)
    assert not folder
    assert "the hub answers with status 503. Try again later: complete files are kept." in sentence(stderr)
    assert not fetch("http://127.0.0.1:9")[0], "half a model was taken for a whole one"
    with mirror(large, REPOSITORY, downloads=after) as endpoint:
        folder, stderr = fetch(endpoint)
    assert folder, stderr
    broken = {("unet/diffusion_pytorch_model.safetensors", 0)}
    assert len(before) > 1 and set(before) & set(after) == broken


@pytest.mark.parametrize("token", ["", "hf_of_somebody_else"])
def test_fetch_names_the_page_of_a_gated_licence(tiny_folder, fetch, token):
    with mirror(tiny_folder, REPOSITORY, gated=True) as endpoint:
        folder, stderr = fetch(endpoint, HF_TOKEN=token)
        assert not folder
        assert f"Log in on {endpoint}/{REPOSITORY}, accept its licence there, and set HF_TOKEN" in sentence(stderr)
        assert fetch(endpoint, HF_TOKEN=LICENCE_ACCEPTED)[0]


def test_fetch_reports_an_invalid_token(tiny_folder, fetch):
    with mirror(tiny_folder, REPOSITORY) as endpoint:
        assert "the hub does not accept HF_TOKEN" in sentence(fetch(endpoint, HF_TOKEN="secret")[1])


def test_fetch_does_not_download_pickles(model, fetch):
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    downloads = []
    with mirror(model, REPOSITORY, downloads=downloads) as endpoint:
        folder, stderr = fetch(endpoint)
    assert not folder and not downloads
    assert "its unet/diffusion_pytorch_model.safetensors is missing" in sentence(stderr)
    assert "There is only diffusion_pytorch_model.bin, a pickle" in sentence(stderr)


@pytest.mark.parametrize(("both", "half"), [(False, False), (True, True), (True, False)])
def test_fetch_takes_half_precision_where_it_suits_or_is_alone(model, fetch, both, half):
    for weights in list(model.rglob("*.safetensors")):
        (shutil.copy if both else shutil.move)(weights, weights.with_suffix(".fp16.safetensors"))
    downloads = []
    with mirror(model, REPOSITORY, downloads=downloads) as endpoint:
        folder, stderr = fetch(endpoint, REPOSITORY, *["half"] * half)
    assert folder, stderr
    taken = [name for name, _ in downloads if name.endswith(".safetensors")]
    assert len(taken) == 3
    assert all((".fp16." in name) == (half or not both) for name in taken)


def test_load_model_reads_half_precision_alone(model, user, tmp_path):
    for weights in list(model.rglob("*.safetensors")):
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    ended = user("-m", "diffusion", "fox", "-o", tmp_path / "fox.png", "--model", model, "--steps", 2)
    assert ended.returncode == 0, ended.stderr


def test_fetch_reports_a_full_disk_before_the_download(tiny_folder, fetch):
    downloads = []
    with mirror(tiny_folder, REPOSITORY, size=10**15, downloads=downloads) as endpoint:
        folder, stderr = fetch(endpoint)
    assert not folder and not downloads
    assert "its download takes 3000000.0 GB" in sentence(stderr) and "set HF_HOME" in sentence(stderr)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "is full. Make room, or set HF_HOME to a folder on a larger disk."),
        (errno.EACCES, "cannot be written to. Allow this user to, or set HF_HOME to another folder."),
        (errno.EROFS, "cannot be written to. Allow this user to, or set HF_HOME to another folder."),
    ],
    ids=["full", "not_allowed", "read_only"],
)
def test_fetch_names_the_folder_that_takes_no_files(monkeypatch, code, advice):
    def fail(*_, **__):
        raise OSError(code, "no")

    monkeypatch.setattr(hub, "_hub_info", lambda _: ModelInfo(id=REPOSITORY, siblings=[]))
    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ModelLoadError, match=re.escape(f"{HF_HUB_CACHE} {advice}")):
        hub.fetch(REPOSITORY, ())


@pytest.mark.parametrize("model", ["no/such/folder", "/nowhere", "./nowhere", "a name"])
def test_fetch_asks_the_hub_for_ids_only(fetch, model):
    assert sentence(fetch("http://127.0.0.1:9", model)[1]).endswith("there is no such folder or file.")


def test_fetch_reports_an_unreachable_hub(fetch):
    assert "the hub cannot be reached" in sentence(fetch("http://127.0.0.1:9")[1])
    assert "HF_HUB_OFFLINE forbids the download" in sentence(fetch("http://127.0.0.1:9", HF_HUB_OFFLINE="1")[1])


def test_variant_of_recognises_shards():
    shards = [f"unet/diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert variant_of(shards, "unet", half=False) == "fp16"
    assert variant_of([shard.replace(".fp16", "") for shard in shards] + shards, "unet", half=False) is None
    with pytest.raises(NoWeightsError):
        variant_of(["unet/diffusion_pytorch_model.non_ema.safetensors"], "unet", half=False)
