"""Whatever a library raises while a model loads reaches the operator as one sentence."""

import sys

import pytest

import bot
from diffusion import __main__ as command_line
from diffusion.errors import ModelLoadError
from diffusion.loading import model as loading
from diffusion.loading.device import MEMORY_RAN_OUT

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
