import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from diffusion.training.errors import PackageError
from diffusion.training.packages import (
    EMOJI_NAMES,
    clean,
    code_points,
    fetch,
    rasterise,
    read_icons,
    read_meanings,
    read_rasters,
)

RED_SQUARE = '<path fill="#f00" d="M2 2h12v12H2z"/>'


@pytest.fixture
def meanings(tmp_path: Path):
    names = {
        "🦊": {"name": "fox", "group": "Animals & Nature"},
        "🐶": {"name": "Dog Face", "group": "Animals & Nature"},
        "👍": {"name": "thumbs up", "group": "People & Body"},
        "👍🏽": {"name": "thumbs up", "group": "People & Body"},
    }
    write(tmp_path / "names.tgz", {"data-by-emoji.json": json.dumps(names)})
    write(tmp_path / "keywords.tgz", {"dist/emoji-en-US.json": json.dumps({"🦊": ["fox", "red_fur", "1", "Café"]})})
    return read_meanings(tmp_path / "names.tgz", tmp_path / "keywords.tgz")


def write(tarball: Path, files: dict[str, str | bytes]) -> None:
    with tarfile.open(tarball, "w:gz") as package:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            package.addfile(member, io.BytesIO(data))


def test_read_icons_keeps_names_and_keywords(tmp_path, meanings):
    icons = {
        "width": 16,
        "height": 16,
        "icons": {"fox": {"body": RED_SQUARE}, "thumb-dark": {"body": RED_SQUARE}, "nothing": {"body": "<g/>"}},
        "aliases": {"dog": {"parent": "fox"}, "mirrored": {"parent": "fox", "hFlip": True}},
    }
    characters = {
        "1f98a": "fox",
        "1f98a-fe0f": "fox",
        "1f436": "dog",
        "1f44d-1f3fd": "thumb-dark",
        "1f44d": "mirrored",
        "1f600": "fox",
    }
    write(tmp_path / "icons.tgz", {"icons.json": json.dumps(icons), "chars.json": json.dumps(characters)})

    pictures = [rasterise(drawing) for drawing in read_icons(tmp_path / "icons.tgz", "noto", meanings)]

    assert [picture.name for picture in pictures] == ["fox", "dog face"]
    assert pictures[0].keywords == ("red fur", "cafe")
    image = pictures[0].image()
    assert image.size == (128, 128)
    red, green, blue, alpha = image.getpixel((64, 64))
    assert red > 230 and green < 30 and blue < 30 and alpha == 255
    assert image.getpixel((3, 3))[3] == 0


def test_read_icons_names_icons_without_characters_by_file(tmp_path, meanings):
    icons = {"icons": {"dog-face": {"body": RED_SQUARE}, "alarm-clock": {"body": RED_SQUARE}}}
    write(tmp_path / "icons.tgz", {"icons.json": json.dumps(icons), "chars.json": "{}"})

    emoji = [drawing.meaning for drawing in read_icons(tmp_path / "icons.tgz", "fxemoji", meanings)]
    interface = [drawing.meaning for drawing in read_icons(tmp_path / "icons.tgz", "flaticons", meanings)]

    assert [(meaning.name, meaning.group) for meaning in emoji] == [
        ("dog face", "Animals & Nature"),
        ("alarm clock", "fx"),
    ]
    assert {meaning.group for meaning in interface} == {"Icons"}


def test_read_rasters_scales_images(tmp_path, meanings):
    webp = io.BytesIO()
    Image.new("RGBA", (256, 256), "blue").save(webp, "WEBP")
    write(tmp_path / "3d.tgz", {"assets/1f98a.webp": webp.getvalue(), "assets/1f44d-1f3fd.webp": webp.getvalue()})

    [drawing] = read_rasters(tmp_path / "3d.tgz", "fluent3d", meanings)
    picture = rasterise(drawing)

    assert (picture.name, picture.image().size) == ("fox", (128, 128))


def test_rasterise_drops_empty_and_invalid_drawings(tmp_path, meanings):
    icons = {"icons": {"empty": {"body": "<g/>"}, "broken": {"body": "<g"}}}
    write(tmp_path / "icons.tgz", {"icons.json": json.dumps(icons), "chars.json": "{}"})

    assert [rasterise(drawing) for drawing in read_icons(tmp_path / "icons.tgz", "fxemoji", meanings)] == [None, None]


def test_fetch_explains_a_missing_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PackageError, match="unicode-emoji-json could not be used: npm is not installed"):
        fetch([EMOJI_NAMES], tmp_path / "downloads")


def test_fetch_skips_downloaded_packages(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    write(tmp_path / EMOJI_NAMES.tarball, {})

    fetch([EMOJI_NAMES], tmp_path)


def test_clean_keeps_what_people_type():
    assert clean("Côte d’Ivoire: “flag”") == "cote d'ivoire flag"
    assert code_points("0023-FE0F-20E3") == "23-20e3"
