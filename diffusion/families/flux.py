"""FLUX.1: dev, which reads the guidance scale, schnell, which needs few steps, and their finetunes."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import ABOVE_ALL_SCALES, check_tokenizer
from diffusion.families.flow_transformer import (
    PATCH,
    FlowTransformer,
    check_latents,
    check_schedule,
    pack,
    patch_positions,
    unpack,
)
from diffusion.families.plain_text import padded_clip_ids, padded_t5_ids, t5_ids
from diffusion.families.text_cache import TextCache
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions

TOKENS: Final = 512  # of T5
SCHNELL_TOKENS: Final = 256
AXES: Final = 3  # of a token's position: unused, row, column
DEV: Final = Defaults(
    steps=28,
    guidance_scale=3.5,
    sampler="flow_euler",
    presets={
        "draft": Preset(16, "flow_euler"),
        "fine": Preset(50, "flow_euler"),
        "classic": Preset(28, "flow_heun"),
    },
)
SCHNELL: Final = Defaults(
    steps=4,
    guidance_scale=1.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(2, "flow_euler"),
        "fine": Preset(8, "flow_euler"),
        "classic": Preset(4, "flow_heun"),
    },
)


class Flux(FlowTransformer):
    """A transformer that reads the hidden states of T5 and the pooled text of CLIP.

    FLUX.1 dev was distilled from guidance and reads its scale, so that one row is enough; a negative prompt has no effect.
    FLUX.1 schnell draws without guidance; a scale above 1 takes a second row. CLIP reads the first 75 tokens of a prompt.
    Raises `ValueError` for parts that do not fit together.
    """

    pipeline = "FluxPipeline"
    other_pipelines = ("FluxImg2ImgPipeline", "FluxInpaintPipeline")
    label = "FLUX.1"
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKL,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": T5TokenizerFast,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
        "transformer": FluxTransformer2DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    optional_parts = ("image_encoder", "feature_extractor")
    defaults = DEV

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        transformer = configs.get("transformer", {})
        check_latents(transformer, configs.get("vae", {}), PATCH**2)
        check_schedule(configs.get("scheduler", {}))
        if transformer.get("patch_size", 1) != 1:
            raise ValueError(f"its transformer has patches of {transformer['patch_size']} tokens, and 1 is supported.")
        if transformer.get("ip_adapter_image_proj") or transformer.get("encoder_hid_proj"):
            raise ValueError("its transformer reads pictures, which is not supported.")
        _check_fit(transformer, configs.get("text_encoder", {}), configs.get("text_encoder_2", {}))

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of dev or schnell."""
        return DEV if configs["transformer"].get("guidance_embeds") else SCHNELL

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        tokenizer_2: T5TokenizerFast,
        text_encoder: CLIPTextModel,
        text_encoder_2: T5EncoderModel,
        **parts: Any,
    ) -> None:
        transformer: FluxTransformer2DModel = parts.pop("transformer")
        super().__init__(denoiser=transformer, **parts)
        self.check_configs(
            {
                "vae": self.vae.config,
                "text_encoder": text_encoder.config.to_dict(),
                "text_encoder_2": text_encoder_2.config.to_dict(),
                "transformer": transformer.config,
                "scheduler": self.scheduler_config,
            }
        )
        check_tokenizer("tokenizer", tokenizer, text_encoder.config.vocab_size)
        check_tokenizer("tokenizer_2", tokenizer_2, text_encoder_2.config.vocab_size)
        self.clip_tokenizer = tokenizer
        self.tokenizer = tokenizer_2
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.text_encoder_2 = text_encoder_2.eval().requires_grad_(False)
        self.reads_guidance = bool(transformer.config.guidance_embeds)
        self.guidance_above = ABOVE_ALL_SCALES if self.reads_guidance else 1.0
        self.reads_negative_prompt = not self.reads_guidance
        self._tokens = TOKENS if self.reads_guidance else SCHNELL_TOKENS
        self.max_tokens = self._tokens - 1
        self._encode_text = TextCache(self._encode_text_uncached, self.device)

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts."""
        return {"transformer": self.denoiser, "text_encoder": self.text_encoder}

    def count_tokens(self, text: str) -> int:
        """Count the tokens that T5 makes of ``text``, without its end mark. Safe in any thread."""
        return len(t5_ids(self.tokenizer, text))

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` to "prompt_embeds" (1, tokens, width) and "pooled_embeds" (1, width).

        For dev, "guidance" (1,) is the scale of ``request``.
        """
        conditions = self._encode_text(text, request.loras)
        if not self.reads_guidance:
            return conditions
        scale = torch.tensor([request.guidance_scale], dtype=torch.float32, device=self.device)
        return conditions.with_tensors({"guidance": scale})

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str, loras: tuple[tuple[str, float], ...]) -> Conditions:
        """Encode ``text``; ``loras`` tell apart what the text encoder made of it with them."""
        context = self.text_encoder.config.max_position_embeddings
        t5 = torch.tensor([padded_t5_ids(self.tokenizer, text, self._tokens)], device=self.text_encoder_2.device)
        clip = torch.tensor([padded_clip_ids(self.clip_tokenizer, text, context)], device=self.text_encoder.device)
        hidden = self.text_encoder_2(t5)[0]
        pooled = self.text_encoder(clip).pooler_output
        return Conditions({"prompt_embeds": hidden.to(self.dtype), "pooled_embeds": pooled.to(self.dtype)})

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the transformer and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width), "pooled_embeds"
        (rows, width), and "guidance" (rows,) for dev.
        """
        text = conditions["prompt_embeds"]
        prediction: Tensor = self.denoiser(
            hidden_states=pack(latents),
            timestep=self.noise_levels(timesteps).to(latents.dtype),
            guidance=conditions.get("guidance"),
            pooled_projections=conditions["pooled_embeds"],
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], AXES, device=text.device),
            img_ids=patch_positions(latents),
            return_dict=False,
        )[0]
        return unpack(prediction, latents.shape)


def _check_fit(transformer: Mapping[str, Any], clip: Mapping[str, Any], t5: Mapping[str, Any]) -> None:
    """Raise `ValueError` where the transformer reads other numbers than the text encoders make."""
    pairs = (("joint_attention_dim", t5.get("d_model")), ("pooled_projection_dim", clip.get("hidden_size")))
    for setting, made in pairs:
        read = transformer.get(setting)
        if None not in (read, made) and read != made:
            raise ValueError(f"its transformer reads {read} numbers of text ({setting}), and its text encoder makes {made}.")
