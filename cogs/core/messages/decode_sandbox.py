"""Decode one untrusted picture in a process that can do nothing else.

Usage: ``python -I -S decode_sandbox.py SECONDS BYTES MAX_PIXELS SHRINK_TO PATH...``

The file comes from standard input, the reply of `decode_protocol` goes to standard output. The paths are where the packages
are found. A hostile file can keep a decoder busy without end, so this process has limits on its time and memory, and it may
take the decoder over, so `confinement` takes everything else away.
"""

import sys


def main(cpu_seconds: str, memory: str, max_pixels: str, shrink_to: str, *paths: str) -> int:
    """Decode the picture of standard input; return 1 if it takes too much memory."""
    sys.path[:0] = paths
    from cogs.core.messages.confinement import confine
    from cogs.core.messages.decode_protocol import encode_picture, encode_refusal
    from diffusion.errors import InvalidImageError
    from diffusion.images.decoding import decode_picture, import_decoders

    import_decoders()
    guards = confine(int(cpu_seconds), int(memory))
    data = sys.stdin.buffer.read()
    try:
        reply = encode_picture(decode_picture(data, int(max_pixels), int(shrink_to)), guards)
    except InvalidImageError as error:
        reply = encode_refusal(error), b""
    except MemoryError:
        return 1
    for part in reply:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
