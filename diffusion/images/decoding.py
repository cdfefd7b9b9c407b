"""Decode untrusted image files to pixels and texts.

A process that holds secrets does not call this itself for files of strangers: `cogs.core.messages.attachments.fetch_picture`
lets a sandboxed process do it.
"""

from dataclasses import dataclass, field

from PIL import Image

from diffusion.images.io import MAX_PIXELS, decode
from diffusion.images.parameters import read_text_chunks


@dataclass(frozen=True)
class DecodedImage:
    """All that is kept of an untrusted file: pixels and texts, no bytes of the file.

    - ``image``: RGB, or RGBA if some pixel may be transparent; 8 bits, sRGB, upright, the first frame. A picture of more than
      `MAX_RETURNED_PIXELS` pixels is scaled down to that many.
    - ``size``: width and height before that, upright.
    - ``format``: Pillow's name of the format, such as ``PNG`` or ``AVIF``.
    - ``animated``: whether there are more frames.
    - ``texts``: what other programs wrote into the file, decoded to str. Text chunks of a PNG have their keyword
      (``parameters``, ``prompt``, ``Comment``, …). EXIF texts are ``exif:`` and the tag's name as in `PIL.ExifTags.Base`
      (``exif:UserComment``, ``exif:Make``, ``exif:Model``, ``exif:ImageDescription``, ``exif:Software``, …); the marker of the
      encoding in front of a UserComment is removed and either byte order is read. The comment of a JPEG or GIF is
      ``comment``, XMP is ``xmp``. The first text of a name counts. All texts together have at most
      `MAX_TEXT_CHARACTERS` characters; longer ones are left out.
    """

    image: Image.Image
    size: tuple[int, int]
    format: str = ""
    animated: bool = False
    texts: dict[str, str] = field(default_factory=dict)


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode a file in this process; raises `InvalidImageError`."""
    image = decode(data, max_pixels)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return DecodedImage(image.convert(mode), image.size, texts=read_text_chunks(data))
