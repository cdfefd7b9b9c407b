"""Networks that flag pictures: of toy size, with heads set by hand, written as real ones are."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessorPil, ViTConfig, ViTForImageClassification, ViTImageProcessorPil
from transformers.utils import logging

LABELS = ("other", "red", "green")
SIZE = {"height": 32, "width": 32}
SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 16,
}


def build_classifier(folder: Path, headless: bool = False, problem_type: str | None = None) -> Path:
    """Distinguishes red pictures from blue ones: its head is what separates its own features of the two."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
    network = ViTForImageClassification(ViTConfig(**SHAPE, **names, problem_type=problem_type)).eval()
    with torch.no_grad():
        red, blue = (network.vit(plain(colour)).last_hidden_state[:, 0] for colour in ((1, -1, -1), (-1, -1, 1)))
        direction = (red - blue)[0] / (red - blue).pow(2).sum()
        network.classifier.weight[:] = torch.stack([torch.zeros_like(direction), 20 * direction, torch.zeros_like(direction)])
        network.classifier.bias[:] = torch.tensor([1.0, -20 * (direction @ (red + blue)[0] / 2), -9.0])
    (network.vit if headless else network).save_pretrained(folder)
    ViTImageProcessorPil(size=SIZE).save_pretrained(folder)
    return folder


def plain(colour) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 32, 32)


def build_checker(folder: Path, flagging: bool) -> Path:
    """Stable Diffusion's own checker with concepts that everything or nothing comes close to."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    text = {name: SHAPE[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    config = CLIPConfig(vision_config=SHAPE | {"projection_dim": 8}, text_config=text, projection_dim=8)
    checker = StableDiffusionSafetyChecker(config)
    checker.concept_embeds_weights.data.fill_(-2 if flagging else 2)
    checker.special_care_embeds_weights.data.fill_(2)
    checker.save_pretrained(folder / "safety_checker")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIZE).save_pretrained(folder / "feature_extractor")
    return folder
