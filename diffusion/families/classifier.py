"""A small classifier of noisy latents, and its gradient for guidance."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_blocks import DownBlock2D
from torch import Tensor, nn
from torch.nn import functional as F


class NoisyLatentClassifier(ModelMixin, ConfigMixin):
    """Classifies the group and main colour of an image by its noisy latents.

    The down path of a UNet, then the mean over all cells, then a linear head each for ``groups`` and ``colours``: any height
    and width will do. diffusers' `save_pretrained` and `from_pretrained` write and read it, label names included.
    """

    @register_to_config
    def __init__(
        self,
        groups: tuple[str, ...],
        colours: tuple[str, ...],
        in_channels: int = 4,
        block_out_channels: tuple[int, ...] = (64, 96, 128),
        layers_per_block: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.labels = (*groups, *colours)
        first = block_out_channels[0]
        last = block_out_channels[-1]
        width = 4 * first
        self.time_proj = Timesteps(first, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(first, width)
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownBlock2D(
                before,
                after,
                width,
                dropout=dropout,
                num_layers=layers_per_block,
                resnet_groups=8,
                add_downsample=index < len(block_out_channels) - 1,
            )
            for index, (before, after) in enumerate(zip((first, *block_out_channels[:-1]), block_out_channels, strict=True))
        )
        self.norm_out = nn.GroupNorm(8, last)
        self.group_head = nn.Linear(last, len(groups))
        self.colour_head = nn.Linear(last, len(colours))

    def forward(self, latents: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (rows, groups) and (rows, colours).

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,).
        """
        embedded_time = self.time_embedding(self.time_proj(timesteps).to(latents.dtype))
        hidden = self.conv_in(latents)
        for block in self.down_blocks:
            hidden, _ = block(hidden, embedded_time)
        features = F.silu(self.norm_out(hidden)).mean((2, 3))
        return self.group_head(features), self.colour_head(features)

    def gradient(self, x_t: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Return grad_x log p(y | x_t) in the shape of ``x_t`` (rows, channels, h, w).

        Each row has its own label. ``timesteps`` and ``labels`` are (rows,), the latter indices into
        `labels`. It may be called in inference mode.
        """
        with torch.inference_mode(False), torch.enable_grad():
            x_t = x_t.clone().requires_grad_()  # a clone, as autograd takes no tensors that were made in inference mode
            heads = self(x_t, timesteps.clone())
            log_p = torch.cat([logits.log_softmax(1) for logits in heads], 1)
            return torch.autograd.grad(log_p.gather(1, labels[:, None].clone()).sum(), x_t)[0]
