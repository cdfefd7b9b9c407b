"""The teacher's trajectories, from noise to latents, that a student of few steps learns from."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion import PROMPT_EMBEDS
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.trajectory import step
from diffusion.training.captions import Description, captions
from diffusion.training.checkpoint import atomic_write
from diffusion.training.errors import TrainingError

SHARD_SIZE = 256  # trajectories
CALL_SIZE = 32  # trajectories that share the teacher's calls


@dataclass(frozen=True)
class Shard:
    """Trajectories in a file.

    ``latents`` are (trajectories, steps + 1, channels, height, width), from noise to clean latents as the network reads them,
    and ``prompt_embeds`` (trajectories, tokens, width), all in float16. ``timesteps`` (steps,) are the network's.
    ``levels`` (steps + 1, 2) are the weights of clean latents and noise, whose squares sum to 1.
    """

    latents: Tensor
    prompt_embeds: Tensor
    timesteps: Tensor
    levels: Tensor

    @classmethod
    def read(cls, path: Path) -> "Shard":
        """Read what `write` wrote."""
        with safe_open(path, "pt") as file:
            return cls(*(file.get_tensor(name) for name in cls.__dataclass_fields__))

    def write(self, path: Path) -> None:
        """Write the tensors to ``path`` atomically."""
        with atomic_write(path) as partial:
            save_file({name: getattr(self, name).contiguous() for name in self.__dataclass_fields__}, partial)


def shard_paths(folder: Path) -> list[Path]:
    """List the complete shards in ``folder``, in their order."""
    return sorted(folder.glob("*.safetensors"))


def write_shards(
    teacher: ImageModel,
    descriptions: Sequence[Description],
    weights: Sequence[float],
    folder: Path,
    *,
    shards: int,
    minutes: float,
) -> Iterator[Path]:
    """Draw captions of ``descriptions`` with the teacher's defaults, shard by shard.

    Yields each new file, until there are ``shards`` in all or ``minutes`` have passed. A shard depends only on its number, so
    an interrupted call goes on with the next one.
    """
    started = time.monotonic()
    for index in range(len(shard_paths(folder)), shards):
        if time.monotonic() - started > 60 * minutes:
            return
        rng = random.Random(index)
        texts = captions(rng.choices(descriptions, weights, k=SHARD_SIZE), 0.0, rng)
        path = folder / f"{index:05}.safetensors"
        draw_trajectories(teacher, texts, range(index * SHARD_SIZE, (index + 1) * SHARD_SIZE)).write(path)
        yield path


def draw_trajectories(teacher: ImageModel, texts: Sequence[str], seeds: Sequence[int]) -> Shard:
    """Draw ``texts`` with ``seeds`` and keep the latents before and after each step.

    Raises `TrainingError` for a teacher that does not predict the velocity, for which the jumps of a student are.
    """
    if getattr(teacher.family, "prediction_type", "") != "v_prediction":
        raise TrainingError(f"{teacher.name} does not predict the velocity: choose a --teacher that does.")
    solver = teacher.solver(teacher.defaults.sampler, teacher.defaults.steps)
    latents: list[Tensor] = []
    conditions: list[Conditions] = []
    for start in range(0, len(texts), CALL_SIZE):
        call = slice(start, start + CALL_SIZE)
        settings = teacher.teacher_settings
        requests = [teacher.request(text, seed=seed, **settings) for text, seed in zip(texts[call], seeds[call], strict=True)]
        trajectories = [teacher.trajectory(request) for request in requests]
        states = []
        for _ in solver.steps:
            states.append(torch.cat([trajectory.sample for trajectory in trajectories]))
            step(teacher, trajectories)
        states.append(torch.cat([trajectory.latents for trajectory in trajectories if trajectory.latents is not None]))
        latents.append(torch.stack(states, 1).half())
        conditions += [trajectory.conditions[-1:] for trajectory in trajectories]
    return Shard(
        torch.cat(latents),
        Conditions.stack(conditions).tensors[PROMPT_EMBEDS].cpu().half(),
        torch.stack([each.timestep.float() for each in solver.steps]),
        torch.tensor(solver.levels) * torch.tensor([*(each.scale for each in solver.steps), 1.0])[:, None],
    )
