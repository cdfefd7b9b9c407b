"""Take files apart: what is needed for the pixels, and the metadata around it.

A decoder refuses a whole picture for metadata that it cannot read: a wrong checksum, a large profile, a torn EXIF block. A
browser shows such a picture. So metadata never reach the decoders of PNG, JPEG and WebP.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

PNG: Final = b"\x89PNG\r\n\x1a\n"
PNG_PIXEL_CHUNKS: Final = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
MAX_INFLATED: Final = 2**24  # bytes of one compressed text or profile
MAX_TEXT_CHARACTERS: Final = 4_000_000  # of all texts of a file; the largest graphs of ComfyUI have half as many
JPEG_STANDALONE: Final = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
JPEG_SCAN: Final = 0xDA
JPEG_METADATA: Final = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))  # application data but JFIF's and Adobe's, and comments
WEBP_METADATA: Final = frozenset((b"ICCP", b"EXIF", b"XMP "))
WEBP_METADATA_FLAGS: Final = 0x2C  # of the VP8X chunk: profile, EXIF and XMP


@dataclass
class Metadata:
    """What surrounds the pixels of a file: ``profile`` (ICC), ``exif`` and texts by name.

    `DecodedImage.texts` explains the names.
    """

    profile: bytes = b""
    exif: bytes = b""
    texts: dict[str, str] = field(default_factory=dict)
    animated: bool = False

    def add_text(self, name: str, text: str) -> None:
        """Keep ``text`` unless that name has one or the texts become too long."""
        length = sum(map(len, self.texts.values()))
        if text and name not in self.texts and length + len(text) <= MAX_TEXT_CHARACTERS:
            self.texts[name] = text


def split_metadata(data: bytes) -> tuple[bytes, Metadata]:
    """Return the file without its metadata, and those.

    Files of other formats, and what follows a torn piece, stay as they are.
    """
    metadata = Metadata()
    if data.startswith(PNG):
        return _split_png(data, metadata), metadata
    if data.startswith(b"\xff\xd8\xff"):
        return _split_jpeg(data, metadata), metadata
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _split_webp(data, metadata), metadata
    return data, metadata


def without_avif_exif(data: bytes) -> bytes:
    """Return an AVIF file whose EXIF block no decoder finds."""
    return re.sub(rb"(infe[\s\S]{8})Exif", rb"\1free", data)


def decode_text(data: bytes) -> str:
    """Decode UTF-8, or else Latin-1, which older programs write."""
    data = data.strip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _split_png(data: bytes, metadata: Metadata) -> bytes:
    kept = [PNG]
    start = len(PNG)
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        kind = data[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(data) or not kind.isalpha():
            break
        if kind in PNG_PIXEL_CHUNKS:
            kept.append(data[start:end])
        else:
            _read_png_chunk(kind, data[start + 8 : end - 4], metadata)
        start = end
        if kind == b"IEND":
            return b"".join(kept)
    return b"".join((*kept, data[start:]))


def _read_png_chunk(kind: bytes, content: bytes, metadata: Metadata) -> None:
    name, _, rest = content.partition(b"\0")
    keyword = name[:80].decode("latin-1")
    if kind == b"tEXt":
        metadata.add_text(keyword, decode_text(rest))
    elif kind == b"zTXt":
        metadata.add_text(keyword, decode_text(_inflate(rest[1:])))
    elif kind == b"iTXt":
        _, _, text = rest[2:].partition(b"\0")  # the language
        _, _, text = text.partition(b"\0")  # the translated keyword
        is_compressed = rest[:1] == b"\1"
        metadata.add_text(_xmp_name(keyword), decode_text(_inflate(text) if is_compressed else text))
    elif kind == b"iCCP":
        metadata.profile = metadata.profile or _inflate(rest[1:])
    elif kind == b"eXIf":
        metadata.exif = metadata.exif or content
    elif kind == b"acTL" and len(content) >= 4:
        metadata.animated = int.from_bytes(content[:4]) > 1


def _xmp_name(keyword: str) -> str:
    return "xmp" if keyword == "XML:com.adobe.xmp" else keyword


def _inflate(data: bytes) -> bytes:
    """Decompress up to `MAX_INFLATED` bytes; return b"" for more, and for damaged data."""
    decompressor = zlib.decompressobj()
    try:
        inflated = decompressor.decompress(data, MAX_INFLATED)
    except zlib.error:
        return b""
    return b"" if decompressor.unconsumed_tail else inflated


def _split_jpeg(data: bytes, metadata: Metadata) -> bytes:
    kept = [data[:2]]
    exif, profile = [], {}
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker == 0xFF or marker in JPEG_STANDALONE:  # a fill byte has no second one
            step = 1 if marker == 0xFF else 2
            kept.append(data[start : start + step])
            start += step
            continue
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        if marker == JPEG_SCAN or end > len(data) or end < start + 4:
            break
        if marker not in JPEG_METADATA:
            kept.append(data[start:end])
        else:
            content = data[start + 4 : end]
            if marker == 0xE1 and content.startswith(b"Exif\0"):
                exif.append(content[6:])
            elif marker == 0xE1 and content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                metadata.add_text("xmp", decode_text(content.partition(b"\0")[2]))
            elif marker == 0xE2 and content.startswith(b"ICC_PROFILE\0"):
                profile[content[12:13]] = content[14:]
            elif marker == 0xFE:
                metadata.add_text("comment", decode_text(content))
        start = end
    metadata.exif = b"".join(exif)
    metadata.profile = b"".join(profile[number] for number in sorted(profile))
    return b"".join((*kept, data[start:]))


def _split_webp(data: bytes, metadata: Metadata) -> bytes:
    kept = []
    start = 12
    last = min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while start + 8 <= last:
        kind = data[start : start + 4]
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        content = data[start + 8 : end]
        if kind not in WEBP_METADATA and end > len(data):  # torn within the pixels: the decoder says so
            return data
        if kind == b"VP8X" and content:
            header = bytes((content[0] & ~WEBP_METADATA_FLAGS,)) + content[1:]
            kept.append(data[start : start + 8] + header)
        elif kind not in WEBP_METADATA:
            kept.append(data[start : end + end % 2])
        elif kind == b"ICCP":
            metadata.profile = content
        elif kind == b"EXIF":
            metadata.exif = content
        else:
            metadata.add_text("xmp", decode_text(content))
        start = end + end % 2  # an odd chunk is padded
    chunks = b"".join(kept)
    return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks
