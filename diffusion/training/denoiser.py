"""Train the UNet with its text encoder to predict the velocity of noised latents."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffusion.training.batches import CaptionedBatches
from diffusion.training.checkpoint import write_checkpoint
from diffusion.training.config import DenoiserConfig
from diffusion.training.errors import DivergedError
from diffusion.training.forward import q_sample, stratified_timesteps, velocity
from diffusion.training.latents import read_latents
from diffusion.training.optimizer import MuonWithAdamW
from diffusion.training.precision import autocast_bfloat16

# The noise schedule of Stable Diffusion with v-prediction, as diffusers' scheduler_config.json.
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
POOLING_HEADS = 4
OUTER = ("conv_in", "conv_out", "embedding", "time_emb")  # parameters for AdamW instead of Muon
LOSS_CHECK_STEPS = 20  # reading the loss waits for the GPU


def new_unet(config: DenoiserConfig, latent_channels: int, sample_size: int) -> UNet2DConditionModel:
    """Build an untrained UNet with cross-attention below its first level."""
    levels = len(config.block_out_channels)
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
        up_block_types=(*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
        cross_attention_dim=config.text_width,
        attention_head_dim=4,
        addition_embed_type="text",  # adds the pooled caption to the timestep in every block, not only at 8x8
        addition_embed_type_num_heads=POOLING_HEADS,
    )


def new_text_encoder(config: DenoiserConfig, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build an untrained CLIP text encoder for ``tokenizer``."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.text_width,
            intermediate_size=4 * config.text_width,
            projection_dim=config.text_width,
            num_hidden_layers=config.text_layers,
            num_attention_heads=max(1, config.text_width // 32),
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


@dataclass
class Denoiser:
    """The two networks in training, and the running average that is exported."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    ema: EMAModel
    optimizer: MuonWithAdamW
    step: int = 0
    seen: int = 0

    @classmethod
    def start(
        cls, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, config: DenoiserConfig, device: torch.device
    ) -> "Denoiser":
        """Set up training of both networks on ``device``."""
        unet.to(device, torch.float32).train()
        text_encoder.to(device, torch.float32).train()
        if device.type == "cpu":  # fused attention is slower on a CPU: 53 against 62 latents a second
            unet.set_attn_processor(AttnProcessor())
            text_encoder.set_attn_implementation("eager")
        networks = nn.ModuleList([unet, text_encoder])
        optimizer = MuonWithAdamW(
            networks,
            learning_rate=config.learning_rate,
            adam_learning_rate=config.learning_rate * 0.15,
            weight_decay=config.weight_decay,
            outer=OUTER,
        )
        ema = EMAModel(networks.parameters(), decay=config.ema_decay, foreach=True)
        return cls(unet, text_encoder, ema, optimizer)

    def parameters(self) -> list[nn.Parameter]:
        """List the parameters of both networks in the order of `ema`."""
        return [*self.unet.parameters(), *self.text_encoder.parameters()]

    def loss(self, latents: Tensor, input_ids: Tensor, alphas_cumprod: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean squared error of the predicted velocity at random timesteps.

        Salimans & Ho 2022. ``generator`` and all tensors are on the device of ``latents``.
        """
        timesteps = stratified_timesteps(len(latents), len(alphas_cumprod), generator)
        alpha_bar_t = alphas_cumprod[timesteps]
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        noisy = q_sample(latents, noise, alpha_bar_t)
        with autocast_bfloat16(latents.device):
            prompt_embeds = self.text_encoder(input_ids).last_hidden_state
            predicted = self.unet(noisy, timesteps, prompt_embeds).sample
        return F.mse_loss(predicted.float(), velocity(latents, noise, alpha_bar_t))

    def update(self, loss: Tensor, factor: float) -> None:
        """Take one optimiser step on ``loss`` and update the running average.

        The learning rate is multiplied by ``factor``.
        """
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step(factor)
        self.ema.step(self.parameters())
        self.step += 1

    def checkpoint(self, path: Path) -> None:
        """Write the state that `resume` reads."""
        state = {
            "unet": self.unet.state_dict(),
            "text_encoder": self.text_encoder.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seen": self.seen,
        }
        write_checkpoint(state, path)

    def resume(self, path: Path) -> None:
        """Load the state that `checkpoint` wrote."""
        state: dict[str, Any] = torch.load(path, map_location=self.unet.device, weights_only=True)
        self.unet.load_state_dict(state["unet"])
        self.text_encoder.load_state_dict(state["text_encoder"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.unet.device)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.seen = state["seen"]

    def save_pretrained(self, folder: Path) -> None:
        """Write the averaged networks in float32, as diffusers and transformers read them."""
        self.ema.store(self.parameters())
        self.ema.copy_to(self.parameters())
        self.unet.save_pretrained(folder / "unet")
        self.text_encoder.save_pretrained(folder / "text_encoder")
        self.ema.restore(self.parameters())


def alphas_cumprod() -> Tensor:
    """Return alpha_bar for every training timestep, (1000,)."""
    scheduler: Any = DDIMScheduler.from_config(SCHEDULER)
    levels: Tensor = scheduler.alphas_cumprod
    return levels


def train(
    run: Path,
    config: DenoiserConfig,
    *,
    steps: int,
    minutes: float,
    decay_from: int | None = None,
    checkpoint_minutes: float = 5,
    on_checkpoint: Callable[[Denoiser], None] | None = None,
    device: torch.device | None = None,
) -> None:
    """Train until ``steps`` steps in all or ``minutes`` of this call have passed.

    It resumes ``run/denoiser/checkpoint.pt`` if that exists, else it starts from the model in ``run/start``, else anew. With
    ``decay_from``, the learning rate falls linearly from that step to 0 at ``steps``. Let it decay before an export, in a copy
    of the run if the original is to be trained further. ``on_checkpoint`` receives the denoiser after each checkpoint.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = run / "denoiser"
    latents, weights, descriptions = read_latents(run / "latents")
    tokenizer = CLIPTokenizer.from_pretrained(run / "tokenizer")
    denoiser = open_denoiser(run, config, tokenizer, device)
    latents = latents.to(device)
    alpha_bar = alphas_cumprod().to(device)
    batches = CaptionedBatches(weights, descriptions, tokenizer, config).loader(
        range(denoiser.step, steps), ahead=device.type == "cuda"
    )
    started = checkpointed = time.monotonic()
    smooth = 0.0
    count = 0
    losses: list[Tensor] = []

    def note() -> None:
        _log(folder, denoiser, smooth, count * config.batch_size / (time.monotonic() - started))
        if on_checkpoint:
            on_checkpoint(denoiser)

    with tqdm(total=steps, initial=denoiser.step, desc="denoiser", unit="step", mininterval=10) as bar:
        for rows, input_ids in batches:
            generator = torch.Generator(device).manual_seed(denoiser.step)
            loss = denoiser.loss(latents[rows.to(device)], input_ids.to(device), alpha_bar, generator)
            denoiser.update(loss, rate_factor(denoiser.step, config.warmup_steps, decay_from, steps))
            denoiser.seen += config.batch_size
            count += 1
            losses.append(loss.detach())
            bar.update()
            if count % LOSS_CHECK_STEPS and denoiser.step < steps:
                continue
            smooth += (torch.stack(losses).mean().item() - smooth) * len(losses) / min(count, 100)
            losses.clear()
            if not math.isfinite(smooth):
                raise DivergedError(denoiser.step)
            rate = count * config.batch_size / (time.monotonic() - started)
            bar.set_postfix(loss=f"{smooth:.4f}", latents=f"{rate:.1f}/s", refresh=False)
            if time.monotonic() - started > 60 * minutes:
                break
            if time.monotonic() - checkpointed > 60 * checkpoint_minutes:
                denoiser.checkpoint(folder / "checkpoint.pt")
                note()
                checkpointed = time.monotonic()
    denoiser.checkpoint(folder / "checkpoint.pt")
    note()


def rate_factor(step: int, warmup_steps: int, decay_from: int | None, steps: int) -> float:
    """Return the factor of the learning rate at ``step``: it warms up, and may fall to 0 at ``steps``."""
    if decay_from is not None and step > decay_from:
        return (steps - step) / (steps - decay_from)
    return min(1.0, (step + 1) / warmup_steps)


def open_denoiser(run: Path, config: DenoiserConfig, tokenizer: CLIPTokenizer, device: torch.device) -> Denoiser:
    """Set up the run's denoiser from its checkpoint, from ``run/start``, or anew."""
    start = run / "start"
    vae = AutoencoderKL.load_config(run / "vae")
    if start.exists():
        unet = UNet2DConditionModel.from_pretrained(start / "unet", dtype=torch.float32)
        unet = widen(unet, vae["latent_channels"])
        text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder", dtype=torch.float32)
    else:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        unet = new_unet(config, vae["latent_channels"], vae["sample_size"] // factor)
        text_encoder = new_text_encoder(config, tokenizer)
    denoiser = Denoiser.start(unet, text_encoder, config, device)
    if (run / "denoiser" / "checkpoint.pt").exists():
        denoiser.resume(run / "denoiser" / "checkpoint.pt")
    return denoiser


@torch.no_grad()
def widen(unet: UNet2DConditionModel, latent_channels: int) -> UNet2DConditionModel:
    """Return ``unet`` with the latent channels and pooled caption of `new_unet`.

    The old channels come first. New channels and the pooled caption have no effect until they are trained.
    """
    wanted = {"in_channels": latent_channels, "out_channels": latent_channels, "addition_embed_type": "text"}
    if all(unet.config[key] == value for key, value in wanted.items()):
        return unet
    own = unet.config.in_channels
    new = UNet2DConditionModel.from_config(dict(unet.config) | wanted | {"addition_embed_type_num_heads": POOLING_HEADS})
    state = new.state_dict()
    for name, values in unet.state_dict().items():
        if name == "conv_in.weight":
            state[name].zero_()[:, :own] = values
        elif name.startswith("conv_out."):
            state[name].zero_()[:own] = values
        else:
            state[name] = values
    if unet.config.addition_embed_type is None:
        state["add_embedding.norm2.weight"].zero_()
    new.load_state_dict(state)
    return new


def _log(folder: Path, denoiser: Denoiser, loss: float, rate: float) -> None:
    with (folder / "log.tsv").open("a") as log:
        print(denoiser.step, denoiser.seen, f"{loss:.4f}", f"{rate:.1f}", sep="\t", file=log)
