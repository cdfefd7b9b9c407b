"""Errors of training that the user can fix.

TrainingError
├── MissingStageError    a stage started before the one that it builds on
├── PackageError         an npm package could not be fetched or read
├── DivergedError        the learning rate was too high
└── ModelTooLargeError   the exported model would exceed its size limit
"""

from pathlib import Path


class TrainingError(RuntimeError):
    """Base of all errors of training; its text is one sentence for the user."""


class MissingStageError(TrainingError):
    """``path``, which ``stage`` writes, does not exist."""

    def __init__(self, path: Path, stage: str) -> None:
        super().__init__(f"{path} is missing: run the `{stage}` stage first.")
        self.path = path
        self.stage = stage


class PackageError(TrainingError):
    """The npm package ``package`` could not be fetched or read."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"{package} could not be used: {reason}.")
        self.package = package
        self.reason = reason


class ModelTooLargeError(TrainingError):
    """An exported model of ``size`` bytes exceeds its ``limit``."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"The model takes {size / 1e6:.1f} MB, over the limit of {limit / 1e6:.1f} MB.")
        self.size = size
        self.limit = limit


class DivergedError(TrainingError):
    """The loss is not finite, so training cannot continue."""

    def __init__(self, step: int) -> None:
        super().__init__(f"The training diverged before step {step}: lower the learning_rate of the recipe, then go on.")
