"""Train a student that draws the teacher's guided pictures in few steps and one row.

The student has the teacher's UNet, begins with its weights and keeps its text encoder and autoencoder. It jumps along the
teacher's noise levels (`DistilConfig.states`) and learns to land where the teacher's trajectory is. This is progressive
distillation (Salimans & Ho 2022) in one go, on guided trajectories (Meng et al. 2023). The student goes on from where it landed
itself, so that later jumps learn to repair earlier ones.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.sampling.jumps import jump_weights
from diffusion.training.checkpoint import write_checkpoint
from diffusion.training.config import DistilConfig
from diffusion.training.denoiser import OUTER, rate_factor
from diffusion.training.errors import DivergedError, MissingStageError
from diffusion.training.optimizer import MuonWithAdamW
from diffusion.training.precision import autocast_bfloat16
from diffusion.training.trajectories import Shard, shard_paths

CHECKPOINT = "checkpoint.pt"
SMOOTHED_STEPS = 50  # of the loss in the log


@dataclass(frozen=True)
class Jump:
    """One call of the student, from the state ``start`` of a trajectory to the state ``end``.

    A velocity v at x_t leads to x_s = ``kept`` x_t + ``turned`` v, as `jump_weights` has it.
    """

    start: int
    end: int
    timestep: float
    kept: float
    turned: float

    @classmethod
    def between(cls, shard: Shard, start: int, end: int) -> "Jump":
        """Return the jump between two states of the trajectories in ``shard``."""
        kept, turned = jump_weights(shard.levels[start].tolist(), shard.levels[end].tolist())
        return cls(start, end, shard.timesteps[start].item(), kept, turned)

    def land(self, x_t: Tensor, velocity: Tensor) -> Tensor:
        """Return x_s, where ``velocity`` leads from ``x_t``."""
        return self.kept * x_t + self.turned * velocity

    def velocity(self, x_t: Tensor, x_s: Tensor) -> Tensor:
        """Return the velocity at ``x_t`` that leads to ``x_s``: the target of a jump."""
        return (x_s - self.kept * x_t) / self.turned


def jumps(shard: Shard, states: Sequence[int]) -> list[Jump]:
    """Return the jumps from each of ``states`` to the next, and from the last to clean latents."""
    ends = [*states[1:], len(shard.timesteps)]
    return [Jump.between(shard, start, end) for start, end in zip(states, ends, strict=True)]


def roll_out(unet: UNet2DConditionModel, noise: Tensor, prompt_embeds: Tensor, path: Sequence[Jump]) -> list[Tensor]:
    """Let ``unet`` jump along ``path`` from ``noise`` and return where it lands each time."""
    landed = []
    latents = noise
    with autocast_bfloat16(latents.device):  # one block, which casts the weights once for all jumps
        for jump in path:
            timesteps = torch.full((len(latents),), jump.timestep, device=latents.device)
            velocity = unet(latents, timesteps, prompt_embeds, return_dict=False)[0]
            latents = jump.land(latents, velocity.float())
            landed.append(latents)
    return landed


@dataclass
class Student:
    """The UNet in training, and its running average, which is exported."""

    unet: UNet2DConditionModel
    ema: EMAModel
    optimizer: MuonWithAdamW
    config: DistilConfig
    step: int = 0
    seen: int = 0
    cpu_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, unet: UNet2DConditionModel, config: DistilConfig, device: torch.device) -> "Student":
        """Set up training of ``unet``, which has the teacher's weights, on ``device``."""
        unet.to(device, torch.float32).train()
        if device.type == "cpu":  # the backward pass of fused attention takes a quarter of the time there
            unet.set_attn_processor(AttnProcessor())
        optimizer = MuonWithAdamW(
            unet,
            learning_rate=config.learning_rate,
            adam_learning_rate=config.learning_rate * 0.15,
            weight_decay=0.0,
            outer=OUTER,
        )
        return cls(unet, EMAModel(unet.parameters(), decay=config.ema_decay, foreach=True), optimizer, config)

    def loss(self, shard: Shard, rows: Tensor) -> Tensor:
        """Return how far from the trajectories ``rows`` of ``shard`` the student lands.

        It is the mean squared distance of the clean latents, and a share ``config.between`` of that at each landing before.
        """
        device = self.unet.device
        states = shard.latents[rows].to(device, torch.float32)
        path = jumps(shard, self.config.states)
        landed = roll_out(self.unet, states[:, 0], shard.prompt_embeds[rows].to(device, torch.float32), path)
        distances = [(x_s - states[:, jump.end]).square().mean() for x_s, jump in zip(landed, path, strict=True)]
        return distances[-1] + self.config.between * torch.stack(distances[:-1]).sum()

    def update(self, loss: Tensor, factor: float) -> None:
        """Take one optimiser step on ``loss`` and update the running average.

        The learning rate is multiplied by ``factor``.
        """
        loss.backward()
        nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step(factor)
        self.ema.step(self.unet.parameters())
        self.step += 1
        self.seen += self.config.batch_size

    def checkpoint(self, path: Path) -> None:
        """Write the state that `resume` reads."""
        parts = {name: getattr(self, name).state_dict() for name in ("unet", "ema", "optimizer")}
        write_checkpoint({**parts, "step": self.step, "seen": self.seen, "cpu_seconds": self.cpu_seconds}, path)

    def resume(self, path: Path) -> None:
        """Load the state that `checkpoint` wrote."""
        state: dict[str, Any] = torch.load(path, map_location=self.unet.device, weights_only=True)
        for name in ("unet", "ema", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.ema.to(self.unet.device)
        self.step, self.seen, self.cpu_seconds = state["step"], state["seen"], state["cpu_seconds"]

    def averaged(self) -> UNet2DConditionModel:
        """Return a copy of the network with the averaged weights."""
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(self.unet.config)
        unet.to(self.unet.device).load_state_dict(self.unet.state_dict())
        self.ema.copy_to(unet.parameters())
        return unet.eval().requires_grad_(False)


def train(
    run: Path,
    unet: UNet2DConditionModel,
    config: DistilConfig,
    *,
    steps: int,
    minutes: float,
    decay_from: int | None = None,
    checkpoint_minutes: float = 5,
    on_checkpoint: Callable[[Student], None] | None = None,
    device: torch.device | None = None,
) -> Student:
    """Train until ``steps`` steps in all or ``minutes`` of this call have passed.

    ``unet`` has the teacher's weights; it resumes ``run/distil/checkpoint.pt`` if that exists. With ``decay_from``, the
    learning rate falls linearly from that step to 0 at ``steps``. A batch comes from one of the shards that are there at its
    step, so new ones may join while it trains. ``on_checkpoint`` receives the student after each checkpoint. They are counted
    in minutes of CPU time, of which little passes beside other work.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = run / "distil" / CHECKPOINT
    student = Student.start(unet, config, device)
    if checkpoint.exists():
        student.resume(checkpoint)
    started = time.monotonic()
    measured = time.process_time()

    def save() -> None:
        nonlocal measured
        student.cpu_seconds += time.process_time() - measured
        student.checkpoint(checkpoint)
        if on_checkpoint:
            on_checkpoint(student)
        measured = time.process_time()

    with tqdm(total=steps, initial=student.step, desc="student", unit="step", mininterval=10) as bar:
        while student.step < steps and time.monotonic() - started < 60 * minutes:
            shard, rows = draw_batch(run / "trajectories", config.batch_size, student.step)
            loss = student.loss(shard, rows)
            student.update(loss, rate_factor(student.step, config.warmup_steps, decay_from, steps))
            student.losses = [*student.losses, loss.item()][-SMOOTHED_STEPS:]
            if not math.isfinite(student.losses[-1]):
                raise DivergedError(student.step)
            bar.set_postfix(loss=f"{sum(student.losses) / len(student.losses):.4f}", refresh=False)
            bar.update()
            if time.process_time() - measured > 60 * checkpoint_minutes:
                save()
    save()
    return student


def draw_batch(folder: Path, size: int, step: int) -> tuple[Shard, Tensor]:
    """Draw a shard of ``folder`` and ``size`` of its rows, repeatably for ``step``.

    Raises `MissingStageError` if there is no shard.
    """
    paths = shard_paths(folder)
    if not paths:
        raise MissingStageError(folder, "trajectories")
    generator = torch.Generator().manual_seed(step)
    shard = Shard.read(paths[int(torch.randint(len(paths), (1,), generator=generator))])
    return shard, torch.randperm(len(shard.latents), generator=generator)[:size]
