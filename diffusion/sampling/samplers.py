"""The samplers that requests can name, as schedulers of diffusers."""

from collections.abc import Mapping
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

from diffusion.errors import InvalidRequestError
from diffusion.sampling.solver import Solver, linearize

UNBOUNDED = {"clip_sample": False, "thresholding": False}
# Settings that space the noise levels otherwise than timesteps do. A scheduler takes one of them.
SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")


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

        Raises `InvalidRequestError` for more steps than the model was trained with.
        """
        scheduler = self.scheduler.from_config(linear_config(model_config, self.settings), **self.settings)
        set_timesteps(scheduler, steps)
        return scheduler

    def solver(self, model_config: dict[str, Any], steps: int, start_step: int = 0) -> Solver:
        """Return the weights of ``steps`` steps from ``start_step`` on."""
        return linearize(self.schedule(model_config, steps), start_step, self.draws_noise)


def linear_config(model_config: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``model_config`` for a scheduler that never clips: latents have no range.

    Of the spacings, which exclude each other, that of ``settings`` counts, else the model's first one.
    """
    wanted = [name for source in (settings or {}, model_config) for name in SPACINGS if source.get(name)]
    return {**model_config, **UNBOUNDED, **dict.fromkeys(SPACINGS, False), **dict.fromkeys(wanted[:1], True)}


def set_timesteps(scheduler: Any, steps: int) -> None:
    """Set the timesteps of ``scheduler``; as many as training steps are each of these.

    Most configurations would then repeat one or go beyond the last. Raises `InvalidRequestError` for more.
    """
    most = scheduler.config.num_train_timesteps
    if steps > most:
        raise InvalidRequestError("steps", "The {field} may be at most {most} here, not {value}.", most=most, value=steps)
    if steps == most:
        scheduler.register_to_config(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)


SAMPLERS = {
    "lms": Sampler(LMSDiscreteScheduler),
    "ddim": Sampler(DDIMScheduler),
    "euler": Sampler(EulerDiscreteScheduler),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, draws_noise=True),
    "heun": Sampler(HeunDiscreteScheduler),
    "dpm++": Sampler(DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": Sampler(UniPCMultistepScheduler),
}
