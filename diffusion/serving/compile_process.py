"""Fill the cache of compiled networks for one model, at low priority: the engine starts this as a process."""

import argparse
import os
import sys
from pathlib import Path


def main() -> int:
    """Compile with the options of the command line; return the exit status."""
    parser = argparse.ArgumentParser("python -m diffusion.serving.compile_process", description=__doc__)
    parser.add_argument("cache", type=Path, help="folder for what is compiled")
    parser.add_argument("model", help="folder, file or hub id")
    parser.add_argument("--vae", help="autoencoder for a model in one file that has none")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16")
    parser.add_argument("--threads", type=int, default=1, help="of a call")
    options = parser.parse_args()
    if hasattr(os, "nice"):
        os.nice(19)

    import torch  # here, because the priority has to be set before it starts threads

    from diffusion.backends.compiled_cache import CompiledCache
    from diffusion.errors import DarkroomError
    from diffusion.loading.model import load_model

    torch.set_num_threads(options.threads)
    try:
        model = load_model(options.model, "cpu", getattr(torch, options.dtype), vae=options.vae)
        model.compile(CompiledCache(options.cache, takes_guesses=False), by_torch=False)
    except DarkroomError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
