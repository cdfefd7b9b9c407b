"""The steps that the engine's threads make at present."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffusion.serving.job import ImageTask, Job


@dataclass(eq=False)
class StepUnderWay:
    """A step of ``batch``; ``is_alone`` until another one begins beside it."""

    batch: Sequence[ImageTask]
    is_alone: bool = True


class UnderWay:
    """The ``steps`` under way. ``listeners`` are called with their jobs before a step, if these have changed."""

    def __init__(self) -> None:
        self.steps: list[StepUnderWay] = []
        self.listeners: list[Callable[[Sequence[Job]], None]] = []
        self._told: Sequence[Job] = ()

    def begin(self, batch: Sequence[ImageTask]) -> StepUnderWay:
        """Add a step of ``batch``, which begins now."""
        step = StepUnderWay(batch)
        self.steps.append(step)
        if len(self.steps) > 1:
            for each in self.steps:
                each.is_alone = False
        self.tell()
        return step

    def end(self, step: StepUnderWay) -> None:
        """Remove ``step``; the listeners are not told before the next one begins."""
        self.steps.remove(step)

    def tell(self) -> None:
        """Call the listeners with the jobs of all steps, if they have changed."""
        jobs = list({image_task.job: None for step in self.steps for image_task in step.batch})
        if jobs != self._told:
            self._told = jobs
            for listener in self.listeners:
                listener(jobs)
