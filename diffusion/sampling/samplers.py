"""The samplers that requests can name, as schedulers of diffusers."""

from dataclasses import dataclass, field
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    UniPCMultistepScheduler,
)

from diffusion.sampling.solver import Solver, linearize


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers with the settings that override the model's.

    ``draws_noise`` is whether its step draws noise.
    """

    scheduler: Any
    settings: dict[str, Any] = field(default_factory=dict)
    draws_noise: bool = False

    def schedule(self, model_config: dict[str, Any], steps: int) -> Any:
        """Build the scheduler with its timesteps set.

        It never clips predictions, because latents have no range.
        """
        scheduler = self.scheduler.from_config({**model_config, "clip_sample": False, "thresholding": False}, **self.settings)
        scheduler.set_timesteps(steps)
        return scheduler

    def solver(self, model_config: dict[str, Any], steps: int, start_step: int = 0) -> Solver:
        """Return the weights of ``steps`` steps from ``start_step`` on."""
        return linearize(self.schedule(model_config, steps), start_step, self.draws_noise)


SAMPLERS = {
    "lms": Sampler(LMSDiscreteScheduler),
    "ddim": Sampler(DDIMScheduler),
    "euler": Sampler(EulerDiscreteScheduler),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, draws_noise=True),
    "heun": Sampler(HeunDiscreteScheduler),
    "dpm++": Sampler(DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": Sampler(UniPCMultistepScheduler),
}
