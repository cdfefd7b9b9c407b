"""Stable Diffusion models of toy size with random weights, for everything that is not about how pictures look."""

import copy

import torch

from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.families.defaults import Defaults, StudentDefaults
from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.model import classifier_guidance_of
from diffusion.loading.random_weights import TINY_SCHEDULER


def build_classifier() -> NoisyLatentClassifier:
    torch.manual_seed(1)
    classifier = NoisyLatentClassifier(("animal", "food"), ("red", "green", "blue"), block_out_channels=(16, 32))
    # An untrained head hardly prefers anything; a stronger one gives gradients that can be told from rounding.
    torch.nn.init.normal_(classifier.colour_head.weight)
    return classifier


def model_of(components: dict, defaults: Defaults | None = None) -> ImageModel:
    networks = {name: components[name] for name in ("vae", "tokenizer", "text_encoder", "unet")}
    config = TINY_SCHEDULER | {"prediction_type": components["scheduler"].config.prediction_type}
    family = StableDiffusion(**networks, scheduler_config=config)
    classifier = classifier_guidance_of(components["classifier"], family) if "classifier" in components else None
    return ImageModel(family, name="tiny", defaults=defaults, classifier=classifier)


LEARNED = StudentDefaults((0, 3, 6), 8, 3.0, "dpm++", (0.0, 0.8))
TAUGHT = Defaults(8, 3.0, "dpm++", (0.0, 0.8), student=LEARNED)


def taught_model_of(components: dict) -> ImageModel:
    """Return a model that predicts the velocity, with a student that draws other pictures."""
    plain = model_of(components)
    student = copy.deepcopy(plain.family.denoiser)
    torch.nn.init.normal_(student.conv_out.weight, generator=torch.Generator().manual_seed(5))
    return ImageModel(plain.family, name="tiny", defaults=TAUGHT, student=student)
