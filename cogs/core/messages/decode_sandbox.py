"""Decodes one picture that nobody has checked, in a process of its own: ``python taster.py SECONDS BYTES PIXELS FORMAT...``.

Pillow's time and memory follow the pixels, which can be bounded beforehand, but also what a hostile file repeats without end:
scans, segments, chunks. A thread that is caught in one cannot be ended; this process can. That a file is damaged is told later.
"""

import contextlib
import io
import sys

from PIL import Image, ImageOps


def limit(cpu_seconds: int, memory: int) -> None:
    """Let the system end this process where it takes more processor seconds or bytes of memory than that."""
    with contextlib.suppress(ImportError):  # Windows has no such limits: the parent's clock ends it there
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def pixels(image: Image.Image) -> None:
    """Do what `diffusion.images.io.decode` does."""
    image.seek(0)
    image.load()
    ImageOps.exif_transpose(image)


def texts(image: Image.Image) -> None:
    """Do what `diffusion.images.parameters.read_text_chunks` does; for a moving PNG that decodes every frame."""
    getattr(image, "text", None)


def main(cpu_seconds: str, memory: str, max_pixels: str, *formats: str) -> int:
    """Give 0 for all but what takes too much."""
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
