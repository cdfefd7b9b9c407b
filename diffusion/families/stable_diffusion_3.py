"""Stable Diffusion 3 and 3.5, in all sizes, and Turbo."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import check_tokenizer
from diffusion.families.flow_transformer import PATCH, FlowTransformer, check_latents, check_schedule
from diffusion.families.plain_text import padded_clip_ids, padded_t5_ids, t5_ids
from diffusion.families.text_cache import TextCache
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions

TOKENS: Final = 256  # of T5
CLIP_LAYER: Final = 2  # of both CLIP encoders, from the end
BASE: Final = Defaults(
    steps=28,
    guidance_scale=4.5,
    sampler="flow_euler",
    presets={
        "draft": Preset(16, "flow_euler"),
        "fine": Preset(40, "flow_euler"),
        "classic": Preset(28, "flow_heun"),
    },
)
TURBO: Final = Defaults(
    steps=4,
    guidance_scale=1.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(3, "flow_euler"),
        "fine": Preset(8, "flow_euler"),
        "classic": Preset(4, "flow_heun"),
    },
)


class StableDiffusion3(FlowTransformer):
    """A transformer that reads two CLIP encoders and T5.

    The CLIP encoders stand side by side before T5 in one sequence, and their pooled texts are one more condition. They read the
    first 75 tokens of a prompt. Raises `ValueError` for parts that do not fit together.
    """

    pipeline = "StableDiffusion3Pipeline"
    other_pipelines = ("StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline")
    label = "Stable Diffusion 3"
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKL,
        "tokenizer": CLIPTokenizer,
        "tokenizer_2": CLIPTokenizer,
        "tokenizer_3": T5TokenizerFast,
        "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection,
        "text_encoder_3": T5EncoderModel,
        "transformer": SD3Transformer2DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    optional_parts = ("image_encoder", "feature_extractor")
    defaults = BASE
    spaced_as_trained = True

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        transformer = configs.get("transformer", {})
        check_latents(transformer, configs.get("vae", {}), 1)
        check_schedule(configs.get("scheduler", {}))
        if transformer.get("patch_size", PATCH) != PATCH:
            raise ValueError(f"its transformer has patches of {transformer['patch_size']} cells, and {PATCH} is supported.")
        _check_fit(transformer, *(configs.get(name, {}) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")))

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of Turbo, by its name, or of the others."""
        return TURBO if "turbo" in " ".join(names).lower() else BASE

    def __init__(self, **parts: Any) -> None:
        self.clip_tokenizers = (parts.pop("tokenizer"), parts.pop("tokenizer_2"))
        self.tokenizer: T5TokenizerFast = parts.pop("tokenizer_3")
        encoders = {name: parts.pop(name) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")}
        transformer: SD3Transformer2DModel = parts.pop("transformer")
        super().__init__(denoiser=transformer, **parts)
        configs = {name: encoder.config.to_dict() for name, encoder in encoders.items()}
        own = {"vae": self.vae.config, "transformer": transformer.config, "scheduler": self.scheduler_config}
        self.check_configs(configs | own)
        *clip, self.text_encoder_3 = (encoder.eval().requires_grad_(False) for encoder in encoders.values())
        self.clip_encoders = tuple(clip)
        tokenizers = (*self.clip_tokenizers, self.tokenizer)
        for number, (tokenizer, encoder) in enumerate(zip(tokenizers, encoders.values(), strict=True), 1):
            check_tokenizer("tokenizer" if number == 1 else f"tokenizer_{number}", tokenizer, encoder.config.vocab_size)
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
        """Encode ``text`` to "prompt_embeds" (1, tokens, width) and "pooled_embeds" (1, width)."""
        return self._encode_text(text)

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str) -> Conditions:
        device = self.text_encoder_3.device
        hidden = self.text_encoder_3(torch.tensor([padded_t5_ids(self.tokenizer, text, TOKENS)], device=device))[0]
        outputs = [
            encoder(
                torch.tensor([padded_clip_ids(tokenizer, text, encoder.config.max_position_embeddings)], device=device),
                output_hidden_states=True,
            )
            for tokenizer, encoder in zip(self.clip_tokenizers, self.clip_encoders, strict=True)
        ]
        clip = torch.cat([output.hidden_states[-CLIP_LAYER] for output in outputs], -1)
        embeds = torch.cat([pad(clip, (0, hidden.shape[-1] - clip.shape[-1])), hidden], 1)
        pooled = torch.cat([output.text_embeds for output in outputs], -1)
        return Conditions({"prompt_embeds": embeds.to(self.dtype), "pooled_embeds": pooled.to(self.dtype)})

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the transformer and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width), "pooled_embeds"
        (rows, width).
        """
        prediction: Tensor = self.denoiser(
            hidden_states=latents,
            timestep=timesteps,
            encoder_hidden_states=conditions["prompt_embeds"],
            pooled_projections=conditions["pooled_embeds"],
            return_dict=False,
        )[0]
        return prediction


def _check_fit(
    transformer: Mapping[str, Any], clip: Mapping[str, Any], clip_2: Mapping[str, Any], t5: Mapping[str, Any]
) -> None:
    """Raise `ValueError` where the transformer reads other numbers than the text encoders make."""
    if not (transformer and clip and clip_2 and t5):
        return
    pooled = clip["projection_dim"] + clip_2["projection_dim"]
    for setting, made in (("joint_attention_dim", t5["d_model"]), ("pooled_projection_dim", pooled)):
        read = transformer.get(setting, made)
        if read != made:
            raise ValueError(f"its transformer reads {read} numbers of text ({setting}), and its text encoders make {made}.")
