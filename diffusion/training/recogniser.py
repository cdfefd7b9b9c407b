"""A network that names the content of pictures, trained on real ones only."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import ResNetConfig, ResNetModel

from diffusion.training.captions import STYLE_PHRASES
from diffusion.training.checkpoint import write_checkpoint
from diffusion.training.config import DataConfig, RecogniserConfig
from diffusion.training.drawing import BACKGROUNDS, HUES, flatten
from diffusion.training.errors import TrainingError
from diffusion.training.optimizer import MuonWithAdamW
from diffusion.training.pictures import Picture
from diffusion.training.precision import autocast_bfloat16
from diffusion.training.prompts import EvaluationPrompt
from diffusion.training.scenes import Scene, is_selected, scenes, without_colour

SIDE = 96  # pixels of its input
HELD_OUT_SHARE = 0.1
GROUNDS = ("white", *BACKGROUNDS)
HUE_NAMES = tuple(HUES)
COMPOSED_SHARE = 0.6
# Compositions of each concept.
BACKGROUNDS_EACH = 2
RECOLOURS_EACH = 5
PAIRS_EACH = 5


class Recogniser(nn.Module):
    """A small residual network (He et al. 2016) with three heads.

    The heads name concepts, colours of recoloured pictures, and backgrounds.
    """

    def __init__(self, concepts: Sequence[str], hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        self.concepts = tuple(concepts)
        self.hidden_sizes = tuple(hidden_sizes)
        self.accuracy: dict[str, float] = {}  # "top_1" and "top_5" on held-out drawings
        config = ResNetConfig(
            embedding_size=hidden_sizes[0],
            hidden_sizes=list(hidden_sizes),
            depths=[1] * len(hidden_sizes),
            layer_type="basic",
        )
        self.backbone = ResNetModel(config)
        self.concept = nn.Linear(hidden_sizes[-1], len(self.concepts))
        self.colour = nn.Linear(hidden_sizes[-1], len(HUE_NAMES))
        self.ground = nn.Linear(hidden_sizes[-1], len(GROUNDS))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of concepts, colours and backgrounds.

        ``pixels`` is (pictures, 3, 96, 96) in [-1, 1].
        """
        features = self.backbone(pixels).pooler_output.flatten(1)
        return self.concept(features), self.colour(features), self.ground(features)

    @torch.inference_mode()
    def judge(
        self, images: Sequence[Image.Image], prompts: Sequence[EvaluationPrompt], batch_size: int = 64
    ) -> list["Judgement"]:
        """Judge whether each image shows its prompt; needs evaluation mode."""
        verdicts = []
        device = self.concept.weight.device
        for start in range(0, len(images), batch_size):
            pixels = to_float(to_bytes(images[start : start + batch_size]).to(device))
            logits = self(pixels)
            ranked = logits[0].topk(min(5, len(self.concepts))).indices.tolist()
            colours, grounds = (scores.argmax(1).tolist() for scores in logits[1:])
            for row, prompt in enumerate(prompts[start : start + batch_size]):
                found = [self.concepts[index] for index in ranked[row]]
                verdicts.append(_judgement(prompt, found, HUE_NAMES[colours[row]], GROUNDS[grounds[row]]))
        return verdicts

    @torch.inference_mode()
    def name(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the most likely concept of each image."""
        pixels = to_float(to_bytes(images).to(self.concept.weight.device))
        return [self.concepts[index] for index in self(pixels)[0].argmax(1).tolist()]

    def save(self, path: Path) -> None:
        """Write weights, labels and accuracy."""
        state = {
            "concepts": self.concepts,
            "hidden_sizes": self.hidden_sizes,
            "accuracy": self.accuracy,
            "weights": self.state_dict(),
        }
        write_checkpoint(state, path)

    @classmethod
    def read(cls, path: Path, device: torch.device) -> "Recogniser":
        """Read a file of `save`, in evaluation mode."""
        state = torch.load(path, map_location=device, weights_only=True)
        recogniser = cls(state["concepts"], state["hidden_sizes"]).to(device).eval()
        recogniser.load_state_dict(state["weights"])
        recogniser.accuracy = state["accuracy"]
        return recogniser


@dataclass(frozen=True)
class Judgement:
    """Whether the subject is the first, or among the first five concepts.

    ``attribute``: everything else in the prompt fits as well.
    """

    top_1: bool
    top_5: bool
    attribute: bool

    @property
    def both(self) -> bool:
        """Whether the subject is among the first five and its attribute is right."""
        return self.top_5 and self.attribute


def _judgement(prompt: EvaluationPrompt, found: list[str], colour: str, ground: str) -> Judgement:
    def is_there(subject: str, names: list[str]) -> bool:
        return subject in names or subject in map(without_colour, names)

    first, *others = prompt.subjects
    return Judgement(
        top_1=is_there(first, found[:1]),
        top_5=is_there(first, found),
        attribute=all(is_there(other, found) for other in others)
        and prompt.colour in ("", colour)
        and prompt.background in ("", ground),
    )


def split(pictures: list[Picture], config: DataConfig) -> tuple[list[Picture], list[Picture]]:
    """Split the drawings of the run's concepts into known and held-out ones.

    Held-out drawings have other styles than the run's; their concepts have at least two more drawings. The split is the same
    at every call.
    """
    names = {picture.name for picture in pictures if is_selected(picture, config)}
    of_concepts = [picture for picture in pictures if picture.name in names and picture.style in STYLE_PHRASES]
    drawings: dict[str, list[Picture]] = {}
    for picture in of_concepts:
        drawings.setdefault(picture.name, []).append(picture)
    able = [picture for picture in of_concepts if picture.style not in config.styles and len(drawings[picture.name]) > 2]
    rng = random.Random(0)
    rng.shuffle(able)
    held_out: list[Picture] = []
    used: set[str] = set()
    for picture in able:  # at most one drawing of a concept
        if len(held_out) < HELD_OUT_SHARE * len(of_concepts) and picture.name not in used:
            held_out.append(picture)
            used.add(picture.name)
    apart = set(held_out)
    return [picture for picture in of_concepts if picture not in apart], held_out


def train(path: Path, config: RecogniserConfig, data: DataConfig, pictures: list[Picture]) -> Recogniser:
    """Train a recogniser, measure it on held-out drawings, write it to ``path``."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known, held_out = split(pictures, data)
    if not held_out:
        raise TrainingError("The archive has no concept in three styles. The recogniser needs some to hold out.")
    bank = _SceneBank(_training_scenes(known, data))
    torch.manual_seed(0)
    recogniser = Recogniser(bank.concepts, config.hidden_sizes).to(device).train()
    optimizer = MuonWithAdamW(
        recogniser,
        learning_rate=config.learning_rate,
        adam_learning_rate=config.learning_rate * 0.15,
        weight_decay=config.weight_decay,
        outer=("embedder.embedder", "concept", "colour", "ground"),
    )
    generator = torch.Generator().manual_seed(0)
    smooth = 0.0
    with tqdm(total=config.steps, desc="recogniser", unit="step", mininterval=5) as bar:
        for step in range(config.steps):
            rows = torch.multinomial(bank.weights, config.batch_size, replacement=True, generator=generator)
            pixels = vary(to_float(bank.pixels[rows]), generator).to(device)
            with autocast_bfloat16(device):
                concept, colour, ground = recogniser(pixels)
            loss = F.cross_entropy(concept.float(), bank.targets(rows).to(device), label_smoothing=0.05)
            loss = loss + 0.3 * F.cross_entropy(ground.float(), bank.grounds[rows].to(device))
            coloured = bank.colours[rows].to(device)
            if (coloured >= 0).any():
                loss = loss + 0.3 * F.cross_entropy(colour.float(), coloured, ignore_index=-1)
            loss.backward()
            optimizer.step(min((step + 1) / 50, (config.steps - step) / config.steps))
            smooth += (loss.item() - smooth) / min(step + 1, 50)
            bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
            bar.update()
    recogniser.eval()
    prompts = [EvaluationPrompt(picture.name, (picture.name,)) for picture in held_out]
    verdicts = recogniser.judge([flatten(picture.image()) for picture in held_out], prompts)
    recogniser.accuracy = {
        "top_1": sum(verdict.top_1 for verdict in verdicts) / len(verdicts),
        "top_5": sum(verdict.top_5 for verdict in verdicts) / len(verdicts),
    }
    recogniser.save(path)
    return recogniser


def _training_scenes(known: list[Picture], data: DataConfig) -> list[Scene]:
    """List all drawings plain, and many compositions in the run's own styles."""
    every = replace(
        data, without_groups=(), without_names=(), style_weights={}, group_weights={}, backgrounds=0, recolours=0, pairs=0
    )
    plain = scenes(known, replace(every, styles=tuple(STYLE_PHRASES), synthetic_share=0))
    concepts = len({picture.name for picture in known})
    many = replace(
        every,
        synthetic_share=1,
        backgrounds=BACKGROUNDS_EACH * concepts,
        recolours=RECOLOURS_EACH * concepts,
        pairs=PAIRS_EACH * concepts,
    )
    composed = scenes(known, many)
    shares = ((plain, 1 - COMPOSED_SHARE), (composed, COMPOSED_SHARE))
    return [replace(scene, weight=scene.weight * share) for group, share in shares for scene in group if scene.weight]


class _SceneBank:
    """Every scene drawn once, with its labels."""

    def __init__(self, drawn: list[Scene]) -> None:
        self.concepts = sorted({picture.name for scene in drawn for picture in scene.subjects})
        index = {name: number for number, name in enumerate(self.concepts)}
        self.weights = torch.tensor([scene.weight for scene in drawn])
        self.pixels = torch.cat([to_bytes([scene.draw()]) for scene in tqdm(drawn, desc="drawing scenes", mininterval=5)])
        self.subjects = [[index[picture.name] for picture in scene.subjects] for scene in drawn]
        self.colours = torch.tensor([HUE_NAMES.index(scene.colour) if scene.colour else -1 for scene in drawn])
        self.grounds = torch.tensor([GROUNDS.index(scene.background) for scene in drawn])

    def targets(self, rows: Tensor) -> Tensor:
        """Return the share of each concept in the scenes ``rows``: (rows, concepts)."""
        targets = torch.zeros(len(rows), len(self.concepts))
        for row, scene in enumerate(rows.tolist()):
            for subject in self.subjects[scene]:
                targets[row, subject] += 1 / len(self.subjects[scene])
        return targets


def to_bytes(images: Sequence[Image.Image]) -> Tensor:
    """Stack RGB images to uint8 (pictures, 3, 96, 96)."""
    scaled = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)) for image in images]
    return torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2).contiguous()


