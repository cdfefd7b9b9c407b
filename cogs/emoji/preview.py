"""The two files of a draft: the expression, and a sheet that previews it."""

import io
from typing import Final

from PIL import Image

from cogs.core.i18n.catalogues import say
from cogs.core.messages.message import PictureFile
from cogs.emoji.expressions import Kind
from diffusion.images.cutout import Cutout
from diffusion.text import N_

THEME_COLOURS: Final = ("#323339", "#ffffff")  # of Discord's dark and light themes
INLINE_SIDE: Final = 32  # pixels of an emoji within a text
GAP_PIXELS: Final = 12
ALT_TEXTS: Final = {
    "emoji": N_("The emoji on dark and on light, large and small"),
    "sticker": N_("The sticker on dark and on light, large and small"),
}


def preview_pictures(
    kind: Kind, cutout: Cutout, *, transparent: bool, description: str, language: str
) -> tuple[PictureFile, PictureFile]:
    """Return the file of the expression and its preview sheet.

    Encodes: call it in a thread.
    """
    png = cutout.png(kind.side, transparent)
    return (
        PictureFile(f"{kind.word}.png", png, description),
        PictureFile("preview.png", _sheet(png, kind.shown), say(language, ALT_TEXTS[kind.word])),
    )


def _sheet(png: bytes, shown: int) -> bytes:
    """Draw a picture on Discord's two backgrounds, in both sizes.

    Messages show it in the size ``shown``, and within a text in `INLINE_SIDE`.
    """
    width = shown + INLINE_SIDE + 3 * GAP_PIXELS
    height = shown + 2 * GAP_PIXELS
    sheet = Image.new("RGB", (len(THEME_COLOURS) * width, height))
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGBA")
    for left, background in zip(range(0, sheet.width, width), THEME_COLOURS, strict=True):
        sheet.paste(background, (left, 0, left + width, height))
        for side, x in ((shown, GAP_PIXELS), (INLINE_SIDE, shown + 2 * GAP_PIXELS)):
            scaled = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(scaled, (left + x, height - GAP_PIXELS - side), scaled)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
