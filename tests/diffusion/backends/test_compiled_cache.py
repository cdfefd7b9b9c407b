"""Compiled networks on disk: what is damaged or cannot be written is made again, and the log says so."""

import pytest
import torch

from diffusion.backends.compiled_cache import CompiledCache, cache_folder, fingerprint


@pytest.fixture
def cache(tmp_path):
    return CompiledCache(tmp_path / "compiled")


def test_cache_returns_what_was_written(cache):
    assert cache.read("key") is None
    assert cache.write("key", b"compiled")
    assert cache.read("key").tobytes() == b"compiled"


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 200], ids=["empty", "short", "other bytes"])
def test_damaged_file_counts_as_missing(cache, caplog, damage):
    cache.write("key", b"compiled")
    (path,) = cache.folder.iterdir()
    path.write_bytes(damage)
    assert cache.read("key") is None
    assert str(path) in caplog.text and "compiled again" in caplog.text


def test_cache_that_cannot_be_written_says_so(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = CompiledCache(tmp_path / "file" / "compiled")
    assert not cache.is_writable()
    assert not cache.write("key", b"compiled")
    assert caplog.text.count("the next start compiles them again") == 2


def test_cache_forgets_what_was_long_unused(cache, monkeypatch):
    cache.write("old", b"compiled")
    monkeypatch.setattr("diffusion.backends.compiled_cache.KEPT_DAYS", -1)
    cache.write("new", b"compiled")
    assert [path.stem for path in cache.folder.iterdir()] == ["new"]


def test_json_that_is_none_counts_as_missing(cache):
    cache.write("key", b"{")
    assert cache.read_json("key") is None
    cache.write_json("key", {"ways": [1]})
    assert cache.read_json("key") == {"ways": [1]}


def test_cache_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "darkroom"


def test_fingerprint_depends_on_weights_and_circumstances_but_not_on_their_layout():
    torch.manual_seed(1)
    network = torch.nn.Conv2d(3, 4, 3)
    before = fingerprint([network], "bf16")
    assert fingerprint([network.to(memory_format=torch.channels_last)], "bf16") == before
    assert fingerprint([network], "f32") != before
    network.weight.data[0, 0, 0, 0] += 1
    assert fingerprint([network], "bf16") != before
