"""Stable Diffusion models of toy size with random weights, for everything that is not about how pictures look."""

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.families.defaults import Defaults
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.folder import PRETRAINED

SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def build_components(prediction_type: str = "epsilon") -> dict:
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(PRETRAINED / "tokenizer")
    return {
        "vae": AutoencoderKL(
            block_out_channels=(8, 8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=4,
            latent_channels=4,
            sample_size=32,
        ).eval(),
        "tokenizer": tokenizer,
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                projection_dim=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ).eval(),
        "unet": UNet2DConditionModel(
            sample_size=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        ).eval(),
        "scheduler": DDIMScheduler(**SCHEDULER, prediction_type=prediction_type),
    }


def build_classifier() -> NoisyLatentClassifier:
    torch.manual_seed(1)
    classifier = NoisyLatentClassifier(("animal", "food"), ("red", "green", "blue"), block_out_channels=(16, 32))
    # An untrained head hardly prefers anything; a stronger one gives gradients that can be told from rounding.
    torch.nn.init.normal_(classifier.colour_head.weight)
    return classifier


def model_of(components: dict, defaults: Defaults | None = None) -> StableDiffusion:
    networks = {name: components[name] for name in ("vae", "tokenizer", "text_encoder", "unet")}
    config = SCHEDULER | {"prediction_type": components["scheduler"].config.prediction_type}
    return StableDiffusion(
        **networks, scheduler_config=config, name="tiny", defaults=defaults, classifier=components.get("classifier")
    )
