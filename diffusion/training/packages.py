"""Build the picture archive from npm packages: six emoji sets, names, keywords."""

import io
import json
import multiprocessing
import os
import re
import subprocess
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image
from tqdm import tqdm

from diffusion.training.errors import PackageError
from diffusion.training.pictures import SIZE, Picture


@dataclass(frozen=True)
class Package:
    """An npm package and the version that the archive was made from."""

    name: str
    version: str

    @property
    def tarball(self) -> str:
        """The file name that ``npm pack`` uses."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


EMOJI_NAMES = Package("unicode-emoji-json", "0.9.0")  # MIT
EMOJI_KEYWORDS = Package("emojilib", "4.0.3")  # MIT
RASTER_SETS = {"fluent3d": Package("@lobehub/fluent-emoji-3d", "1.1.0")}  # MIT
ICON_SETS = {
    "fluentflat": Package("@iconify-json/fluent-emoji-flat", "1.2.6"),  # MIT
    "noto": Package("@iconify-json/noto", "1.2.9"),  # Apache-2.0
    "twemoji": Package("@iconify-json/twemoji", "1.2.5"),  # CC-BY-4.0
    "fxemoji": Package("@iconify-json/fxemoji", "1.2.2"),  # Apache-2.0
    "flaticons": Package("@iconify-json/flat-color-icons", "1.2.3"),  # MIT
}
GROUPS_OF_UNNAMED = {"fxemoji": "fx", "flaticons": "Icons"}  # for pictures without a Unicode name
EMOJI_BY_NAME = {"fxemoji"}  # sets without code points that hold emoji, not interface icons
SKIN_TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}


@dataclass(frozen=True)
class Meaning:
    """The Unicode name and group of an emoji, and its common keywords."""

    name: str
    group: str
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A picture before rasterising; ``source`` is SVG text or an encoded raster image."""

    style: str
    meaning: Meaning
    source: str | bytes


def build_pictures(downloads: Path) -> list[Picture]:
    """Fetch missing packages and rasterise all sets; raises `PackageError`.

    Skin tones and empty drawings are left out.
    """
    fetch([EMOJI_NAMES, EMOJI_KEYWORDS, *RASTER_SETS.values(), *ICON_SETS.values()], downloads)
    meanings = read_meanings(downloads / EMOJI_NAMES.tarball, downloads / EMOJI_KEYWORDS.tarball)
    drawings: list[Drawing] = []
    for style, package in RASTER_SETS.items():
        drawings += read_rasters(downloads / package.tarball, style, meanings)
    for style, package in ICON_SETS.items():
        drawings += read_icons(downloads / package.tarball, style, meanings)
    # Spawned: threads of this process would not survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        pictures = tqdm(pool.map(rasterise, drawings, chunksize=32), "rasterising", len(drawings), unit="picture")
        return [picture for picture in pictures if picture is not None]


