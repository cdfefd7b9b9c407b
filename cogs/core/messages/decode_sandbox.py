"""Decode one untrusted picture in a separate process.

Usage: ``python decode_sandbox.py SECONDS BYTES PIXELS FORMAT...``

A hostile file can repeat scans, segments or chunks without end, so a limit on its pixels does not limit Pillow's time and
memory. A thread that decodes such a file cannot be stopped; this process can. It also exits with 0 for a damaged file, because
the later decoding reports that.
"""

import contextlib
import io
import sys

from PIL import Image, ImageOps


def limit(cpu_seconds: int, memory: int) -> None:
    """Limit the processor seconds and the bytes of memory of this process."""
    with contextlib.suppress(ImportError):  # Windows has no such limits; there the parent's timeout ends it
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def pixels(image: Image.Image) -> None:
    """Decode like `diffusion.images.io.decode`."""
    image.seek(0)
    image.load()
    ImageOps.exif_transpose(image)


def texts(image: Image.Image) -> None:
    """Read the text as `diffusion.images.parameters.read_text_chunks` does.

    For an animated PNG, that decodes every frame.
    """
    getattr(image, "text", None)


def main(cpu_seconds: str, memory: str, max_pixels: str, *formats: str) -> int:
    """Decode the picture of standard input.

    Returns 1 if it takes too much memory, otherwise 0.
    """
    limit(int(cpu_seconds), int(memory))
    data = sys.stdin.buffer.read()
    for read in (pixels, texts):
        try:
            with Image.open(io.BytesIO(data), formats=formats) as image:
                if image.width * image.height <= int(max_pixels):
                    read(image)
        except MemoryError:
            return 1
        except Exception:
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
