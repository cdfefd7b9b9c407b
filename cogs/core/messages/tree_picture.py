"""The tree of related pictures as a picture: thumbnails joined by lines, and what changed beside each.

It is narrow and high, so that it can be read on a phone.
"""

import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from cogs.core.messages.lineage import TreeRow

MAX_ROWS: Final = 24
WIDTH: Final = 760  # pixels, as all lengths here
THUMBNAIL: Final = 104
ROW: Final = 124
MARGIN: Final = 20
MOST_INDENTED: Final = 280  # so that room for text is left
INDENT: Final = 44
TEXT_SIZE: Final = 26
TEXT_LINES: Final = 2
LINE_HEIGHT: Final = 32
BACKGROUND: Final = "#1e1f22"
LINE: Final = "#6d6f78"
TEXT: Final = "#f2f3f5"
FAINT: Final = "#b5bac1"
MARK: Final = "#f0b232"
EMPTY: Final = "#383a40"
QUALITY: Final = 85
# Pillow looks for them where the system keeps its fonts. Its own font has Latin letters only.
FONTS: Final = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKjp-Regular.otf",
    "ipag.ttf",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
    "meiryo.ttc",
    "msgothic.ttc",
    "segoeui.ttf",
)
PLAIN: Final = str.maketrans({"→": "->", "−": "-", "…": "..."})  # where the font does not show others
GAP: Final = "..."  # in place of signs that the font does not show
MISSING: Final = "\U000f0000"  # for private use: no font shows it
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_tree(rows: Sequence[TreeRow], thumbnails: Mapping[int, bytes], marked: int) -> bytes:
    """Return the first `MAX_ROWS` of ``rows`` as a WebP, with the creation ``marked`` outlined.

    ``thumbnails`` are small pictures by creation; the place of others is empty. Texts that no font of this machine shows are
    left out. Encodes: call it in a thread.
    """
    rows = rows[:MAX_ROWS]
    deepest = max((row.depth for row in rows), default=0)
    indent = min(INDENT, MOST_INDENTED // max(1, deepest))
    image = Image.new("RGB", (WIDTH, 2 * MARGIN + ROW * len(rows) - (ROW - THUMBNAIL)), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    corners = {row.relative.id: (MARGIN + indent * row.depth, MARGIN + ROW * number) for number, row in enumerate(rows)}
    for row in rows:
        if row.parent in corners:
            _join(canvas, corners[row.parent], corners[row.relative.id], indent)
    for row in rows:
        left, top = corners[row.relative.id]
        _draw_thumbnail(image, thumbnails.get(row.relative.id), (left, top))
        box = (left - 3, top - 3, left + THUMBNAIL + 2, top + THUMBNAIL + 2)
        if row.relative.id == marked:
            canvas.rectangle(box, outline=MARK, width=5)
        _write(canvas, row, (left + THUMBNAIL + 18, top))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()


def _join(canvas: ImageDraw.ImageDraw, parent: tuple[int, int], child: tuple[int, int], indent: int) -> None:
    """Draw a line down from below the parent, and to the child."""
    x = parent[0] + indent // 2
    middle = child[1] + THUMBNAIL // 2
    canvas.line([(x, parent[1] + THUMBNAIL), (x, middle), (child[0], middle)], fill=LINE, width=3, joint="curve")


def _draw_thumbnail(image: Image.Image, data: bytes | None, corner: tuple[int, int]) -> None:
    place = Image.new("RGB", (THUMBNAIL, THUMBNAIL), EMPTY)
    if data is not None:
        with Image.open(io.BytesIO(data)) as opened:
            small = opened.convert("RGB")
        small.thumbnail(place.size, Image.Resampling.LANCZOS)
        if (small.width < small.height and small.height < THUMBNAIL) or small.width < THUMBNAIL > small.height:
            scale = THUMBNAIL / max(small.size)
            small = small.resize((round(small.width * scale), round(small.height * scale)), Image.Resampling.LANCZOS)
        place.paste(small, ((THUMBNAIL - small.width) // 2, (THUMBNAIL - small.height) // 2))
    image.paste(place, corner)


def _write(canvas: ImageDraw.ImageDraw, row: TreeRow, corner: tuple[int, int]) -> None:
    left, top = corner
    room = WIDTH - MARGIN - left
    lines = []
    if shown := shown_text(row.text):
        text, font = shown
        lines = [(line, font, TEXT) for line in _wrapped(text, font, room)]
    if row.relative.name:
        lines.append((row.relative.name, fonts()[0], FAINT))
    top += (THUMBNAIL - LINE_HEIGHT * len(lines)) // 2
    for number, (line, font, colour) in enumerate(lines):
        canvas.text((left, top + LINE_HEIGHT * number), line, fill=colour, font=font)


def _wrapped(text: str, font: Font, room: int) -> list[str]:
    """Return ``text`` in up to `TEXT_LINES` lines of at most ``room`` pixels; what does not fit is cut."""
    lines: list[str] = []
    rest = text
    while rest and len(lines) < TEXT_LINES:
        is_last = len(lines) == TEXT_LINES - 1
        line = rest
        while line and font.getlength(line if line == rest else f"{line}{'…' if is_last else ''}") > room:
            line = line[:-1]
        if line != rest:
            space = line.rfind(" ")
            if not is_last and space > 0:
                line = line[:space]
            elif is_last:
                line = f"{line.rstrip()}…"
        lines.append(line)
        rest = rest[len(line) :].lstrip()
    return lines


def shown_text(text: str) -> tuple[str, Font] | None:
    """Return ``text`` and the font of this machine that shows most of it, without the signs that it lacks.

    Returns None if it would show less than half.
    """
    lacking = {font: sum(not _shows(font, sign) for sign in text if not sign.isspace()) for font in fonts()}
    font = min(lacking, key=lambda each: lacking[each])
    if not lacking[font]:
        return text, font
    if 2 * lacking[font] > len(text):
        return None
    plain = "".join(sign if sign.isspace() or _shows(font, sign) else GAP for sign in text.translate(PLAIN))
    return re.sub(rf"{re.escape(GAP)}(\s*{re.escape(GAP)})*", GAP, plain), font


@cache
def fonts() -> tuple[Font, ...]:
    """Return Pillow's own font, and those of `FONTS` that this machine has."""
    found: list[Font] = [ImageFont.load_default(TEXT_SIZE)]
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, TEXT_SIZE))
        except OSError:
            continue
    return tuple(found)


@cache
def _missing(font: Font) -> bytes:
    return bytes(font.getmask(MISSING))


def _shows(font: Font, sign: str) -> bool:
    return bytes(font.getmask(sign)) != _missing(font)
