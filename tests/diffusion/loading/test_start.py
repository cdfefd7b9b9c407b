"""Whatever a library raises while a model loads reaches the operator as one sentence."""

import errno
import re
import sys

import pytest
import torch

import bot
from cogs.core.config import Config
from diffusion import __main__ as command_line
from diffusion.errors import ModelLoadError
from diffusion.loading import model as loading
from diffusion.loading.device import MEMORY_RAN_OUT
from diffusion.loading.placement import Placement

ERRORS = [AttributeError("no such thing"), TypeError("two\nlines"), IndexError(), RecursionError("too deep"), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_load_model_turns_any_error_into_a_sentence(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(loading, "_load_source", fail)
    with pytest.raises(ModelLoadError) as caught:
        loading.load_model("some/model", "cpu")
    said = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, MemoryError):
        said = MEMORY_RAN_OUT
    assert str(caught.value) == f"The model 'some/model' cannot be loaded: {said}"


@pytest.mark.parametrize(
    ("part", "error", "reason"),
    [
        ("vae", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), MEMORY_RAN_OUT),
        ("text_encoder", RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), MEMORY_RAN_OUT),
        ("unet", PermissionError(errno.EACCES, "Permission denied", "model.safetensors"), "[Errno 13] Permission denied: "),
    ],
    ids=["vae", "text_encoder", "unet"],
)
def test_each_part_that_cannot_be_loaded_ends_in_a_sentence(tiny_folder, monkeypatch, part, error, reason):
    def place(self, name, network):
        if name == part:
            raise error
        return network

    monkeypatch.setattr(Placement, "place", place)
    with pytest.raises(ModelLoadError, match=f"cannot be loaded: {re.escape(reason)}"):
        loading.load_model(tiny_folder, "cpu")


@pytest.mark.parametrize("step", ["_apply_settings", "load_safety_check", "load_upscaler"])
def test_bot_says_when_memory_runs_out_for_what_belongs_to_a_model(monkeypatch, step):
    def run_out(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("diffusion.load_model", lambda *_, **__: None)
    monkeypatch.setattr(bot, "_apply_settings", lambda *_: None)
    for place in ("diffusion.safety.load_safety_check", "diffusion.loading.upscaler.load_upscaler", "bot._apply_settings"):
        if place.endswith(step):
            monkeypatch.setattr(place, run_out)
    with pytest.raises(ModelLoadError, match="cannot be loaded: memory ran out"):
        bot.load_model(Config(_env_file=None, upscaler="up.safetensors" if step == "load_upscaler" else None), "embedded")


def test_load_model_turns_an_error_of_a_family_into_a_sentence(tiny_folder, monkeypatch):
    def fail(*_, **__):
        raise KeyError("unknown part")

    monkeypatch.setattr(loading, "load_parts", lambda *_, **__: loading.LoadedParts(fail, {}, "tiny"))
    with pytest.raises(ModelLoadError, match="unknown part"):
        loading.load_model(tiny_folder, "cpu")


def test_command_line_prints_one_sentence_for_any_error(monkeypatch, capsys):
    async def fail(_):
        raise AttributeError("a library changed")

    monkeypatch.setattr(command_line, "draw", fail)
    monkeypatch.setattr(sys, "argv", ["diffusion", "fox"])
    assert command_line.main() == 2
    assert capsys.readouterr().err == "The picture could not be drawn: AttributeError: a library changed\n"


def test_bot_prints_one_sentence_for_any_error(monkeypatch, capsys, tmp_path):
    async def fail(_):
        raise AttributeError("a library changed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISCORD_TOKEN", "token")
    monkeypatch.setattr(bot, "run_on_discord", fail)
    monkeypatch.setattr(bot, "configure_logging", lambda *_: None)
    assert bot.main(["discord"]) == bot.FAILED_STATUS
    assert capsys.readouterr().err == "The bot had to stop: AttributeError: a library changed\n"
