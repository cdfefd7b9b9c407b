"""Compiling in the background: in a process of its own, never in the way of drawing, and never fatal."""

import logging
import sys
import threading
from types import SimpleNamespace

import pytest

from diffusion.config import EngineConfig
from diffusion.loading.model import load_model
from diffusion.serving import compile_process, compiling
from diffusion.serving.compiling import BackgroundCompiling, why_not
from diffusion.serving.engine import Engine


@pytest.fixture(autouse=True)
def caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "darkroom" / "compiled"


@pytest.fixture
def model(tiny_folder):
    return load_model(tiny_folder, device="cpu")


@pytest.fixture
def compiled(model, monkeypatch):
    """The caches with which the model was compiled, without compiling it."""
    caches = []
    monkeypatch.setattr(model, "compile", lambda cache, *, by_torch: caches.append((cache.folder, by_torch)))
    monkeypatch.setattr(model, "is_cached", lambda cache: False)
    return caches


def process_that(monkeypatch, said="", status=0):
    """Let a process with this end stand in for the compiling one; return its command lines."""
    commands = []

    def start(command, **options):
        commands.append(command)
        return SimpleNamespace(communicate=lambda: (said, None), returncode=status, kill=lambda: None)

    monkeypatch.setattr(compiling.subprocess, "Popen", start)
    return commands


def run(model, wanted="auto"):
    assert BackgroundCompiling(model, wanted).done.wait(30)


def test_process_compiles_what_is_not_cached(model, compiled, caches, monkeypatch):
    commands = process_that(monkeypatch)
    run(model)
    (command,) = commands
    assert compiled == [(caches, False)]
    # The process itself, with the arguments that it was given.
    loaded = []
    monkeypatch.setattr(compile_process.os, "nice", loaded.append)
    monkeypatch.setattr("torch.set_num_threads", loaded.append)
    monkeypatch.setattr(type(model), "compile", lambda self, cache, by_torch: loaded.append((self.dtype, cache.folder)))
    monkeypatch.setattr(sys, "argv", command[2:])
    assert compile_process.main() == 0
    assert loaded == [19, 1, (model.dtype, caches)]


def test_nothing_is_started_for_what_is_cached(model, compiled, monkeypatch):
    monkeypatch.setattr(model, "is_cached", lambda cache: True)
    commands = process_that(monkeypatch)
    run(model)
    assert compiled and not commands


def test_process_that_fails_leaves_the_model_as_it_is(model, compiled, monkeypatch, caplog):
    process_that(monkeypatch, "RuntimeError: an operation is unknown\n", 1)
    run(model)
    assert not compiled
    assert "goes on as it is: RuntimeError: an operation is unknown" in caplog.text


def test_unwritable_cache_is_replaced_for_this_start(model, compiled, caches, monkeypatch, caplog):
    caches.parent.write_text("a file in its place")
    process_that(monkeypatch)
    run(model)
    ((folder, _),) = compiled
    assert folder != caches and not folder.exists()
    assert "the next start compiles them again" in caplog.text


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_auto_compiles_only_for_cpus(device):
    model = SimpleNamespace(device=SimpleNamespace(type=device), family=SimpleNamespace(is_static=True))
    assert why_not(model, "auto") and not why_not(model, True)


def test_model_whose_calls_move_its_weights_is_never_compiled(model, compiled, monkeypatch, caplog):
    monkeypatch.setattr(model.family, "is_static", False)
    with caplog.at_level(logging.INFO):
        run(model, True)
    assert not compiled and "to save memory" in caplog.text


def test_auto_leaves_a_model_alone_for_which_memory_is_short(model, compiled, monkeypatch, caplog):
    monkeypatch.setattr(compiling, "available_bytes", lambda: 1)
    commands = process_that(monkeypatch)
    with caplog.at_level(logging.INFO):
        run(model)
    assert not compiled and not commands
    assert "is drawn uncompiled: compiling takes up to" in caplog.text


async def test_engine_that_is_left_stops_the_process(model, compiled, monkeypatch, caplog):
    started = threading.Event()
    killed = threading.Event()

    def communicate():
        started.set()
        killed.wait()
        return "", None

    process = SimpleNamespace(communicate=communicate, returncode=-9, kill=killed.set)
    monkeypatch.setattr(compiling.subprocess, "Popen", lambda command, **options: process)
    async with Engine(model, EngineConfig(compile="auto")) as engine:
        assert started.wait(30)
        (background,) = engine._compiling
    assert background.done.wait(30)
    assert not compiled and "goes on as it is" not in caplog.text
