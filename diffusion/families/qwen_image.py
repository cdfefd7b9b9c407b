"""Qwen-Image, its later versions with the same network, and their finetunes."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import check_tokenizer
from diffusion.families.flow_transformer import PATCH, FlowTransformer, check_schedule, pack, unpack
from diffusion.families.plain_text import plain_ids
from diffusion.families.text_cache import TextCache
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.guidance import classifier_free_guidance

TEMPLATE: Final = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships"
    " of the objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
DROPPED: Final = 34  # tokens at the start of the template
TOKENS: Final = 512  # that the transformer reads
ROUND: Final = 32  # texts are padded to multiples of this many tokens, so that few shapes occur
OTHER_NETWORKS: Final = {  # settings of transformers for other purposes
    "guidance_embeds": "reads the guidance scale",
    "zero_cond_t": "edits pictures",
    "use_additional_t_cond": "draws in layers",
    "use_layer3d_rope": "draws in layers",
}
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
LIGHTNING: Final = Defaults(
    steps=8,
    guidance_scale=1.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(4, "flow_euler"),
        "fine": Preset(12, "flow_euler"),
        "classic": Preset(8, "flow_heun"),
    },
)


class QwenImage(FlowTransformer):
    """A transformer that reads the hidden states of Qwen2.5-VL, and an autoencoder of films that gets one frame.

    Guidance keeps the norm of each patch. Raises `ValueError` for parts that do not fit together.
    """

    pipeline = "QwenImagePipeline"
    other_pipelines = ("QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline")
    label = "Qwen-Image"
    converts = False  # complex numbers turn its positions, and OpenVINO has none
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKLQwenImage,
        "tokenizer": Qwen2Tokenizer,
        "text_encoder": Qwen2_5_VLForConditionalGeneration,
        "transformer": QwenImageTransformer2DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    defaults = BASE

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        transformer, vae, text = (configs.get(name, {}) for name in ("transformer", "vae", "text_encoder"))
        check_schedule(configs.get("scheduler", {}))
        for setting, purpose in OTHER_NETWORKS.items():
            if transformer.get(setting):
                raise ValueError(f"its transformer {purpose} ({setting}), which is not supported.")
        if transformer.get("patch_size", PATCH) != PATCH:
            raise ValueError(f"its transformer has patches of {transformer['patch_size']} cells, and {PATCH} is supported.")
        channels = vae.get("z_dim", 16)
        read, made = transformer.get("in_channels", 64), transformer.get("out_channels") or 16
        if transformer and vae and (read, made) != (channels * PATCH**2, channels):
            raise ValueError(
                f"its transformer reads {read} numbers a token and makes {made * PATCH**2}, and its autoencoder makes"
                f" {channels * PATCH**2}."
            )
        width = text.get("hidden_size") or text.get("text_config", {}).get("hidden_size")
        wanted = transformer.get("joint_attention_dim")
        if None not in (width, wanted) and width != wanted:
            raise ValueError(f"its transformer reads {wanted} numbers of text, and its text encoder makes {width}.")

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of models of few steps, by their names, or of the others."""
        name = " ".join(names).lower()
        return LIGHTNING if "lightning" in name or "distill" in name else BASE

    def __init__(self, tokenizer: Qwen2Tokenizer, text_encoder: Qwen2_5_VLForConditionalGeneration, **parts: Any) -> None:
        transformer: QwenImageTransformer2DModel = parts.pop("transformer")
        super().__init__(denoiser=transformer, **parts)
        self.check_configs(
            {
                "vae": self.vae.config,
                "text_encoder": text_encoder.config.to_dict(),
                "transformer": transformer.config,
                "scheduler": self.scheduler_config,
            }
        )
        check_tokenizer("tokenizer", tokenizer, text_encoder.get_input_embeddings().num_embeddings)
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        # Cached rotations of a size could be freed while a recorded graph still reads them.
        rope: Any = transformer.pos_embed
        rope._compute_video_freqs = partial(type(rope)._compute_video_freqs.__wrapped__, rope)
        self.max_tokens = TOKENS - len(self._template_ids("")) + DROPPED
        self._encode_text = TextCache(self._encode_text_uncached, self.device)

    def _latent_cells(self, vae: Any) -> tuple[int, int]:
        return 2 ** len(vae.config.temperal_downsample), vae.config.z_dim

    @property
    def lora_networks(self) -> Mapping[str, nn.Module]:
        """The networks whose layers LoRAs may change, by the names of diffusers' parts."""
        return {"transformer": self.denoiser}

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without the template around it. Safe in any thread."""
        return len(plain_ids(self.tokenizer, text))

    def _template_ids(self, text: str) -> list[int]:
        return plain_ids(self.tokenizer, TEMPLATE.replace("{}", text))

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` to "prompt_embeds" (1, tokens, width), with zeros up to a multiple of `ROUND` tokens."""
        return self._encode_text(text)

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str) -> Conditions:
        ids = torch.tensor([self._template_ids(text)[: TOKENS + DROPPED]], device=self.text_encoder.device)
        output = self.text_encoder.model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, use_cache=False)
        hidden = output.hidden_states[-1][:, DROPPED:]
        return Conditions({"prompt_embeds": pad(hidden, (0, 0, 0, -hidden.shape[1] % ROUND)).to(self.dtype)})

    def match(self, parts: Sequence[Conditions], request: ImageRequest) -> Sequence[Conditions]:
        """Return ``parts`` with zeros up to the length of the longest text."""
        longest = max(part.tensors["prompt_embeds"].shape[1] for part in parts)
        texts = [part.tensors["prompt_embeds"] for part in parts]
        padded = [pad(text, (0, 0, 0, longest - text.shape[1])) for text in texts]
        return [part.with_tensors({"prompt_embeds": text}) for part, text in zip(parts, padded, strict=True)]

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the transformer and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width). Texts end at their
        last token that is not zero.
        """
        text = conditions["prompt_embeds"]
        height, width = (side // PATCH for side in latents.shape[2:])
        prediction: Tensor = self.denoiser(
            hidden_states=pack(latents),
            timestep=self.noise_levels(timesteps).to(latents.dtype),
            encoder_hidden_states=text,
            encoder_hidden_states_mask=(text != 0).any(-1),
            img_shapes=[[(1, height, width)]] * len(latents),
            return_dict=False,
        )[0]
        return unpack(prediction, latents.shape)

    def guide(self, rows: Tensor, scale: float) -> Tensor:
        """Combine one image's predictions; each patch of the result has the norm that it has without guidance."""
        if len(rows) == 1:
            return rows
        unconditional, conditional = rows.split(1)
        guided = classifier_free_guidance(unconditional, conditional, scale)
        return guided * (_patch_norms(conditional) / _patch_norms(guided))

    def to_latents(self, pixels: Tensor, generator: torch.Generator | None) -> Tensor:
        """Encode pixels (images, 3, height, width) in [-1, 1] to latents of about unit variance."""
        self._tile_above(pixels.shape[2] * pixels.shape[3])
        posterior = self.vae.encode(pixels[:, :, None]).latent_dist
        latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
        mean, deviation = self._statistics
        return (latents[:, :, 0].float() - mean) / deviation

    def to_pixels(self, latents: Tensor) -> Tensor:
        """Decode clean latents (images, channels, h, w) to pixels in [-1, 1].

        Pixels are (images, 3, height, width).
        """
        self._tile_above(latents.shape[2] * latents.shape[3] * self.latent_factor**2)
        mean, deviation = self._statistics
        cells = (latents.to(self.device) * deviation + mean).to(self.pixel_dtype)
        pixels: Tensor = self.vae.decode(cells[:, :, None], return_dict=False)[0]
        return pixels[:, :, 0]

    @property
    def _statistics(self) -> tuple[Tensor, Tensor]:
        """The mean and the deviation of each channel, (1, channels, 1, 1)."""
        values = torch.tensor([self.vae.config.latents_mean, self.vae.config.latents_std], device=self.device)
        mean, deviation = values.view(2, 1, -1, 1, 1)
        return mean, deviation


def _patch_norms(predictions: Tensor) -> Tensor:
    """Return the norm of the patch of each cell, (rows, 1, h, w)."""
    rows, channels, height, width = predictions.shape
    patches = predictions.view(rows, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    norms: Tensor = torch.linalg.vector_norm(patches, dim=(1, 3, 5), keepdim=True)
    return norms.expand(-1, 1, -1, PATCH, -1, PATCH).reshape(rows, 1, height, width)
