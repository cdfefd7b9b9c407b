"""Stable Diffusion 1 and 2."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion.families.clip_text import ClipText, match_chunks
from diffusion.families.defaults import Defaults
from diffusion.families.distilled import suggest_defaults
from diffusion.families.family import ABOVE_ALL_SCALES, Family, check_tokenizer
from diffusion.families.stable_diffusion_configs import check_configs, sample_size
from diffusion.families.text_cache import TextCache
from diffusion.prompts.chunks import MAX_CHUNKS
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.guidance import guidance_embedding, predict_x_0
from diffusion.sampling.samplers import SAMPLERS

PROMPT_EMBEDS = "prompt_embeds"
TILE_SIDE = 1024  # the autoencoder takes larger pictures in overlapping tiles, which bounds its memory


class StableDiffusion(Family):
    """A UNet conditioned on CLIP's last hidden states, and an autoencoder.

    The autoencoder reduces each side by a factor of 8. ``scheduler_config`` says which noise schedule and kind of prediction
    ("epsilon" or "v_prediction") the UNet was trained with. Raises `ValueError` for parts that do not fit together.
    """

    pipeline = "StableDiffusionPipeline"
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKL,
        "tokenizer": CLIPTokenizer,
        "text_encoder": CLIPTextModel,
        "unet": UNet2DConditionModel,
        "scheduler": DDIMScheduler,
    }
    other_pipelines: ClassVar[tuple[str, ...]] = (
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionInpaintPipelineLegacy",
        "LatentConsistencyModelPipeline",
        "LatentConsistencyModelImg2ImgPipeline",
    )
    label = "Stable Diffusion 1 and 2"
    optional_parts = ("safety_checker", "feature_extractor", "image_encoder")
    samplers = SAMPLERS

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        check_configs(configs)

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of a model of this family, or of its distilled kind."""
        scheduler = configs["scheduler"]
        return suggest_defaults(cls.defaults_for(scheduler), names, scheduler, configs["unet"])

    @classmethod
    def defaults_for(cls, scheduler_config: Mapping[str, Any]) -> Defaults:
        """Return the defaults of a model of this family with this noise schedule."""
        return cls.defaults

    def __init__(
        self,
        vae: AutoencoderKL,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        scheduler_config: dict[str, Any],
    ) -> None:
        texts = text_encoder.config.to_dict()
        self.check_configs({"vae": vae.config, "text_encoder": texts, "unet": unet.config, "scheduler": scheduler_config})
        check_tokenizer("tokenizer", tokenizer, text_encoder.config.vocab_size)
        self.vae = vae
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.denoiser = unet
        self.scheduler_config = scheduler_config
        self.prediction_type: str = scheduler_config.get("prediction_type", "epsilon")
        self.device = unet.device
        self.dtype = unet.dtype
        self.pixel_dtype = vae.dtype
        self.latent_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.grid = self.latent_factor
        self.latent_channels = unet.config.in_channels
        self.sample_side = sample_size(unet.config) * self.latent_factor
        self._text = ClipText(tokenizer, text_encoder)
        self.chunk_tokens = self._text.chunker.size
        self.max_tokens = MAX_CHUNKS * self.chunk_tokens
        self.embedding_widths = (self._text.width,)
        self.max_clip_skip = self._text.layers
        # A consistency model reads the guidance scale, so that one row is enough.
        self._guidance_width: int | None = unet.config.time_cond_proj_dim
        self.guidance_above = ABOVE_ALL_SCALES if self._guidance_width else type(self).guidance_above
        self.max_steps = int(scheduler_config.get("num_train_timesteps", 1000))
        self._alphas_cumprod = DDIMScheduler.from_config(scheduler_config).alphas_cumprod
        self._encode_text = TextCache(self._encode_text_uncached, self.device)
        vae.enable_tiling()
        self.tile(TILE_SIDE)
        for network in (vae, text_encoder, unet):
            network.eval().requires_grad_(False)

    @property
    def unet(self) -> UNet2DConditionModel:
        """The denoiser by its own name."""
        return self.denoiser

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts."""
        return {"unet": self.denoiser, "text_encoder": self.text_encoder}

    def forget_texts(self) -> None:
        """Forget what `encode` has cached."""
        self._encode_text.cache_clear()

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without start and end marks. Safe in any thread."""
        return self._text.chunker.count(text)

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` of at most `max_tokens` to "prompt_embeds" (1, tokens, width).

        For a consistency model, "timestep_cond" (1, width) is the guidance scale of ``request``.
        """
        conditions = self._encode_text(text, request.clip_skip, request.loras)
        if self._guidance_width is None:
            return conditions
        guidance = guidance_embedding(request.guidance_scale, self._guidance_width).to(self.device, self.dtype)
        return conditions.with_tensors({"timestep_cond": guidance})

    def set_embeddings(self, vectors: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Let prompts name ``vectors``: (tokens, width) by width, by lower-case names."""
        self._text.set_embeddings(vectors)
        self.embeddings = self._text.chunker.embeddings
        self.forget_texts()

    def match(self, parts: Sequence[Conditions], request: ImageRequest) -> Sequence[Conditions]:
        """Return ``parts`` with as many chunks as the longest of them."""
        return match_chunks(parts, PROMPT_EMBEDS, lambda: self.encode("", request))

    def _encode_text_uncached(self, text: str, clip_skip: int, loras: tuple[tuple[str, float], ...]) -> Conditions:
        """Encode ``text``; ``loras`` tell apart what the text encoder made of it with them."""
        hidden, _ = self._text.encode(text, layer=clip_skip)
        return Conditions({PROMPT_EMBEDS: hidden.to(self.dtype)}, frozenset({PROMPT_EMBEDS}))

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the UNet and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width), and
        "timestep_cond" (rows, width) for a consistency model.
        """
        more = self._more_inputs(conditions)
        prediction: Tensor = self.denoiser(
            latents,
            timesteps,
            conditions[PROMPT_EMBEDS],
            timestep_cond=conditions.get("timestep_cond"),
            **more,
            return_dict=False,
        )[0]
        return prediction

    def _more_inputs(self, conditions: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what the UNet takes besides latents, timesteps, prompt and guidance scale."""
        return {}

    def max_steps_with(self, sampler: str) -> int:
        """Return the most steps of a picture with ``sampler``."""
        return self.samplers[sampler].max_steps(self.scheduler_config)

    def schedule(self, sampler: str, steps: int, shape: tuple[int, ...]) -> Any:
        """Return diffusers' scheduler with its timesteps set; ``shape`` has no effect."""
        return self.samplers[sampler].schedule(self.scheduler_config, steps)

    def alpha_bar(self, timesteps: Tensor) -> Tensor:
        """Return the noise levels at the training timesteps nearest to ``timesteps``."""
        nearest = timesteps.round().long().clamp(0, len(self._alphas_cumprod) - 1)
        looked_up: Tensor = self._alphas_cumprod[nearest]
        return looked_up

    def predict_x_0(self, x_t: Tensor, predictions: Tensor, timesteps: Tensor) -> Tensor:
        """Estimate the clean latents (rows, channels, h, w) from inputs and predictions."""
        return predict_x_0(x_t, predictions, self.alpha_bar(timesteps).view(-1, 1, 1, 1), self.prediction_type)

    def tile(self, side: int) -> None:
        """Let the autoencoder take pictures with a larger area in overlapping tiles of ``side`` pixels."""
        self.tile_side = side
        self.vae.tile_sample_min_size = side
        self.vae.tile_latent_min_size = side // self.latent_factor

    def to_latents(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode pixels (images, 3, height, width) in [-1, 1] to unit-variance latents."""
        posterior = self.vae.encode(pixels).latent_dist
        latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
        scaling_factor: float = self.vae.config.scaling_factor
        return latents.float() * scaling_factor

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Decode clean latents (images, channels, h, w) to pixels in [-1, 1].

        Pixels are (images, 3, height, width).
        """
        scaled = (latents / self.vae.config.scaling_factor).to(self.device, self.pixel_dtype)
        pixels: Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return pixels
