"""A file that says which requests were in the step under way when the process ended."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffusion.serving.job import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepRecord:
    """The ids of the requests in a ``step``, and the crashes that others recorded before.

    ``crashes`` and ``lone`` are those of `Blame`.
    """

    step: Sequence[int] = ()
    crashes: Mapping[int, int] = field(default_factory=dict)
    lone: Mapping[int, int] = field(default_factory=dict)


class StepJournal:
    """Keeps a `StepRecord` at ``path``, with the ``crashes`` and ``lone`` of the present; without a path, it keeps nothing.

    A write takes microseconds. It does not wait for the disk, because it must outlive the process and not the machine.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.crashes: Mapping[int, int] = {}
        self.lone: Mapping[int, int] = {}
        self._path = path
        self._handle: int | None = None
        self._length = 0

    def read(self) -> StepRecord:
        """Return the record of the last run; it is empty if the file is missing or damaged."""
        try:
            content = json.loads(self._path.read_text()) if self._path else {}
            counts = [{int(id): int(count) for id, count in content.get(name, {}).items()} for name in ("crashes", "lone")]
            return StepRecord([int(id) for id in content.get("step", ())], *counts)
        except FileNotFoundError:
            return StepRecord()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("the journal of steps cannot be read: %s", error)
            return StepRecord()

    def write(self, jobs: Sequence[Job]) -> None:
        """Replace the record by the step of ``jobs``, whose labels are the ids of their requests."""
        if self._path is None:
            return
        step = [job.label for job in jobs if isinstance(job.label, int)]
        text = json.dumps({"step": step, "crashes": dict(self.crashes), "lone": dict(self.lone)}).encode()
        try:
            if self._handle is None:
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                self._length = os.fstat(self._handle).st_size
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, text.ljust(self._length))  # spaces cover what a longer record left
        except OSError as error:
            log.warning("the journal of steps cannot be written: %s", error)
        self._length = max(self._length, len(text))

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
