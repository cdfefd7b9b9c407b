"""The picture archive: 128x128 RGBA emoji of six free sets with their names."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIZE = 128
PIXELS_FILE = "emoji128.bin"
INDEX_FILE = "meta.json"


@dataclass(frozen=True)
class Picture:
    """One emoji of one set; ``webp`` holds its RGBA pixels."""

    style: str
    name: str
    group: str
    keywords: tuple[str, ...]
    webp: bytes

    def image(self) -> Image.Image:
        """Decode to a 128x128 RGBA image."""
        return Image.open(io.BytesIO(self.webp)).convert("RGBA")


def read_archive(folder: Path) -> list[Picture]:
    """Read every picture of the archive in ``folder``.

    ``emoji128.bin`` holds the pixels and ``meta.json`` the index.
    """
    blob = (folder / PIXELS_FILE).read_bytes()
    return [
        Picture(
            row["set"],
            row["name"],
            row["group"],
            tuple(row["kw"]),
            blob[row["off"] : row["off"] + row["len"]],
        )
        for row in json.loads((folder / INDEX_FILE).read_text())
    ]


def write_archive(pictures: list[Picture], folder: Path) -> None:
    """Write ``pictures`` in the order in which `read_archive` returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    offset = 0
    with (folder / PIXELS_FILE).open("wb") as pixels:
        for picture in pictures:
            pixels.write(picture.webp)
            rows.append(
                {
                    "set": picture.style,
                    "name": picture.name,
                    "group": picture.group,
                    "kw": picture.keywords,
                    "off": offset,
                    "len": len(picture.webp),
                }
            )
            offset += len(picture.webp)
    (folder / INDEX_FILE).write_text(json.dumps(rows))
