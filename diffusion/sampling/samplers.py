"""The samplers that requests can name, as schedulers of diffusers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from diffusion.errors import InvalidRequestError
from diffusion.sampling.flow_matching import FlowEuler, FlowHeun
from diffusion.sampling.solver import Solver, linearize

T = TypeVar("T")
UNBOUNDED = {"clip_sample": False, "thresholding": False}
# Settings that space the noise levels otherwise than timesteps do. A scheduler takes one of them.
SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
TRAILING = {"timestep_spacing": "trailing"}
DISTILLED_STEPS = 50  # of LCM and TCD: they pick their steps among those that the model was distilled with


class Dpm2Scheduler(KDPM2DiscreteScheduler):  # type: ignore[misc]  # diffusers is not typed
    """DPM2 that knows the noise level of its midpoints, where a known part of a picture is restored, too."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None, num_train_timesteps: int | None = None) -> None:
        """Set the timesteps; the constructor, which names the training steps, gets two, as a thousand take a second."""
        super().set_timesteps(2 if num_train_timesteps else num_inference_steps, device, num_train_timesteps)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise clean samples to the level of the present evaluation."""
        if self.state_in_first_order:
            noised: Tensor = super().add_noise(original_samples, noise, timesteps)
            return noised
        spread: Tensor = self.sigmas_interpol[self.step_index]
        return original_samples + spread * noise


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers with the settings that override the model's.

    ``draws_noise`` is whether its step draws noise. ``most_steps`` is the name of the setting that limits the steps of a
    picture, with ``steps_limit`` where a model leaves it open. ``warms_up`` is whether it takes its second step twice.
    """

    scheduler: Any
    settings: dict[str, Any] = field(default_factory=dict)
    draws_noise: bool = False
    most_steps: str = "num_train_timesteps"
    steps_limit: int = 1000
    warms_up: bool = False

    def max_steps(self, model_config: Mapping[str, Any]) -> int:
        """Return the most steps of a picture."""
        return int(model_config.get(self.most_steps) or self.steps_limit)

    def schedule(self, model_config: dict[str, Any], steps: int) -> Any:
        """Build the scheduler with its timesteps set.

        Raises `InvalidRequestError` for more steps than `max_steps`.
        """
        scheduler = self.scheduler.from_config(linear_config(model_config, self.settings), **self.settings)
        set_timesteps(scheduler, steps, self.max_steps(model_config))
        return scheduler

    def linearize(self, scheduler: Any, start_step: int = 0) -> Solver:
        """Return the weights of the steps of ``scheduler`` from ``start_step`` on."""
        if self.warms_up:
            _warm_up_at(scheduler, start_step)
        return linearize(scheduler, start_step, self.draws_noise, warms_up=self.warms_up)

    def solver(self, model_config: dict[str, Any], steps: int, start_step: int = 0) -> Solver:
        """Return the weights of ``steps`` steps from ``start_step`` on."""
        return self.linearize(self.schedule(model_config, steps), start_step)

    def one_per_step(self, calls: Sequence[T], steps: int) -> Sequence[T]:
        """Return those of ``calls``, one for each network call, that begin one of ``steps``."""
        if self.warms_up and len(calls) > steps:
            return (*calls[:1], *calls[2:])
        return calls[:: self.scheduler.order]


def linear_config(model_config: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``model_config`` for a scheduler that never clips: latents have no range.

    Of the spacings, which exclude each other, that of ``settings`` counts, else the model's first one.
    """
    wanted = [name for source in (settings or {}, model_config) for name in SPACINGS if source.get(name)]
    return {**model_config, **UNBOUNDED, **dict.fromkeys(SPACINGS, False), **dict.fromkeys(wanted[:1], True)}


def set_timesteps(scheduler: Any, steps: int, most: int | None = None) -> None:
    """Set the timesteps of ``scheduler``; as many as training steps are each of these.

    Most configurations would then repeat one or go beyond the last. Raises `InvalidRequestError` for more than ``most``, by
    default the training steps.
    """
    trained = scheduler.config.num_train_timesteps
    most = trained if most is None else most
    if steps > most:
        raise InvalidRequestError("steps", "The {field} may be at most {most} here, not {value}.", most=most, value=steps)
    if steps == trained:
        scheduler.register_to_config(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)


def _warm_up_at(scheduler: Any, start_step: int) -> None:
    """Let PNDM take the second step from ``start_step`` on twice, not that of the whole picture."""
    once = torch.cat([scheduler.timesteps[:1], scheduler.timesteps[2:]])
    second = start_step + 1
    scheduler.timesteps = torch.cat([once[:second], once[second : second + 1], once[second:]])


SAMPLERS = {
    "lms": Sampler(LMSDiscreteScheduler),
    "ddim": Sampler(DDIMScheduler),
    "euler": Sampler(EulerDiscreteScheduler),
    "euler_a": Sampler(EulerAncestralDiscreteScheduler, draws_noise=True),
    "heun": Sampler(HeunDiscreteScheduler),
    "dpm++": Sampler(DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "unipc": Sampler(UniPCMultistepScheduler),
    "dpm++_2m_sde": Sampler(DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}, draws_noise=True),
    "dpm++_2m_sde_karras": Sampler(
        DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}, draws_noise=True
    ),
    "dpm++_sde": Sampler(
        DPMSolverSinglestepScheduler, {"algorithm_type": "sde-dpmsolver++", "lower_order_final": True}, draws_noise=True
    ),
    "dpm++_sde_karras": Sampler(
        DPMSolverSinglestepScheduler,
        {"algorithm_type": "sde-dpmsolver++", "lower_order_final": True, "use_karras_sigmas": True},
        draws_noise=True,
    ),
    "dpm2": Sampler(Dpm2Scheduler),
    "deis": Sampler(DEISMultistepScheduler, {"algorithm_type": "deis"}),
    "pndm": Sampler(PNDMScheduler, {"skip_prk_steps": True}, warms_up=True),
    "ddpm": Sampler(DDPMScheduler, {"variance_type": "fixed_small"}, draws_noise=True),
    "euler_trailing": Sampler(EulerDiscreteScheduler, TRAILING),
    "euler_a_trailing": Sampler(EulerAncestralDiscreteScheduler, TRAILING, draws_noise=True),
    "ddim_trailing": Sampler(DDIMScheduler, TRAILING),
    "lcm": Sampler(LCMScheduler, draws_noise=True, most_steps="original_inference_steps", steps_limit=DISTILLED_STEPS),
    "tcd": Sampler(TCDScheduler, draws_noise=True, most_steps="original_inference_steps", steps_limit=DISTILLED_STEPS),
}
FLOW_SAMPLERS = {
    "flow_euler": Sampler(FlowEuler),
    "flow_heun": Sampler(FlowHeun),
}
