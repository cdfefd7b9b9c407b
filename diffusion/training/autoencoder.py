"""Train the autoencoder, whose latents have an eighth of an image's sides."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from diffusion.training.augment import augment, on_white
from diffusion.training.checkpoint import write_checkpoint
from diffusion.training.config import AutoencoderConfig
from diffusion.training.errors import DivergedError
from diffusion.training.optimizer import MuonWithAdamW
from diffusion.training.pictures import SIZE, Picture
from diffusion.training.precision import autocast_bfloat16
from diffusion.training.reconstruction import contact_sheet, psnr, reconstruct, reconstruction_loss, split, to_rgba

OUTER = ("encoder.conv_in", "encoder.conv_out", "decoder.conv_in", "decoder.conv_out", "quant_conv")
CROP = 64  # pixels
CROPPED_SHARE = 0.68  # crops cost a quarter; attention needs whole pictures at the end
WARMUP_STEPS = 30
EMA_DECAY = 0.996
ANCHOR_WEIGHT = 1.0
SCALING_PICTURES = 1024  # about; the scaling factor is measured on them


def new_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """Build an untrained AutoencoderKL with almost noise-free latents."""
    levels = len(config.block_out_channels)
    vae = AutoencoderKL(
        sample_size=SIZE,
        latent_channels=config.latent_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
    with torch.no_grad():  # the second half of these channels is the log variance
        vae.quant_conv.weight[config.latent_channels :] *= 0.1
        vae.quant_conv.bias[config.latent_channels :] = -5.0
    return vae


@torch.no_grad()
def widen(vae: AutoencoderKL, config: AutoencoderConfig) -> AutoencoderKL:
    """Return ``vae`` with the number of latent channels in ``config``.

    The old channels come first and keep their meaning. The decoder ignores the new channels at first.
    """
    wide = new_autoencoder(config)
    own = vae.config.latent_channels
    total = config.latent_channels
    state = wide.state_dict()
    moments = [*range(own), *range(total, total + own)]  # the means and log variances of the old channels
    for name, values in vae.state_dict().items():
        if name.startswith("encoder.conv_out."):
            state[name][moments] = values
        elif name == "quant_conv.weight":
            state[name][moments] = 0.0
            for row, old in zip(moments, values, strict=True):
                state[name][row, moments] = old
        elif name == "quant_conv.bias":
            state[name][moments] = values
        elif name == "post_quant_conv.weight":
            state[name][:own] = 0.0
            state[name][:own, :own] = values
        elif name == "post_quant_conv.bias":
            state[name][:own] = values
        elif name == "decoder.conv_in.weight":
            state[name].zero_()
            state[name][:, :own] = values
        else:
            state[name] = values
    wide.load_state_dict(state)
    return wide


@torch.inference_mode()
def measure_scaling_factor(vae: AutoencoderKL, pictures: list[Picture], batch_size: int = 64) -> float:
    """Set ``vae.config.scaling_factor`` for latents of unit deviation, and return it.

    The factor is 1 / (standard deviation of the latents of ``pictures``).
    """
    encoded = []
    for start in range(0, len(pictures), batch_size):
        pixels = on_white(to_rgba(pictures[start : start + batch_size])).to(vae.device)
        with autocast_bfloat16(vae.device):
            encoded.append(vae.encode(pixels).latent_dist.mode().float().cpu())
    factor = 1 / torch.cat(encoded).std().item()
    vae.register_to_config(scaling_factor=factor)
    return factor


@dataclass
class AutoencoderTraining:
    """The network in training, its optimiser and its exported running average."""

    vae: AutoencoderKL
    ema: EMAModel
    optimizer: MuonWithAdamW
    anchor: AutoencoderKL | None = None
    step: int = 0

    @classmethod
    def start(
        cls, config: AutoencoderConfig, device: torch.device, anchor: AutoencoderKL | None = None
    ) -> "AutoencoderTraining":
        """Set up training on ``device``, of a new autoencoder or of a widened ``anchor``.

        With ``anchor``, training keeps the latents of the anchor.
        """
        vae = (new_autoencoder(config) if anchor is None else widen(anchor, config)).to(device).train()
        optimizer = MuonWithAdamW(
            vae,
            learning_rate=config.learning_rate,
            adam_learning_rate=config.learning_rate * 0.1,
            weight_decay=0.0,
            outer=OUTER,
        )
        frozen = None if anchor is None else anchor.to(device).eval().requires_grad_(False)
        return cls(vae, EMAModel(vae.parameters(), decay=EMA_DECAY, foreach=True), optimizer, frozen)

    def update(self, pixels: Tensor, kl_weight: float, factor: float, generator: torch.Generator) -> float:
        """Take one optimiser step on ``pixels`` and return the loss.

        The learning rate is multiplied by ``factor``.
        """
        with autocast_bfloat16(pixels.device):
            posterior = self.vae.encode(pixels).latent_dist
            output = self.vae.decode(posterior.sample(generator)).sample
        mean = posterior.mean.float()
        logvar = posterior.logvar.float()
        kl: Tensor = 0.5 * (mean.pow(2) + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(output.float(), pixels) + kl_weight * kl
        if self.anchor is not None:
            loss = loss + ANCHOR_WEIGHT * self._anchor_distance(pixels, mean)
        loss.backward()
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step(factor)
        self.ema.step(self.vae.parameters())
        self.step += 1
        return loss.item()

    def _anchor_distance(self, pixels: Tensor, mean: Tensor) -> Tensor:
        """Return the mean squared distance from the anchor's latents, in variances."""
        assert self.anchor is not None
        with torch.no_grad(), autocast_bfloat16(pixels.device):
            before: Tensor = self.anchor.encode(pixels).latent_dist.mean
        kept = mean[:, : before.shape[1]]
        return (kept - before.float()).mul(self.anchor.config.scaling_factor).square().mean()

    @contextmanager
    def averaged(self) -> Iterator[AutoencoderKL]:
        """Yield the network with its averaged parameters."""
        self.ema.store(self.vae.parameters())
        self.ema.copy_to(self.vae.parameters())
        try:
            yield self.vae.eval()
        finally:
            self.vae.train()
            self.ema.restore(self.vae.parameters())

    def checkpoint(self, path: Path) -> None:
        """Write the state that `resume` reads."""
        state = {
            "vae": self.vae.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        write_checkpoint(state, path)

    def resume(self, path: Path) -> None:
        """Load the state that `checkpoint` wrote."""
        state: dict[str, Any] = torch.load(path, map_location=self.vae.device, weights_only=True)
        self.vae.load_state_dict(state["vae"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.vae.device)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def train(
    run: Path,
    config: AutoencoderConfig,
    pictures: list[Picture],
    *,
    anchor: AutoencoderKL | None = None,
    minutes: float = math.inf,
    checkpoint_minutes: float = 5,
    device: torch.device | None = None,
) -> float:
    """Train the autoencoder and return the held-out PSNR in dB.

    It stops after ``config.steps`` steps in all or ``minutes`` of this call, and resumes ``run/autoencoder/checkpoint.pt`` if
    that exists. With ``anchor``, it starts from that autoencoder and keeps its latents in the first channels, so that a
    denoiser of those latents can be trained further. It writes the averaged network with its ``scaling_factor`` (the anchor's,
    if there is one) to ``run/vae``, and held-out pictures above their reconstructions to ``run/autoencoder``.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = run / "autoencoder"
    learned, held_out = split(pictures)
    rgba = to_rgba(learned).to(device)
    unseen = on_white(to_rgba(held_out))
    torch.manual_seed(0)
    training = AutoencoderTraining.start(config, device, anchor)
    if (folder / "checkpoint.pt").exists():
        training.resume(folder / "checkpoint.pt")
    started = saved = time.monotonic()
    smooth = 0.0
    count = 0
    rate = 0.0
    with tqdm(total=config.steps, initial=training.step, desc="autoencoder", unit="step", mininterval=10) as bar:
        while training.step < config.steps and time.monotonic() - started < 60 * minutes:
            # Seeded by the step: a resumed run draws the same as an uninterrupted one.
            generator = torch.Generator().manual_seed(training.step)
            rows = torch.randint(len(rgba), (config.batch_size,), generator=generator)
            size = CROP if training.step < CROPPED_SHARE * config.steps else SIZE
            pixels = augment(rgba[rows.to(device)], size, generator)
            loss = training.update(pixels, config.kl_weight, rate_factor(training.step, config.steps), generator)
            if not math.isfinite(loss):
                raise DivergedError(training.step)
            count += 1
            smooth += (loss - smooth) / min(count, 100)
            rate = count * config.batch_size / (time.monotonic() - started)
            bar.set_postfix(loss=f"{smooth:.4f}", pictures=f"{rate:.1f}/s", refresh=False)
            bar.update()
            if time.monotonic() - saved > 60 * checkpoint_minutes:
                training.checkpoint(folder / "checkpoint.pt")
                with training.averaged() as vae:
                    _log(folder, training.step, smooth, _measure_held_out(vae, unseen, folder), rate)
                saved = time.monotonic()
    training.checkpoint(folder / "checkpoint.pt")
    with training.averaged() as vae:
        quality = _measure_held_out(vae, unseen, folder)
        _log(folder, training.step, smooth, quality, rate)
        if anchor is None:
            measure_scaling_factor(vae, learned[:: math.ceil(len(learned) / SCALING_PICTURES)])
        else:
            vae.register_to_config(scaling_factor=anchor.config.scaling_factor)
        vae.save_pretrained(run / "vae")
    return quality


def rate_factor(step: int, steps: int) -> float:
    """Return the learning rate factor: a short rise, then a cosine down to 0.02."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / WARMUP_STEPS) * (0.02 + 0.98 * cosine)


def _measure_held_out(vae: AutoencoderKL, pixels: Tensor, folder: Path) -> float:
    output = reconstruct(vae, pixels)
    contact_sheet(pixels, output).save(folder / "reconstructions.png")
    return psnr(output, pixels).mean().item()


def _log(folder: Path, step: int, loss: float, quality: float, rate: float) -> None:
    with (folder / "log.tsv").open("a") as log:
        print(step, f"{loss:.4f}", f"{quality:.2f}", f"{rate:.1f}", sep="\t", file=log)
