"""Everything that can go wrong, said so that the reader knows what to change.

DarkroomError
├── InvalidRequestError     a value that was asked for is out of range; `field` names it
├── InvalidImageError       an attachment is no picture that can be read
├── QueueFullError          too much is waiting already
├── Cancelled          the job was taken back before it was finished
├── GenerationError   the engine broke off; trying again may help
│   ├── NotFiniteError      the numbers of one picture overflowed
│   └── OutOfMemoryError    the device cannot hold even one picture of this size
└── ModelLoadError     a model folder or hub id cannot be used; `source` names it
"""

from typing import Any

from diffusion.text import N_, Template, Text


class DarkroomError(Text, Exception):
    """Base of all errors of this project; it is one sentence for the person who asked."""


class InvalidRequestError(DarkroomError):
    """A value that was asked for cannot be used; the gap ``{field}`` is filled with its name."""

    def __init__(self, field: str, template: Template, /, **values: Any) -> None:
        super().__init__(template, field=field.replace("_", " "), **values)
        self.field = field


class InvalidImageError(DarkroomError):
    """The bytes are no picture that can be read, or one that is too large."""


class QueueFullError(DarkroomError):
    """No more jobs are taken at the moment."""


class JobCancelledError(DarkroomError):
    """The job was cancelled before its pictures were finished."""


class GenerationError(DarkroomError):
    """The engine could not finish the pictures; `__cause__` holds why."""


class NotFiniteError(GenerationError):
    """The network's answer for one picture holds NaN or infinity."""

    def __init__(self) -> None:
        super().__init__(N_("The numbers of this picture overflowed. Another seed or a lower guidance scale may help."))


class OutOfMemoryError(GenerationError):
    """There is too little memory for one picture alone."""

    def __init__(self) -> None:
        super().__init__(N_("There is too little memory for a picture of this size. Please try a smaller one."))


class ModelLoadError(DarkroomError):
    """The model at ``source`` cannot be loaded."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__("The model {source} cannot be loaded: {reason}", source=repr(source), reason=reason)
        self.source = source


def as_darkroom_error(error: Exception) -> DarkroomError:
    """Return ``error`` itself if it is for members, otherwise a `GenerationError` caused by it."""
    if isinstance(error, DarkroomError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError()
    failed = GenerationError("Something went wrong while the picture was made. Please try again.")
    failed.__cause__ = error
    return failed
