"""How near a student's pictures are to its teacher's, for the same prompts and noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import Tensor

from diffusion.families.model import ImageModel
from diffusion.training.distil import jumps, roll_out
from diffusion.training.latents import to_pixels
from diffusion.training.trajectories import Shard, draw_trajectories

BATCH_SIZE = 8


@dataclass(frozen=True)
class TeacherPictures:
    """Pictures that the teacher drew with its defaults, and their trajectories."""

    teacher: ImageModel
    shard: Shard
    images: list[Image.Image]

    @classmethod
    def draw(cls, teacher: ImageModel, prompts: Sequence[str]) -> "TeacherPictures":
        """Draw ``prompts`` with the seeds 0, 1, 2 and so on."""
        shard = draw_trajectories(teacher, prompts, range(len(prompts)))
        return cls(teacher, shard, _decode(teacher, shard.latents[:, -1].float()))

    @torch.inference_mode()
    def drawn_by(self, unet: UNet2DConditionModel, states: Sequence[int]) -> list[Image.Image]:
        """Let a student draw the same prompts from the same noise."""
        noise = self.shard.latents[:, 0].to(unet.device, torch.float32)
        prompt_embeds = self.shard.prompt_embeds.to(unet.device, torch.float32)
        return _decode(self.teacher, roll_out(unet, noise, prompt_embeds, jumps(self.shard, states))[-1])

    def psnr_of(self, images: Sequence[Image.Image]) -> Tensor:
        """Return the PSNR in dB of each of ``images`` to the teacher's: (images,)."""
        errors = (to_pixels(list(images)) - to_pixels(self.images)).square().flatten(1).mean(1)
        return 10 * torch.log10(4 / errors.clamp(min=1e-10))


def _decode(teacher: ImageModel, latents: Tensor) -> list[Image.Image]:
    return [image for part in latents.split(BATCH_SIZE) for image in teacher.decode(part)]
