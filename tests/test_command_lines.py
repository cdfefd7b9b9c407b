"""The two command lines, run as a person runs them."""

import socket

import pytest
from PIL import Image

from diffusion.images.animation import decode_animation
from diffusion.images.masks import box_mask
from diffusion.images.parameters import read_parameters
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


def test_preview_explains_a_model_that_cannot_be_loaded(tmp_path):
    ended = run("bot.py", "preview", MODEL_ID=str(tmp_path))
    assert ended.returncode == 2
    assert "cannot be loaded" in ended.stderr and "Traceback" not in ended.stderr


def test_preview_lists_the_labels_of_the_classifier(tmp_path):
    folder = str(build_classifier(tmp_path))
    ended = run("bot.py", "preview", SAFETY_MODEL=folder, SAFETY_LABELS="red, nsfw")
    assert ended.returncode == 2
    assert "SAFETY_LABELS has nsfw. Name those of its labels that are unsafe: other, red, green" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_diffusion_command_writes_pictures(tiny_folder, tmp_path):
    target = tmp_path / "apple.png"
    ended = run("-m", "diffusion", "red apple", "-o", target, "--model", tiny_folder, "--steps", 3, "--seed", 9, "--count", 2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [str(target), str(tmp_path / "apple-2.png")]
    assert "red apple: 100%" in ended.stderr and "Warning" not in ended.stderr
    assert read_parameters(target.read_bytes())["seed"] == 9
    with Image.open(target) as picture:
        assert picture.size == (32, 32)


def test_diffusion_command_upscales(tiny_folder, tmp_path):
    target = tmp_path / "apple.png"
    ended = run("-m", "diffusion", "red apple", "-o", target, "--model", tiny_folder, "--steps", 2, "--upscale", 2)
    assert ended.returncode == 0, ended.stderr
    assert read_parameters(target.read_bytes())["upscale"] == 2
    with Image.open(target) as picture:
        assert picture.size == (64, 64)


def test_diffusion_command_steers(tmp_path):
    target = tmp_path / "apple.png"
    ended = run("-m", "diffusion", "apple", "-o", target, "--steps", 2, "--steer", "red", "--steer-scale", 3)
    assert ended.returncode == 0, ended.stderr
    settings = read_parameters(target.read_bytes())
    assert (settings["guide_label"], settings["label_scale"]) == ("red", 3.0)


def test_diffusion_command_inpaints_and_morphs(tiny_folder, tmp_path):
    image, mask, target = tmp_path / "in.png", tmp_path / "mask.png", tmp_path / "out.png"
    Image.new("RGB", (32, 32), "red").save(image)
    box_mask((64, 64), (0, 0, 32, 64)).save(mask)
    arguments = ["apple", "-o", target, "--model", tiny_folder, "--steps", 2]
    ended = run("-m", "diffusion", *arguments, "--image", image, "--mask", mask)
    assert ended.returncode == 0, ended.stderr
    with Image.open(target) as picture:
        assert set(picture.crop((16, 0, 32, 32)).get_flattened_data()) == {(255, 0, 0)}
    ended = run("-m", "diffusion", *arguments, "--morph-to", "pear", "--frames", 3)
    assert ended.stdout.split() == [str(target.with_suffix(".webp"))]
    assert len(decode_animation(target.with_suffix(".webp").read_bytes())[0]) == 4


@pytest.mark.parametrize(
    ("arguments", "words"), [([""], "empty"), (["fox", "--steps", "0"], "step"), (["fox", "--image", "nowhere.png"], "nowhere")]
)
def test_diffusion_command_explains_invalid_arguments(tiny_folder, arguments, words):
    ended = run("-m", "diffusion", *arguments, "--model", tiny_folder)
    assert ended.returncode == 2
    assert words in ended.stderr and "Traceback" not in ended.stderr


def test_preview_explains_a_port_in_use(tiny_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("bot.py", "preview", MODEL_ID=str(tiny_folder), SIMULATOR_PORT=str(taken.getsockname()[1]))
    assert ended.returncode == 2
    assert "SIMULATOR_PORT" in ended.stderr and "Traceback" not in ended.stderr