def to_float(pixels: Tensor) -> Tensor:
    """Convert bytes to [-1, 1]."""
    return pixels.float() / 127.5 - 1


def vary(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Move, turn, mirror, blur and shade ``pixels`` as generated pictures vary.

    ``pixels`` is (pictures, 3, side, side) in [-1, 1]. Colours keep their names.
    """
    count = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    angle = uniform(-0.2, 0.2)
    scale = uniform(0.85, 1.2)
    mirror = 1 - 2 * (uniform(0, 1) < 0.5).float()
    transforms = torch.zeros(count, 2, 3)
    transforms[:, 0, 0] = mirror * scale * angle.cos()
    transforms[:, 0, 1] = -scale * angle.sin()
    transforms[:, 1, 0] = mirror * scale * angle.sin()
    transforms[:, 1, 1] = scale * angle.cos()
    transforms[:, 0, 2] = uniform(-0.12, 0.12)
    transforms[:, 1, 2] = uniform(-0.12, 0.12)
    grid = F.affine_grid(transforms, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    soft = F.interpolate(F.avg_pool2d(moved, 2), scale_factor=2, mode="bilinear", align_corners=False)
    share = uniform(-0.5, 1).clamp(min=0).view(-1, 1, 1, 1)
    noise = torch.randn(moved.shape, generator=generator) * uniform(0, 0.08).view(-1, 1, 1, 1)
    contrast = uniform(0.85, 1.1).view(-1, 1, 1, 1)
    light = uniform(-0.05, 0.05).view(-1, 1, 1, 1)
    return ((moved + share * (soft - moved)) * contrast + light + noise).clamp(-1, 1)
