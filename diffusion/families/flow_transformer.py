"""What transformers of flow matching share: noise levels that depend on the size, and an autoencoder with a shift."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from diffusion.families.family import Family
from diffusion.families.text_cache import TextCache
from diffusion.sampling.flow_matching import flow_schedule, shift_of_size
from diffusion.sampling.samplers import FLOW_SAMPLERS, Sampler

SAMPLE_SIDE: Final = 1024  # pixels; these models know many sizes around this area
SHAPE_GRID: Final = 64
PATCH: Final = 2  # latent cells of a side of the patch that becomes one token
TILED_ABOVE: Final = 1024**2  # pixels: the autoencoder takes larger pictures in overlapping tiles, which bounds its memory
SCHEDULER: Final = "FlowMatchEulerDiscreteScheduler"
UNKNOWN_SETTINGS: Final = ("stochastic_sampling", "invert_sigmas")


class FlowTransformer(Family):
    """A transformer that predicts the direction from the picture to noise.

    Latents are cut into patches of 2x2 cells. Where ``scheduler_config`` says so, large pictures have higher noise levels.
    """

    samplers: Mapping[str, Sampler] = FLOW_SAMPLERS
    schedule_depends_on_size = True
    fits_float16 = False
    spaced_as_trained: ClassVar[bool] = False  # whether a picture's last noise level is that of training
    _encode_text: TextCache

    def __init__(self, vae: Any, denoiser: Any, scheduler_config: dict[str, Any]) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.denoiser = denoiser.eval().requires_grad_(False)
        self.scheduler_config = scheduler_config
        self.device = denoiser.device  # where its layers compute, wherever their weights are
        self.dtype = denoiser.dtype
        self.pixel_dtype = vae.dtype
        self.latent_factor, self.latent_channels = self._latent_cells(vae)
        self.grid = PATCH * self.latent_factor
        self.sample_side = SAMPLE_SIDE
        self.shape_grid = SHAPE_GRID
        self._tiled_above = TILED_ABOVE
        self.max_steps = int(scheduler_config.get("num_train_timesteps", 1000))

    def forget_texts(self) -> None:
        """Forget what `encode` has cached."""
        self._encode_text.cache_clear()

    def _latent_cells(self, vae: Any) -> tuple[int, int]:
        """Return the pixels of a side of the cells that ``vae`` makes, and their channels."""
        return 2 ** (len(vae.config.block_out_channels) - 1), vae.config.latent_channels

    def schedule(self, sampler: str, steps: int, shape: tuple[int, ...]) -> Any:
        """Return diffusers' scheduler for latents of ``shape``, with its timesteps set."""
        tokens = shape[-2] * shape[-1] // PATCH**2
        mu = shift_of_size(self.scheduler_config, tokens)
        kind = self.samplers[sampler].scheduler
        return flow_schedule(kind, self.scheduler_config, steps, mu, as_trained=self.spaced_as_trained)

    def noise_levels(self, timesteps: Tensor) -> Tensor:
        """Return the share of noise in [0, 1] at ``timesteps``."""
        return timesteps / self.max_steps

    def predict_x_0(self, x_t: Tensor, predictions: Tensor, timesteps: Tensor) -> Tensor:
        """Estimate the clean latents (rows, channels, h, w): the noise's share of the direction away."""
        x_0: Tensor = x_t - self.noise_levels(timesteps).view(-1, 1, 1, 1) * predictions
        return x_0

    def to_latents(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode pixels (images, 3, height, width) in [-1, 1] to latents of about unit variance."""
        self._tile_above(pixels.shape[2] * pixels.shape[3])
        posterior = self.vae.encode(pixels).latent_dist
        latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
        scaling_factor: float = self.vae.config.scaling_factor
        return (latents.float() - self._shift) * scaling_factor

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Decode clean latents (images, channels, h, w) to pixels in [-1, 1].

        Pixels are (images, 3, height, width).
        """
        self._tile_above(latents.shape[2] * latents.shape[3] * self.latent_factor**2)
        scaled = (latents / self.vae.config.scaling_factor + self._shift).to(self.device, self.pixel_dtype)
        pixels: Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return pixels

    @property
    def _shift(self) -> float:
        return float(self.vae.config.shift_factor or 0.0)

    def tile(self, side: int) -> None:
        """Let the autoencoder take pictures with a larger area in overlapping tiles of ``side`` pixels."""
        self._tiled_above = side**2
        if hasattr(self.vae, "tile_sample_min_size"):  # that of Qwen-Image has tiles of 256 pixels
            self.vae.tile_sample_min_size = side
            self.vae.tile_latent_min_size = side // 2 ** (len(self.vae.config.block_out_channels) - 1)

    def _tile_above(self, pixels: int) -> None:
        self.vae.use_tiling = pixels > self._tiled_above


def pack(latents: Tensor) -> Tensor:
    """Return the patches of ``latents`` (rows, channels, h, w) as tokens (rows, patches, channels x `PATCH` x `PATCH`)."""
    rows, channels, height, width = latents.shape
    grid = (height // PATCH, width // PATCH)
    patches = latents.view(rows, channels, grid[0], PATCH, grid[1], PATCH).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(rows, grid[0] * grid[1], channels * PATCH**2)


def unpack(tokens: Tensor, shape: torch.Size) -> Tensor:
    """Return the latents of ``shape`` (rows, channels, h, w) whose patches are ``tokens``."""
    rows, channels, height, width = shape
    patches = tokens.view(rows, height // PATCH, width // PATCH, channels, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(shape)


def patch_positions(latents: Tensor) -> Tensor:
    """Return the positions of the tokens of `pack`, (patches, 3): 0, row, column."""
    height, width = (side // PATCH for side in latents.shape[2:])
    rows = torch.arange(height, dtype=torch.float32, device=latents.device).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float32, device=latents.device).repeat(height)
    return torch.stack([torch.zeros_like(rows), rows, columns], 1)


def check_schedule(scheduler: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a noise schedule that is not that of flow matching."""
    kind = scheduler.get("_class_name")
    if kind not in (None, SCHEDULER):
        raise ValueError(f"its scheduler is {kind}, and a model of this kind needs {SCHEDULER}.")
    for setting in UNKNOWN_SETTINGS:
        if scheduler.get(setting):
            raise ValueError(f"its scheduler has the setting {setting}, which is not supported.")


def check_latents(transformer: Mapping[str, Any], vae: Mapping[str, Any], values: int) -> None:
    """Raise `ValueError` for a ``transformer`` that does not read and make what ``vae`` makes.

    ``values`` is how many numbers of one latent channel a token holds.
    """
    if not (transformer and vae):
        return
    made = vae.get("latent_channels", 4) * values
    read = transformer.get("in_channels", made)
    predicted = transformer.get("out_channels") or read
    if read != made or predicted != made:
        raise ValueError(
            f"it is a model that edits or fills pictures: its transformer reads {read} numbers a token and makes {predicted},"
            f" and its autoencoder makes {made}. This is not supported."
            if predicted == made
            else f"its transformer reads {read} numbers a token and makes {predicted}, and its autoencoder makes {made}."
        )
