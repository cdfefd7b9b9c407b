"""Stable Diffusion XL: its finetunes, and models that share its networks, such as Playground 2.5."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, EDMDPMSolverMultistepScheduler, EDMEulerScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffusion.families.clip_text import ClipText
from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import check_tokenizer
from diffusion.families.stable_diffusion import PROMPT_EMBEDS, StableDiffusion
from diffusion.families.stable_diffusion_configs import (
    DISTILLED_SCHEDULERS,
    SCHEDULERS,
    check_latents,
    check_scheduler,
    check_unet,
)
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.samplers import Sampler

SAMPLE_SIDE: Final = 1024  # pixels, where a configuration leaves it open
SHAPE_GRID: Final = 64  # sides of training pictures are multiples of this many pixels
TIME_IDS: Final = 6  # height, width, cut from above, cut from the left, height, width
TEXT_CONDITIONS: Final = (PROMPT_EMBEDS, "pooled_embeds")
FIRST_LAYER: Final = 2  # of the text encoders, from the end
# The noise of these is given by sigmas (Karras et al. 2022), not by betas.
EDM: Final = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
EDM_SAMPLERS: Final = {
    "dpm++": Sampler(EDMDPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "euler": Sampler(EDMEulerScheduler),
}
EDM_DEFAULTS: Final = Defaults(
    steps=30,
    guidance_scale=3.0,
    samplers=("dpm++", "euler"),
    presets={"draft": Preset(15, "dpm++"), "fine": Preset(50, "dpm++"), "classic": Preset(50, "euler")},
)


class StableDiffusionXL(StableDiffusion):
    """A UNet conditioned on two CLIP encoders and on the size of the picture.

    It reads the next to last hidden states of both encoders side by side, the pooled text of the second, and six numbers: the
    size before and after a crop of training pictures. With ``force_zeros_for_empty_prompt``, guidance without a negative
    prompt goes away from zeros. Raises `ValueError` for parts that do not fit together.
    """

    pipeline = "StableDiffusionXLPipeline"
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKL,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": CLIPTokenizer,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
        "unet": UNet2DConditionModel,
        "scheduler": DDIMScheduler,
    }
    other_pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline")
    label = "Stable Diffusion XL"
    index_settings = ("force_zeros_for_empty_prompt",)
    defaults = Defaults(steps=30, guidance_scale=5.0)

    @classmethod
    def check_index(cls, index: Mapping[str, Any]) -> None:
        """Raise `ValueError` for the refiner."""
        if index.get("requires_aesthetics_score") or index.get("text_encoder") == [None, None]:
            raise ValueError(
                "it is the refiner of Stable Diffusion XL, which only goes over pictures of the base model."
                " This is not supported. Name a base model."
            )

    @classmethod
    def defaults_for(cls, scheduler_config: Mapping[str, Any]) -> Defaults:
        """Return the defaults of a model of this family with this noise schedule."""
        if scheduler_config.get("_class_name") in EDM:
            return EDM_DEFAULTS
        # From zero terminal SNR, Karras' noise levels would spend most steps on pure noise.
        return replace(cls.defaults, sampler="euler") if scheduler_config.get("rescale_betas_zero_snr") else cls.defaults

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        unet = configs.get("unet", {})
        check_unet(unet, {"addition_embed_type": "text_time"})
        if unet and unet.get("addition_embed_type") is None:
            raise ValueError("its UNet takes neither a pooled text nor a size, as that of Stable Diffusion XL does.")
        check_latents(unet, configs.get("vae", {}))
        check_scheduler(configs.get("scheduler", {}), {*SCHEDULERS, *DISTILLED_SCHEDULERS, *EDM})
        _check_fit(unet, configs.get("text_encoder", {}), configs.get("text_encoder_2", {}))

    def __init__(
        self,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer_2: CLIPTokenizer,
        *,
        force_zeros_for_empty_prompt: bool = True,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        first = self.text_encoder.config.to_dict()
        second = text_encoder_2.config.to_dict()
        self.check_configs({"unet": self.denoiser.config, "text_encoder": first, "text_encoder_2": second})
        check_tokenizer("tokenizer_2", tokenizer_2, text_encoder_2.config.vocab_size)
        self._text_2 = ClipText(tokenizer_2, text_encoder_2)
        self.embedding_widths = (self._text.width, self._text_2.width)
        self.max_clip_skip = min(self._text.layers, self._text_2.layers)
        self.text_encoder_2 = text_encoder_2.eval().requires_grad_(False)
        self.tokenizer_2 = tokenizer_2
        if self.denoiser.config.sample_size is None:
            self.sample_side = SAMPLE_SIDE
        if self.sample_side >= SAMPLE_SIDE:  # smaller models, as Turbo, know squares only
            self.shape_grid = SHAPE_GRID
        self._zeros_for_empty_prompt = force_zeros_for_empty_prompt
        self.uses_edm = self.scheduler_config.get("_class_name") in EDM
        if self.uses_edm:
            self.samplers = EDM_SAMPLERS

    @property
    def tokenizers(self) -> tuple[Any, ...]:
        """The tokenizers of both encoders, which pad and read "!" differently."""
        return (self.tokenizer, self.tokenizer_2)

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts."""
        return {**super().lora_networks, "text_encoder_2": self.text_encoder_2}

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` in the tokenizer that makes more of it."""
        return max(each.chunker.count(text) for each in (self._text, self._text_2))

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` and the size of ``request``.

        "prompt_embeds" are (1, tokens, width), "pooled_embeds" (1, projection), "time_ids" (1, 6).
        """
        sizes = (request.height, request.width, 0, 0, request.height, request.width)
        time_ids = torch.tensor([sizes], dtype=torch.float32, device=self.device)
        return super().encode(text, request).with_tensors({"time_ids": time_ids})

    def set_embeddings(self, vectors: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Let prompts name ``vectors``: (tokens, width) by width, by lower-case names."""
        self._text_2.set_embeddings(vectors)
        super().set_embeddings(vectors)

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str, clip_skip: int, loras: tuple[tuple[str, float], ...]) -> Conditions:
        """Encode ``text``; ``loras`` tell apart what the text encoders made of it with them.

        The next to last layer is the first that the UNet knows, so a ``clip_skip`` of 2 changes nothing.
        """
        layer = max(FIRST_LAYER, clip_skip)
        count = max(each.chunk_count(text) for each in (self._text, self._text_2))
        hidden = []
        for each in (self._text, self._text_2):
            states, pooled = each.encode(text, layer=layer, final_norm=False)
            if missing := count - each.chunk_count(text):  # the tokenizers may differ
                states = torch.cat([states, *[each.encode("", layer=layer, final_norm=False)[0]] * missing], 1)
            hidden.append(states)
        embeds = {PROMPT_EMBEDS: torch.cat(hidden, -1).to(self.dtype), "pooled_embeds": pooled.to(self.dtype)}
        return Conditions(embeds, frozenset({PROMPT_EMBEDS}))

    def rows(self, request: ImageRequest, conditional: Conditions) -> Conditions:
        """Return the rows of a network call, with an unconditional row before the other."""
        is_guided = request.guidance_scale > self.guidance_above
        if not is_guided or request.negative_prompt or not self._zeros_for_empty_prompt:
            return super().rows(request, conditional)
        zeros = {name: torch.zeros_like(conditional.tensors[name]) for name in TEXT_CONDITIONS}
        return Conditions.stack([conditional.with_tensors(zeros), conditional])

    def _more_inputs(self, conditions: Mapping[str, Tensor]) -> dict[str, Any]:
        return {"added_cond_kwargs": {"text_embeds": conditions["pooled_embeds"], "time_ids": conditions["time_ids"]}}

    def predict_x_0(self, x_t: Tensor, predictions: Tensor, timesteps: Tensor) -> Tensor:
        """Estimate the clean latents (rows, channels, h, w) from inputs and predictions."""
        if not self.uses_edm:
            return super().predict_x_0(x_t, predictions, timesteps)
        # Karras et al. 2022, eq. 7. The network saw c_in x at the timestep log(sigma) / 4.
        sigma_data = self.scheduler_config.get("sigma_data", 0.5)
        sigma = torch.exp(4 * timesteps).view(-1, 1, 1, 1)
        spread = torch.sqrt(sigma**2 + sigma_data**2)
        sign = -1 if self.prediction_type == "v_prediction" else 1
        x_0: Tensor = sigma_data**2 / spread * x_t + sign * sigma * sigma_data / spread * predictions
        return x_0

    def to_latents(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode pixels (images, 3, height, width) in [-1, 1] to latents of about unit variance."""
        self._tile_above(pixels.shape[2] * pixels.shape[3])
        latents = super().to_latents(pixels, generator)
        if statistics := self._statistics(latents):
            mean, std = statistics
            latents = (latents - mean * self.vae.config.scaling_factor) / std
        return latents

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Decode clean latents (images, channels, h, w) to pixels in [-1, 1]."""
        self._tile_above(latents.shape[2] * latents.shape[3] * self.latent_factor**2)
        if statistics := self._statistics(latents):
            mean, std = statistics
            latents = latents * std + mean * self.vae.config.scaling_factor
        return super().to_pixels(latents)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the mean and standard deviation of unscaled latents, where the autoencoder names them."""
        named = [self.vae.config.get(name) for name in ("latents_mean", "latents_std")]
        if None in named:
            return None
        mean, std = (torch.tensor(values, dtype=latents.dtype, device=latents.device).view(1, -1, 1, 1) for values in named)
        return mean, std

    def _tile_above(self, pixels: int) -> None:
        """Let the autoencoder take pictures in tiles only if they have more pixels than a tile.

        The oblong shapes of training are longer than a tile, but no larger.
        """
        self.vae.use_tiling = pixels > self.tile_side**2


def _check_fit(unet: Mapping[str, Any], text_encoder: Mapping[str, Any], text_encoder_2: Mapping[str, Any]) -> None:
    """Raise `ValueError` where the UNet reads other numbers than the text encoders make."""
    if not (unet and text_encoder and text_encoder_2):
        return
    width = text_encoder["hidden_size"] + text_encoder_2["hidden_size"]
    if unet.get("cross_attention_dim") != width:
        raise ValueError(
            f"its UNet reads {unet.get('cross_attention_dim')} numbers a token, and its text encoders make {width}."
        )
    pooled = text_encoder_2["projection_dim"] + TIME_IDS * unet.get("addition_time_embed_dim", 256)
    read = unet.get("projection_class_embeddings_input_dim")
    if read != pooled:
        raise ValueError(
            f"its UNet reads {read} numbers of pooled text and size, and there are {pooled}, as if it were the refiner's."
        )
