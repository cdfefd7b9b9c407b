"""FLUX.2 klein, distilled to four steps, and its base models; they draw, and edit pictures by words."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen3ForCausalLM

from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import ABOVE_ALL_SCALES, check_tokenizer
from diffusion.families.flow_transformer import PATCH, FlowTransformer, check_latents, check_schedule
from diffusion.families.plain_text import chat_of, plain_ids
from diffusion.families.text_cache import TextCache
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.flow_matching import flow_schedule

TOKENS: Final = 512  # of Qwen3, with those of the chat around a prompt
TEXT_LAYERS: Final = (9, 18, 27)  # of the text encoder, from the first; they stand side by side
REFERENCE_TIME: Final = 10  # the first of a token's coordinates, for those of a picture that is seen; drawn ones have 0
DISTILLED: Final = Defaults(
    steps=4,
    guidance_scale=1.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(2, "flow_euler"),
        "fine": Preset(8, "flow_euler"),
        "classic": Preset(4, "flow_heun"),
    },
)
BASE: Final = Defaults(
    steps=50,
    guidance_scale=4.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(24, "flow_euler"),
        "fine": Preset(75, "flow_euler"),
        "classic": Preset(50, "flow_heun"),
    },
)


class Flux2Klein(FlowTransformer):
    """A transformer that reads hidden states of Qwen3, and the tokens of a picture that it edits beside those that it draws.

    Its latents are patches of 2x2 cells of the autoencoder, normalized by statistics. Where a part of a picture is redrawn, the
    transformer sees the whole, as diffusers' pipeline has it. Raises `ValueError` for parts that do not fit together.
    """

    pipeline = "Flux2KleinPipeline"
    other_pipelines = ("Flux2KleinInpaintPipeline",)
    label = "FLUX.2 klein"
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKLFlux2,
        "tokenizer": Qwen2Tokenizer,
        "text_encoder": Qwen3ForCausalLM,
        "transformer": Flux2Transformer2DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    index_settings = ("is_distilled",)
    defaults = DISTILLED
    edits = True

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        transformer, vae, text = (configs.get(name, {}) for name in ("transformer", "vae", "text_encoder"))
        check_latents(transformer, vae, PATCH**2)
        check_schedule(configs.get("scheduler", {}))
        if tuple(vae.get("patch_size", (PATCH, PATCH))) != (PATCH, PATCH) or transformer.get("patch_size", 1) != 1:
            raise ValueError(f"its latents have patches of other sizes than {PATCH}x{PATCH} cells, which is not supported.")
        if transformer.get("guidance_embeds"):
            raise ValueError("its transformer reads the guidance scale, as that of FLUX.2 dev does, which is not supported.")
        if text and text.get("num_hidden_layers", TEXT_LAYERS[-1]) < TEXT_LAYERS[-1]:
            raise ValueError(f"its text encoder has {text['num_hidden_layers']} layers, and layer {TEXT_LAYERS[-1]} is read.")
        read, made = transformer.get("joint_attention_dim"), len(TEXT_LAYERS) * text.get("hidden_size", 0)
        if read and made and read != made:
            raise ValueError(f"its transformer reads {read} numbers of text, and its text encoder makes {made}.")

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of the distilled models or of their base models."""
        return DISTILLED if configs.get("index", {}).get("is_distilled") else BASE

    def __init__(self, tokenizer: Qwen2Tokenizer, text_encoder: Qwen3ForCausalLM, **parts: Any) -> None:
        is_distilled = bool(parts.pop("is_distilled", False))
        transformer: Flux2Transformer2DModel = parts.pop("transformer")
        super().__init__(denoiser=transformer, **parts)
        self.check_configs(
            {
                "vae": self.vae.config,
                "text_encoder": text_encoder.config.to_dict(),
                "transformer": transformer.config,
                "scheduler": self.scheduler_config,
            }
        )
        check_tokenizer("tokenizer", tokenizer, text_encoder.config.vocab_size)
        if not tokenizer.chat_template:
            raise ValueError("its tokenizer has no chat_template.")
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.latent_factor *= PATCH
        self.latent_channels *= PATCH**2
        self.guidance_above = ABOVE_ALL_SCALES if is_distilled else 1.0
        self.reads_negative_prompt = not is_distilled
        self.max_tokens = TOKENS - len(self._chat_ids(""))
        self._encode_text = TextCache(self._encode_text_uncached, self.device)

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts."""
        return {"transformer": self.denoiser}

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without the chat around it. Safe in any thread."""
        return len(plain_ids(self.tokenizer, text))

    def _chat_ids(self, text: str) -> list[int]:
        return plain_ids(self.tokenizer, chat_of(self.tokenizer, text, thinking=False))

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` to "prompt_embeds" (1, tokens, width), padded to `TOKENS`."""
        return self._encode_text(text)

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str) -> Conditions:
        ids = self._chat_ids(text)[:TOKENS]
        padding = [self.tokenizer.pad_token_id] * (TOKENS - len(ids))
        mask = [1] * len(ids)
        if self.tokenizer.padding_side == "left":
            ids, mask = padding + ids, [0] * len(padding) + mask
        else:
            ids, mask = ids + padding, mask + [0] * len(padding)
        output = self.text_encoder.model(
            torch.tensor([ids], device=self.text_encoder.device),
            attention_mask=torch.tensor([mask], device=self.text_encoder.device),
            output_hidden_states=True,
            use_cache=False,
        )
        hidden = torch.cat([output.hidden_states[layer] for layer in TEXT_LAYERS], -1)
        return Conditions({"prompt_embeds": hidden.to(self.dtype)})

    def schedule(self, sampler: str, steps: int, shape: tuple[int, ...]) -> Any:
        """Return diffusers' scheduler for latents of ``shape``, with its timesteps set."""
        mu = empirical_shift(shape[-2] * shape[-1], steps)
        return flow_schedule(self.samplers[sampler].scheduler, self.scheduler_config, steps, mu)

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the transformer and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width), and "reference",
        the latents of the pictures that are edited, (rows, channels, any height, any width).
        """
        text = conditions["prompt_embeds"]
        count = latents.shape[2] * latents.shape[3]
        patches = latents.flatten(2).transpose(1, 2)
        positions = _positions(latents, 0)
        if (reference := conditions.get("reference")) is not None:
            patches = torch.cat([patches, reference.flatten(2).transpose(1, 2)], 1)
            positions = torch.cat([positions, _positions(reference, REFERENCE_TIME)])
        words = torch.zeros(text.shape[1], 4, device=text.device)
        words[:, 3] = torch.arange(text.shape[1], device=text.device)
        prediction: Tensor = self.denoiser(
            hidden_states=patches,
            timestep=self.noise_levels(timesteps).to(latents.dtype),
            guidance=None,
            encoder_hidden_states=text,
            txt_ids=words,
            img_ids=positions,
            return_dict=False,
        )[0]
        return prediction[:, :count].transpose(1, 2).reshape(latents.shape)

    def to_latents(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode pixels (images, 3, height, width) in [-1, 1] to the most likely latents, of about unit variance."""
        self._tile_above(pixels.shape[2] * pixels.shape[3])
        cells: Tensor = self.vae.encode(pixels).latent_dist.mode().float()
        count, channels, height, width = cells.shape
        grid = (height // PATCH, width // PATCH)
        patches = cells.view(count, channels, grid[0], PATCH, grid[1], PATCH).permute(0, 1, 3, 5, 2, 4)
        mean, deviation = self._statistics
        return (patches.reshape(count, channels * PATCH**2, *grid) - mean) / deviation

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Decode clean latents (images, channels, h, w) to pixels in [-1, 1].

        Pixels are (images, 3, height, width).
        """
        self._tile_above(latents.shape[2] * latents.shape[3] * self.latent_factor**2)
        pixels: Tensor = self.vae.decode(self.to_cells(latents).to(self.pixel_dtype), return_dict=False)[0]
        return pixels

    def to_cells(self, latents: Tensor) -> Tensor:
        """Return what the autoencoder decodes, (images, channels / 4, 2 h, 2 w) in float32 on `device`."""
        mean, deviation = self._statistics
        patches = latents.to(self.device).float() * deviation + mean
        count, channels, height, width = patches.shape
        cells = patches.view(count, channels // PATCH**2, PATCH, PATCH, height, width).permute(0, 1, 4, 2, 5, 3)
        return cells.reshape(count, channels // PATCH**2, height * PATCH, width * PATCH)

    @property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """The mean and the deviation of each channel, (1, channels, 1, 1)."""
        norm: Any = self.vae.bn
        mean, variance = (value.float().view(1, -1, 1, 1) for value in (norm.running_mean, norm.running_var))
        return mean, torch.sqrt(variance + self.vae.config.batch_norm_eps)


def empirical_shift(tokens: int, steps: int) -> float:
    """Return ``mu`` of `flow_schedule` for a picture of ``tokens`` patches in ``steps``.

    Its makers fitted the lines to pictures of 10 and 200 steps (``compute_empirical_mu`` of diffusers' pipeline).
    """
    at_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    slope = (at_200 - at_10) / 190.0
    return slope * steps + (at_200 - 200.0 * slope)


def _positions(latents: Tensor, time: int) -> Tensor:
    """Return the positions of the tokens of ``latents`` (rows, channels, h, w), (h x w, 4): time, row, column, 0."""
    height, width = latents.shape[2:]
    rows = torch.arange(height, dtype=torch.float32, device=latents.device).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float32, device=latents.device).repeat(height)
    return torch.stack([torch.full_like(rows, time), rows, columns, torch.zeros_like(rows)], 1)
