"""Files that a crash cannot tear, nor a reader see half of."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Lend a file beside ``path`` to write to, which takes its place at the end: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    yield partial
    os.replace(partial, path)


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` to ``path``; the file is replaced whole or not at all."""
    with atomic_write(path) as partial:
        torch.save(state, partial)
