"""The two command lines, as a person runs them: in a process of their own, or in this one where that changes nothing."""

import socket
import sys

import pytest
from PIL import Image

import bot
from diffusion.__main__ import main
from diffusion.images.animation import decode_animation
from diffusion.images.masks import box_mask
from diffusion.images.parameters import read_parameters
from tests.support.databases import new_sqlite
from tests.support.programs import ROOT, run
from tests.support.safety import build_classifier


@pytest.mark.skipif((ROOT / ".env").exists(), reason="this checkout has a .env of its own")
def test_bot_without_a_token_names_it_and_the_preview():
    ended = run("bot.py")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "DISCORD_TOKEN" in ended.stderr and "darkroom preview" in ended.stderr


def test_bot_names_a_wrong_setting():
    ended = run("bot.py", MAX_ROWS="none")
    assert ended.returncode == 2
    assert "MAX_ROWS" in ended.stderr and "Traceback" not in ended.stderr


@pytest.fixture
def preview(monkeypatch, capsys):
    """Run `darkroom preview` here until it ends, and return its status and its errors."""
    monkeypatch.setattr(bot, "configure_logging", lambda *_: None)  # that of the tests stays

    def run_here(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return bot.main(["preview"]), capsys.readouterr().err

    return run_here


def test_preview_explains_a_model_that_cannot_be_loaded(preview, tmp_path):
    status, errors = preview(MODEL_ID=str(tmp_path))
    assert status == 2
    assert "cannot be loaded" in errors and "Traceback" not in errors


def test_preview_lists_the_labels_of_the_classifier(preview, tmp_path):
    status, errors = preview(SAFETY_MODEL=str(build_classifier(tmp_path)), SAFETY_LABELS="red, nsfw")
    assert status == 2
    assert "SAFETY_LABELS has nsfw. Name those of its labels that are unsafe: other, red, green" in errors
    assert "Traceback" not in errors


def test_diffusion_command_writes_pictures(tiny_folder, tmp_path):
    target = tmp_path / "apple.png"
    ended = run("-m", "diffusion", "red apple", "-o", target, "--model", tiny_folder, "--steps", 3, "--seed", 9, "--count", 2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(target), str(tmp_path / "apple-2.png")]
    assert "red apple: 100%" in ended.stderr and "Warning" not in ended.stderr
    assert read_parameters(target.read_bytes())["seed"] == 9
    with Image.open(target) as picture:
        assert picture.size == (32, 32)


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Run the command here, with a file to write, and return its status and that file."""

    def run_here(*arguments):
        target = tmp_path / "apple.png"
        monkeypatch.setattr(sys, "argv", ["diffusion", "apple", "-o", str(target), *map(str, arguments)])
        return main(), target

    return run_here


def test_diffusion_command_upscales(draw, tiny_folder):
    status, target = draw("--model", tiny_folder, "--steps", 2, "--upscale", 2)
    assert status == 0
    assert read_parameters(target.read_bytes())["upscale"] == 2
    with Image.open(target) as picture:
        assert picture.size == (64, 64)


def test_diffusion_command_steers(draw):
    status, target = draw("--steps", 2, "--steer", "red", "--steer-scale", 3)
    assert status == 0
    settings = read_parameters(target.read_bytes())
    assert (settings["guide_label"], settings["label_scale"]) == ("red", 3.0)


def test_diffusion_command_inpaints(draw, tiny_folder, tmp_path):
    image, mask = tmp_path / "in.png", tmp_path / "mask.png"
    Image.new("RGB", (32, 32), "red").save(image)
    box_mask((64, 64), (0, 0, 32, 64)).save(mask)
    status, target = draw("--model", tiny_folder, "--steps", 2, "--image", image, "--mask", mask)
    assert status == 0
    with Image.open(target) as picture:
        assert set(picture.crop((16, 0, 32, 32)).get_flattened_data()) == {(255, 0, 0)}


def test_diffusion_command_morphs(draw, tiny_folder, capsys):
    status, target = draw("--model", tiny_folder, "--steps", 2, "--morph-to", "pear", "--frames", 3)
    assert status == 0
    assert capsys.readouterr().out.split() == [str(target.with_suffix(".webp"))]
    assert len(decode_animation(target.with_suffix(".webp").read_bytes())[0]) == 4


@pytest.mark.parametrize(
    ("arguments", "words"), [([""], "empty"), (["fox", "--steps", "0"], "step"), (["fox", "--image", "nowhere.png"], "nowhere")]
)
def test_diffusion_command_explains_invalid_arguments(monkeypatch, capsys, tiny_folder, arguments, words):
    monkeypatch.setattr(sys, "argv", ["diffusion", *arguments, "--model", str(tiny_folder)])
    assert main() == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_preview_explains_a_port_in_use(tiny_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("bot.py", "preview", MODEL_ID=str(tiny_folder), SIMULATOR_PORT=str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert "SIMULATOR_PORT" in ended.stderr and "Traceback" not in ended.stderr


def test_backup_is_restored_for_a_second_bot(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bot, "configure_logging", lambda *_: None)
    new_sqlite(tmp_path / "first" / "darkroom.sqlite")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "first"))
    assert bot.main(["backup", str(tmp_path / "saved")]) == 0
    assert capsys.readouterr().out == f"Saved in {tmp_path / 'saved'}: the database and 0 pictures.\n"
    assert bot.main(["backup", str(tmp_path / "saved")]) == 2
    assert "is not empty" in capsys.readouterr().err
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "second"))
    assert bot.main(["restore", str(tmp_path / "saved")]) == 0
    assert (tmp_path / "second" / "darkroom.sqlite").exists()
    assert bot.main(["restore", str(tmp_path / "saved")]) == 2
    assert "There is a database already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["backup"], ["restore"], ["preview", "folder"]])
def test_only_backups_take_a_folder(arguments, capsys):
    with pytest.raises(SystemExit):
        bot.main(arguments)
    assert "folder" in capsys.readouterr().err
