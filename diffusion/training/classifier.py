"""Train the classifier of noisy latents that guides towards a group or a colour."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.training.config import ClassifierConfig
from diffusion.training.denoiser import alphas_cumprod
from diffusion.training.forward import q_sample, stratified_timesteps
from diffusion.training.labels import COLOURS, GROUPS, Labels
from diffusion.training.latents import read_labels, read_latents
from diffusion.training.optimizer import MuonWithAdamW
from diffusion.training.precision import autocast_bfloat16

BANDS = 5  # of noise levels, each with its accuracy
WARMUP_STEPS = 20
OUTER = ("conv_in", "embedding", "time_emb", "head")  # parameters for AdamW instead of Muon
UNKNOWN = -100  # the label that cross-entropy ignores


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on held-out scenes at timesteps ``first`` to ``last``, 0 to 1."""

    first: int
    last: int
    groups: float
    colours: float

    def __str__(self) -> str:
        return f"t {self.first:3} to {self.last:3}: groups {self.groups:.1%}, colours {self.colours:.1%}"


def train(run: Path, config: ClassifierConfig, device: torch.device | None = None) -> list[Accuracy]:
    """Train on the latents of ``run``, write the classifier, return its accuracies.

    A share ``config.held_out`` of the subjects is held out, with every scene that shows one, to measure the accuracy.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    latents, weights, _ = read_latents(run / "latents")
    labels = read_labels(run / "latents")
    targets = as_targets(labels)
    unseen = held_out(labels, config.held_out)
    alpha_bar = alphas_cumprod()
    torch.manual_seed(0)
    classifier = NoisyLatentClassifier(GROUPS, COLOURS, latents.shape[1], config.block_out_channels, dropout=config.dropout).to(
        device
    )
    optimizer = MuonWithAdamW(
        classifier,
        learning_rate=config.learning_rate,
        adam_learning_rate=config.learning_rate * 0.15,
        weight_decay=config.weight_decay,
        outer=OUTER,
    )
    generator = torch.Generator().manual_seed(0)
    seen = weights * ~unseen
    for step in (bar := tqdm(range(config.steps), desc="classifier", unit="step", mininterval=10)):
        rows = torch.multinomial(seen, config.batch_size, replacement=True, generator=generator)
        timesteps = stratified_timesteps(config.batch_size, len(alpha_bar), generator)
        x_t = _add_noise(latents[rows], alpha_bar[timesteps], generator)
        with autocast_bfloat16(device):
            group_logits, colour_logits = classifier(x_t.to(device), timesteps.to(device))
        group, colour = targets[rows].to(device).unbind(1)
        loss = _cross_entropy(group_logits, group) + _cross_entropy(colour_logits, colour)
        loss.backward()
        optimizer.step(min(1.0, (step + 1) / WARMUP_STEPS) * (1 - step / config.steps))
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    classifier.eval().save_pretrained(run / "classifier")
    return measure(classifier, latents[unseen], targets[unseen], alpha_bar)


def held_out(labels: list[Labels], share: float) -> Tensor:
    """Mark the scenes that show one of a ``share`` of all subjects: (scenes,), bool.

    The subjects are the same at every call.
    """
    names = sorted({name for row in labels for name in row.subjects})
    chosen = set(random.Random(0).sample(names, max(1, round(share * len(names)))))
    return torch.tensor([not chosen.isdisjoint(row.subjects) for row in labels])


def as_targets(labels: list[Labels]) -> Tensor:
    """Return the indices of the scenes' groups and colours, (scenes, 2).

    A scene without a group has `UNKNOWN`.
    """
    return torch.tensor([(GROUPS.index(row.group) if row.group else UNKNOWN, COLOURS.index(row.colour)) for row in labels])


@torch.inference_mode()
def measure(classifier: NoisyLatentClassifier, latents: Tensor, targets: Tensor, alphas_cumprod: Tensor) -> list[Accuracy]:
    """Return the accuracy on ``latents`` in each of `BANDS` bands of noise levels.

    ``latents`` is (scenes, channels, h, w), ``targets`` comes from `as_targets`. Every scene counts once in each band; the
    noise is the same at every call.
    """
    generator = torch.Generator().manual_seed(1)
    width = len(alphas_cumprod) // BANDS
    found = []
    for first in range(0, len(alphas_cumprod), width):
        timesteps = first + stratified_timesteps(len(latents), width, generator)
        x_t = _add_noise(latents, alphas_cumprod[timesteps], generator)
        logits = classifier(x_t.to(classifier.device), timesteps.to(classifier.device))
        right = torch.stack([each.argmax(1) for each in logits], 1).cpu() == targets
        groups, colours = (right.sum(0) / (targets != UNKNOWN).sum(0).clamp(min=1)).tolist()
        found.append(Accuracy(first, first + width - 1, groups, colours))
    return found


def _add_noise(latents: Tensor, alpha_bar_t: Tensor, generator: torch.Generator) -> Tensor:
    return q_sample(latents, torch.randn(latents.shape, generator=generator), alpha_bar_t)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), target, ignore_index=UNKNOWN, reduction="sum") / len(target)
