"""Chroma, which was made from FLUX.1 schnell, its few-step variant Flash, and their finetunes."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKL, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from transformers import T5EncoderModel, T5TokenizerFast

from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import check_tokenizer
from diffusion.families.flow_transformer import (
    PATCH,
    FlowTransformer,
    check_latents,
    check_schedule,
    pack,
    patch_positions,
    unpack,
)
from diffusion.families.plain_text import padded_t5_ids, t5_ids
from diffusion.families.text_cache import TextCache
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions

TOKENS: Final = 512  # of T5
BASE: Final = Defaults(
    steps=40,
    guidance_scale=3.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(20, "flow_euler"),
        "fine": Preset(60, "flow_euler"),
        "classic": Preset(40, "flow_heun"),
    },
)
FLASH: Final = Defaults(
    steps=8,
    guidance_scale=1.0,
    sampler="flow_heun",
    presets={
        "draft": Preset(8, "flow_euler"),
        "fine": Preset(16, "flow_heun"),
        "classic": Preset(16, "flow_euler"),
    },
)


class Chroma(FlowTransformer):
    """A transformer that reads the hidden states of T5, and a mask of its tokens.

    The mask is added to the scores of attention: 1 where both tokens count, else 0, as diffusers' pipeline has it. Raises
    `ValueError` for parts that do not fit together.
    """

    pipeline = "ChromaPipeline"
    other_pipelines = ("ChromaImg2ImgPipeline", "ChromaInpaintPipeline")
    label = "Chroma"
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKL,
        "tokenizer": T5TokenizerFast,
        "text_encoder": T5EncoderModel,
        "transformer": ChromaTransformer2DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    optional_parts = ("image_encoder", "feature_extractor")
    defaults = BASE

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        transformer = configs.get("transformer", {})
        check_latents(transformer, configs.get("vae", {}), PATCH**2)
        check_schedule(configs.get("scheduler", {}))
        if transformer.get("patch_size", 1) != 1:
            raise ValueError(f"its transformer has patches of {transformer['patch_size']} tokens, and 1 is supported.")
        read, made = transformer.get("joint_attention_dim"), configs.get("text_encoder", {}).get("d_model")
        if None not in (read, made) and read != made:
            raise ValueError(f"its transformer reads {read} numbers of text, and its text encoder makes {made}.")

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of Flash, by its name, or of the others."""
        return FLASH if "flash" in " ".join(names).lower() else BASE

    def __init__(self, tokenizer: T5TokenizerFast, text_encoder: T5EncoderModel, **parts: Any) -> None:
        transformer: ChromaTransformer2DModel = parts.pop("transformer")
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
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.max_tokens = TOKENS - 1
        self._encode_text = TextCache(self._encode_text_uncached, self.device)

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts."""
        return {"transformer": self.denoiser}

    def count_tokens(self, text: str) -> int:
        """Count the tokens that T5 makes of ``text``, without its end mark. Safe in any thread."""
        return len(t5_ids(self.tokenizer, text))

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` to "prompt_embeds" (1, tokens, width) and "text_mask" (1, tokens), 1 where a token counts."""
        return self._encode_text(text)

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str) -> Conditions:
        device = self.text_encoder.device
        ids = torch.tensor([padded_t5_ids(self.tokenizer, text, TOKENS)], device=device)
        length = min(self.count_tokens(text), TOKENS - 1) + 1
        places = torch.arange(TOKENS, device=device)[None]
        hidden = self.text_encoder(ids, attention_mask=(places < length).long())[0]
        counts = places <= length  # the first token of padding, too
        return Conditions({"prompt_embeds": hidden.to(self.dtype), "text_mask": counts.to(self.dtype)})

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the transformer and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width) and "text_mask"
        (rows, tokens).
        """
        text, mask = conditions["prompt_embeds"], conditions["text_mask"]
        patches = pack(latents)
        positions = patch_positions(latents)
        prediction: Tensor = self.denoiser(
            hidden_states=patches,
            timestep=self.noise_levels(timesteps).to(latents.dtype),
            encoder_hidden_states=text,
            txt_ids=positions.new_zeros(text.shape[1], positions.shape[1]),
            img_ids=positions,
            attention_mask=torch.cat([mask, mask.new_ones(patches.shape[:2])], 1),
            return_dict=False,
        )[0]
        return unpack(prediction, latents.shape)
