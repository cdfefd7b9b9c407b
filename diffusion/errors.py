"""Errors with texts for members: what happened, then what to do.

DarkroomError
├── InvalidRequestError     a value of a request is out of range; `field` names it
│   └── SeveralInvalidError  several are, and `errors` holds one for each
├── InvalidImageError       a file is not a readable image
├── QueueFullError          too many images are waiting
├── JobCancelledError       the job was cancelled before it was finished
├── GenerationError         the engine failed; trying again may help
│   ├── NotFiniteError      the calculation of one image overflowed
│   └── OutOfMemoryError    the device cannot hold even one image of this size
└── ModelLoadError          a model cannot be loaded; `source` names it
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffusion.redaction import redact
from diffusion.text import N_, Template, Text


class DarkroomError(Text, Exception):
    """The base of all errors of this project; its text is for the person who asked."""

    def __str__(self) -> str:
        return redact(super().__str__())


class InvalidRequestError(DarkroomError):
    """A value of a request is invalid; ``{field}`` in the template is its name."""

    def __init__(self, field: str, template: Template, /, **values: Any) -> None:
        super().__init__(template, field=field.replace("_", " "), **values)
        self.field = field


class SeveralInvalidError(InvalidRequestError):
    """Several values of a request are invalid; ``errors`` say which."""

    def __init__(self, errors: Sequence[InvalidRequestError]) -> None:
        super().__init__(errors[0].field, "{errors}", errors="\n".join(map(str, errors)))
        self.errors = tuple(errors)


@dataclass
class Problems:
    """Collects the errors of several values, so that a member reads all at once."""

    errors: list[InvalidRequestError] = field(default_factory=list)

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Note an `InvalidRequestError` of the block and go on."""
        try:
            yield
        except InvalidRequestError as error:
            self.errors.append(error)

    def report(self) -> None:
        """Raise what was collected, if anything, as one error with each sentence once."""
        singles = [single for error in self.errors for single in getattr(error, "errors", (error,))]
        found = list({str(single): single for single in singles}.values())
        if len(found) > 1:
            raise SeveralInvalidError(found)
        if found:
            raise found[0]


class InvalidImageError(DarkroomError):
    """A file is not a readable image, or it is too large."""


class QueueFullError(DarkroomError):
    """The queue takes no more images at the moment."""


class JobCancelledError(DarkroomError):
    """The job was cancelled before its images were finished."""


class GenerationError(DarkroomError):
    """The engine could not finish the images; `__cause__` is the reason."""


class NotFiniteError(GenerationError):
    """The network's output for one image holds NaN or infinity."""

    def __init__(self) -> None:
        super().__init__(N_("The calculation of this picture overflowed. Try another seed or a lower guidance scale."))


class OutOfMemoryError(GenerationError):
    """There is not enough memory even for one image."""

    def __init__(self) -> None:
        super().__init__(N_("There is not enough memory for a picture of this size. Please try a smaller one."))


class ModelLoadError(DarkroomError):
    """The model at ``source`` cannot be loaded."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__("The model {source} cannot be loaded: {reason}", source=repr(source), reason=reason)
        self.source = source


def reason_of(error: BaseException) -> str:
    """Return the first line of what a library's ``error`` says, or its kind."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def as_darkroom_error(error: Exception) -> DarkroomError:
    """Return ``error`` if it is for members, else a `GenerationError` caused by it."""
    if isinstance(error, DarkroomError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError()
    failed = GenerationError("Something went wrong while the picture was made. Please try again.")
    failed.__cause__ = error
    return failed