def fetch(packages: list[Package], downloads: Path) -> None:
    """Download the packages that ``downloads`` lacks with ``npm pack``.

    Raises `PackageError`.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if (downloads / package.tarball).exists():
            continue
        command = ["npm", "pack", f"{package.name}@{package.version}", "--silent", "--pack-destination", str(downloads)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise PackageError(package.name, "npm is not installed") from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or f"npm ended with status {error.returncode}").splitlines()[-1]
            raise PackageError(package.name, reason) from error


def read_meanings(names: Path, keywords: Path) -> dict[str, Meaning]:
    """Read the tarballs of `EMOJI_NAMES` and `EMOJI_KEYWORDS`; the keys are `code_points`."""
    called = _read_json(keywords, "dist/emoji-en-US.json")
    meanings = {}
    for emoji, row in _read_json(names, "data-by-emoji.json").items():
        name = clean(row["name"])
        words = (clean(word.replace("_", " ")) for word in called.get(emoji, []))
        kept = tuple(word for word in words if word != name and len(word) < 25 and re.search("[a-z]{2}", word))
        points = code_points("-".join(f"{ord(character):x}" for character in emoji))
        meanings[points] = Meaning(name, row["group"], kept)
    return meanings


def read_rasters(tarball: Path, style: str, meanings: dict[str, Meaning]) -> Iterator[Drawing]:
    """Read raster images named by code points, such as ``assets/1f98a.webp``."""
    with tarfile.open(tarball) as package:
        members = [member for member in package if member.name.endswith(".webp")]
        for member in sorted(members, key=lambda member: member.name):
            meaning = _meaning(Path(member.name).stem, meanings)
            file = package.extractfile(member)
            if meaning and file:
                yield Drawing(style, meaning, file.read())


def read_icons(tarball: Path, style: str, meanings: dict[str, Meaning]) -> Iterator[Drawing]:
    """Read an Iconify package (https://iconify.design/docs/types/iconify-json.html).

    If its ``chars.json`` lists code points, it yields each emoji in ``meanings`` once. Otherwise it yields every icon, with
    the Unicode meaning of its name if there is one.
    """
    icons = _read_json(tarball, "icons.json")
    characters = _read_json(tarball, "chars.json")
    found = _by_character(characters, meanings) if characters else _by_name(icons["icons"], style, meanings)
    taken = set()
    for key, meaning, icon in found:
        svg = _svg(icons, icon)
        if svg and key not in taken:
            taken.add(key)
            yield Drawing(style, meaning, svg)


def _by_character(characters: dict[str, str], meanings: dict[str, Meaning]) -> Iterator[tuple[str, Meaning, str]]:
    for text, icon in characters.items():
        meaning = _meaning(text, meanings)
        if meaning:
            yield code_points(text), meaning, icon  # sets list an emoji with and without variation selector


def _by_name(icons: Iterable[str], style: str, meanings: dict[str, Meaning]) -> Iterator[tuple[str, Meaning, str]]:
    named = {meaning.name.replace(" ", ""): meaning for meaning in meanings.values()} if style in EMOJI_BY_NAME else {}
    for icon in icons:
        unnamed = Meaning(clean(icon.replace("-", " ")), GROUPS_OF_UNNAMED.get(style, style))
        yield icon, named.get(icon.replace("-", ""), unnamed), icon


def rasterise(drawing: Drawing) -> Picture | None:
    """Draw ``drawing`` at 128x128, or return None if it is invalid or empty."""
    if isinstance(drawing.source, str):
        try:
            png = resvg_py.svg_to_bytes(svg_string=drawing.source, width=SIZE, height=SIZE, skip_system_fonts=True)
        except ValueError:
            return None
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    else:
        image = Image.open(io.BytesIO(drawing.source)).convert("RGBA")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    if not image.getchannel("A").getbbox():
        return None
    webp = io.BytesIO()
    image.save(webp, "WEBP", quality=92, method=4, alpha_quality=95)
    meaning = drawing.meaning
    return Picture(drawing.style, meaning.name, meaning.group, meaning.keywords, webp.getvalue())


def clean(text: str) -> str:
    """Return ``text`` in lower case with plain letters, digits and some punctuation."""
    ascii_text = unicodedata.normalize("NFKD", text.lower().replace("’", "'")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9 .,&!?'+-]", "", ascii_text).strip()


def code_points(text: str) -> str:
    """Normalise hexadecimal code points joined by "-".

    The result has lower case, no leading zeros and no variation selector.
    """
    return "-".join(point.lstrip("0") or "0" for point in text.lower().split("-") if point != "fe0f")


def _meaning(text: str, meanings: dict[str, Meaning]) -> Meaning | None:
    points = code_points(text)
    return None if SKIN_TONES & set(points.split("-")) else meanings.get(points)


def _svg(icons: dict[str, Any], name: str) -> str | None:
    icon = icons["icons"].get(name)
    if icon is None:
        alias = icons.get("aliases", {}).get(name, {})
        if set(alias) != {"parent"}:  # unknown, or a transformed icon
            return None
        return _svg(icons, alias["parent"])
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{SIZE}" height="{SIZE}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def _read_json(tarball: Path, path: str) -> dict[str, Any]:
    try:
        with tarfile.open(tarball) as package:
            file = package.extractfile(f"package/{path}")
            return json.load(file) if file else {}
    except (OSError, KeyError, tarfile.TarError, json.JSONDecodeError) as error:
        raise PackageError(tarball.name, f"{path} is missing or damaged") from error
