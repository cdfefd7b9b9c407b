"""A file that says which requests were in the step under way when the process ended."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    """Keeps the present `StepRecord` at ``path``; without one, it keeps nothing.

    A write takes microseconds. It does not wait for the disk, because it must outlive the process and not the machine.
    """

    def __init__(self, path: Path | None = None) -> None:
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

    def write(self, record: StepRecord) -> None:
        """Replace the record."""
        if self._path is None:
            return
        text = json.dumps({"step": list(record.step), "crashes": dict(record.crashes), "lone": dict(record.lone)}).encode()
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
