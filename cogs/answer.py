"""What the bot says in one message: text, pictures, buttons."""

import io
from dataclasses import dataclass, replace
from pathlib import PurePath

import discord
from PIL import Image

SOURCE_NAME = "source.png"
SMALLER = ((90, 1), (75, 2))  # JPEG qualities and divisors of the side to try where Discord finds the files too large


@dataclass(frozen=True)
class Picture:
    """A file as it is attached: its name, its bytes and its alt text."""

    name: str
    data: bytes
    description: str

    def file(self) -> discord.File:
        """Give it to discord.py, which uses a file up."""
        return discord.File(io.BytesIO(self.data), self.name, description=self.description)


@dataclass(frozen=True)
class Answer:
    """A message to be. ``lessened`` counts how often its pictures were made smaller."""

    text: str
    pictures: tuple[Picture, ...] = ()
    view: discord.ui.View | None = None
    lessened: int = 0

    def files(self) -> list[discord.File]:
        """Give fresh files for one attempt at posting."""
        return [picture.file() for picture in self.pictures]

    def smaller(self) -> "Answer | None":
        """Give the same with smaller files, or None where nothing more can be saved. Encodes: call it in a thread."""
        if self.lessened == len(SMALLER):
            return None
        quality, divisor = SMALLER[self.lessened]
        results = [picture for picture in self.pictures if picture.name != SOURCE_NAME]
        pictures = tuple(_as_jpeg(picture, quality, divisor) for picture in results)
        return replace(self, pictures=pictures, lessened=self.lessened + 1)


def _as_jpeg(picture: Picture, quality: int, divisor: int) -> Picture:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture.data)) as image:
        size = max(1, image.width // divisor), max(1, image.height // divisor)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
    return Picture(str(PurePath(picture.name).with_suffix(".jpg")), buffer.getvalue(), picture.description)
