"""Z-Image and Z-Image-Turbo, which needs few steps and no guidance."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import Qwen2Tokenizer, Qwen3Model

from diffusion.families.defaults import Defaults, Preset
from diffusion.families.family import check_tokenizer
from diffusion.families.flow_transformer import PATCH, FlowTransformer, check_latents, check_schedule
from diffusion.families.plain_text import chat_of, plain_ids
from diffusion.families.text_cache import TextCache
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.guidance import classifier_free_guidance

TOKENS: Final = 512  # of Qwen3, with those of the chat around a prompt
ROUND: Final = 32  # texts and pictures are padded to multiples of this many tokens
AXES: Final = 3  # of a token's position: time, row, column
SIZES: Final = f"{PATCH}-1"  # of patches in cells and frames, as the transformer names its layers for them
TURBO_SHIFT: Final = 3.0  # of the noise levels; that of the base model is higher
TEXT_LAYER: Final = 2  # of the text encoder, from the end
TURBO: Final = Defaults(
    steps=8,
    guidance_scale=0.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(5, "flow_euler"),
        "fine": Preset(12, "flow_euler"),
        "classic": Preset(8, "flow_heun"),
    },
)
BASE: Final = Defaults(
    steps=40,
    guidance_scale=4.0,
    sampler="flow_euler",
    presets={
        "draft": Preset(20, "flow_euler"),
        "fine": Preset(50, "flow_euler"),
        "classic": Preset(50, "flow_heun"),
    },
)


class ZImage(FlowTransformer):
    """A transformer that reads a picture and a text of Qwen3 as one sequence.

    It counts time and direction from the noise to the picture. A guidance scale of 0 is none. Raises `ValueError` for parts
    that do not fit together.
    """

    pipeline = "ZImagePipeline"
    other_pipelines = ("ZImageImg2ImgPipeline", "ZImageInpaintPipeline")
    label = "Z-Image"
    converts = False  # complex numbers turn its positions, and OpenVINO has none
    parts: ClassVar[Mapping[str, type]] = {
        "vae": AutoencoderKL,
        "tokenizer": Qwen2Tokenizer,
        "text_encoder": Qwen3Model,
        "transformer": ZImageTransformer2DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    defaults = TURBO
    guidance_above = 0.0

    @classmethod
    def check_configs(cls, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise `ValueError` for a model that would be drawn wrongly."""
        transformer = configs.get("transformer", {})
        check_latents(transformer, configs.get("vae", {}), 1)
        check_schedule(configs.get("scheduler", {}))
        patches = (*transformer.get("all_patch_size", (PATCH,)), *transformer.get("all_f_patch_size", (1,)))
        if patches != (PATCH, 1):
            raise ValueError(f"its transformer has patches of {patches}, and ({PATCH}, 1) is supported.")
        if transformer.get("siglip_feat_dim") is not None:
            raise ValueError("it is a model that edits pictures: its transformer reads them (siglip_feat_dim).")
        read, made = transformer.get("cap_feat_dim"), configs.get("text_encoder", {}).get("hidden_size")
        if None not in (read, made) and read != made:
            raise ValueError(f"its transformer reads {read} numbers of text, and its text encoder makes {made}.")

    @classmethod
    def suggest_defaults(cls, names: Iterable[str], configs: Mapping[str, Mapping[str, Any]]) -> Defaults:
        """Return the defaults of Turbo or of the base model."""
        is_turbo = "turbo" in " ".join(names).lower() or configs["scheduler"].get("shift", 1.0) <= TURBO_SHIFT
        return TURBO if is_turbo else BASE

    def __init__(self, tokenizer: Qwen2Tokenizer, text_encoder: Qwen3Model, **parts: Any) -> None:
        transformer: ZImageTransformer2DModel = parts.pop("transformer")
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
        self._rotations(torch.zeros(1, 1, AXES, dtype=torch.long, device=self.device))  # fills a cache that no graph may fill
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
        return plain_ids(self.tokenizer, chat_of(self.tokenizer, text, thinking=True))

    def encode(self, text: str, request: ImageRequest) -> Conditions:
        """Encode ``text`` to "prompt_embeds" (1, tokens, width), with zeros up to a multiple of `ROUND` tokens."""
        return self._encode_text(text)

    @torch.inference_mode()
    def _encode_text_uncached(self, text: str) -> Conditions:
        ids = self._chat_ids(text)[:TOKENS]
        output = self.text_encoder(torch.tensor([ids], device=self.text_encoder.device), output_hidden_states=True)
        hidden = output.hidden_states[-TEXT_LAYER]
        return Conditions({"prompt_embeds": pad(hidden, (0, 0, 0, -len(ids) % ROUND)).to(self.dtype)})

    def match(self, parts: Sequence[Conditions], request: ImageRequest) -> Sequence[Conditions]:
        """Return ``parts`` with zeros up to the length of the longest text."""
        texts = [part.tensors["prompt_embeds"] for part in parts]
        longest = max(text.shape[1] for text in texts)
        padded = [pad(text, (0, 0, 0, longest - text.shape[1])) for text in texts]
        return [part.with_tensors({"prompt_embeds": text}) for part, text in zip(parts, padded, strict=True)]

    def guide(self, rows: Tensor, scale: float) -> Tensor:
        """Combine one image's predictions: c + s (c - u)."""
        if len(rows) == 1:
            return rows
        unconditional, conditional = rows.split(1)
        return classifier_free_guidance(unconditional, conditional, 1 + scale)

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Call the transformer's layers and return its predictions in the shape of ``latents``.

        ``latents`` are (rows, channels, h, w), ``timesteps`` (rows,), "prompt_embeds" (rows, tokens, width). Texts end at their
        last token that is not zero. The transformer's own call takes lists of texts and looks at their lengths, which a
        recorded graph cannot; this does the same with masks.
        """
        network: Any = self.denoiser  # its layers are not typed
        text = conditions["prompt_embeds"]
        rows, channels, height, width = latents.shape
        grid = (height // PATCH, width // PATCH)
        count = grid[0] * grid[1]

        words = (text != 0).any(-1)
        lengths = (words.sum(1) + ROUND - 1) // ROUND * ROUND  # with the model's own padding
        places = torch.arange(text.shape[1], device=text.device).expand(rows, -1)
        is_read = places < lengths[:, None]

        time = network.t_embedder((self.max_steps - timesteps) / self.max_steps * network.t_scale).type_as(latents)
        patches = latents.view(rows, channels, grid[0], PATCH, grid[1], PATCH).permute(0, 2, 4, 3, 5, 1)
        image = network.all_x_embedder[SIZES](patches.reshape(rows, count, channels * PATCH**2))
        padding = -count % ROUND
        image = torch.cat([image, network.x_pad_token.expand(rows, padding, -1)], 1)
        image_positions = self._rotations(pad(_positions(*grid, lengths + 1), (0, 0, 0, padding)))
        for layer in network.noise_refiner:
            image = layer(image, None, image_positions, time)

        caption = torch.where(words[..., None], network.cap_embedder(text), network.cap_pad_token)
        caption_positions = self._rotations(torch.stack([places + 1, 0 * places, 0 * places], -1))
        for layer in network.context_refiner:
            caption = layer(caption, is_read, caption_positions)

        both = torch.cat([image, caption], 1)
        mask = torch.cat([is_read.new_ones(rows, count + padding), is_read], 1)
        positions = torch.cat([image_positions, caption_positions], 1)
        for layer in network.layers:
            both = layer(both, mask, positions, time)
        prediction: Tensor = network.all_final_layer[SIZES](both[:, :count], c=time)
        unpacked = prediction.view(rows, *grid, PATCH, PATCH, channels).permute(0, 5, 1, 3, 2, 4)
        return -unpacked.reshape(latents.shape)

    def _rotations(self, positions: Tensor) -> Tensor:
        """Return the rotations of ``positions`` (rows, tokens, 3)."""
        network: Any = self.denoiser
        rotations: Tensor = network.rope_embedder(positions.flatten(0, 1))
        return rotations.view(*positions.shape[:2], -1)


def _positions(height: int, width: int, frames: Tensor) -> Tensor:
    """Return the positions of the tokens of pictures at the times ``frames`` (rows,): (rows, height x width, 3)."""
    vertical = torch.arange(height, device=frames.device).repeat_interleave(width)
    horizontal = torch.arange(width, device=frames.device).repeat(height)
    rows = len(frames)
    return torch.stack([frames[:, None].expand(-1, height * width), vertical.expand(rows, -1), horizontal.expand(rows, -1)], -1)
