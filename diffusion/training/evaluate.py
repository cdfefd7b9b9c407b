"""Measure a model: recognition and other figures, in one table."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from diffusion.training.config import DataConfig
from diffusion.training.drawing import flatten
from diffusion.training.errors import TrainingError
from diffusion.training.latents import to_pixels
from diffusion.training.measures import COPY_PSNR, Nearest, diversity, nearest, velocity_loss
from diffusion.training.pictures import Picture
from diffusion.training.prompts import EvaluationPrompt, draw_prompt, seen_prompts, unseen_prompts
from diffusion.training.recogniser import Judgement, Recogniser
from diffusion.training.reconstruction import held_out_psnr, reconstruct
from diffusion.training.scenes import is_selected
from diffusion.training.sheet import Generate, draw_grid, pairs_sheet

BATCH_SIZE = 48
TIMED_PICTURES = 5
NEAREST_SHOWN = 10


@dataclass(frozen=True)
class Recognition:
    """Shares of pictures, 0 to 1, with a right subject, a right attribute, or both.

    ``top_1`` and ``top_5``: the subject is the first, or among the first five concepts. ``both``: ``top_5`` and ``attribute``.
    """

    top_1: float
    top_5: float
    attribute: float
    both: float

    @classmethod
    def of(cls, verdicts: Sequence[Judgement]) -> "Recognition":
        """Count ``verdicts``."""
        names = ("top_1", "top_5", "attribute", "both")
        return cls(*(sum(getattr(verdict, name) for verdict in verdicts) / len(verdicts) for name in names))


@dataclass(frozen=True)
class Evaluation:
    """The figures of a model.

    ``real_*`` are those of real pictures for the same prompts, passed through the autoencoder.
    """

    pictures: int
    seen: Recognition
    real_seen: Recognition
    unseen: Recognition
    real_unseen: Recognition
    unseen_kinds: dict[str, Recognition]
    recogniser: dict[str, float]
    held_out_psnr: float
    velocity_loss: float
    diversity: float
    nearest_psnr: float
    nearest_is_subject: float
    copies: float
    seconds_per_picture: float
    megabytes: float

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Read an ``evaluation.json``; raises `TrainingError` for any other file."""
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise TrainingError(f"{path} is no evaluation: {error}".partition("\n")[0]) from error


@dataclass(frozen=True)
class EvaluationSize:
    """The number of prompts, seeds and latents of an evaluation."""

    seen: int = 200
    unseen: int = 100
    seeds: int = 4
    latents: int = 1024


@dataclass(frozen=True)
class Evaluator:
    """Evaluates what ``generate`` draws; ``pictures`` is the whole archive."""

    generate: Generate
    recogniser: Recogniser
    data: DataConfig
    pictures: list[Picture]
    size: EvaluationSize

    def evaluate(self, model: Path, run: Path) -> Evaluation:
        """Measure the folder ``model``; write figures and sheets to ``run/evaluation``."""
        output = run / "evaluation"
        output.mkdir(parents=True, exist_ok=True)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        vae = AutoencoderKL.from_pretrained(model / "vae", dtype=torch.float32).to(device)
        learned = [picture for picture in self.pictures if is_selected(picture, self.data)]
        training = [flatten(picture.image()) for picture in learned]
        known_prompts, new_prompts = self._prompts()
        drawn_seen = self._draw(known_prompts)
        drawn_unseen = self._draw(new_prompts)
        unseen = self._judge(drawn_unseen, new_prompts)
        found = nearest(drawn_seen, training)
        evaluation = Evaluation(
            pictures=len(drawn_seen) + len(drawn_unseen),
            seen=Recognition.of(self._judge(drawn_seen, known_prompts)),
            real_seen=_recognise_real(self.recogniser, vae, learned, known_prompts),
            unseen=Recognition.of(unseen),
            real_unseen=_recognise_real(self.recogniser, vae, learned, new_prompts),
            unseen_kinds=_by_kind(unseen, _repeat(new_prompts, self.size.seeds)),
            recogniser=self.recogniser.accuracy,
            held_out_psnr=held_out_psnr(vae, self.pictures),
            velocity_loss=velocity_loss(model, run / "latents", self.size.latents, device),
            diversity=diversity(drawn_seen, self.size.seeds) if self.size.seeds > 1 else 0.0,
            nearest_psnr=statistics.median(each.psnr for each in found),
            nearest_is_subject=_share_of_subject(found, learned, _repeat(known_prompts, self.size.seeds)),
            copies=sum(each.psnr >= COPY_PSNR for each in found) / len(found),
            seconds_per_picture=_seconds(self.generate),
            megabytes=sum(path.stat().st_size for path in model.rglob("*.safetensors")) / 1e6,
        )
        (output / "evaluation.json").write_text(json.dumps(asdict(evaluation), indent=2) + "\n")
        draw_grid(self.generate).save(output / "grid.webp", quality=92)
        interval = len(drawn_seen) // NEAREST_SHOWN or 1
        rows = range(0, len(drawn_seen), interval)[:NEAREST_SHOWN]
        sheet = pairs_sheet([drawn_seen[index] for index in rows], [training[found[index].index] for index in rows])
        sheet.save(output / "nearest.webp", quality=92)
        return evaluation

    def recognition(self) -> tuple[Recognition, Recognition]:
        """Measure only the recognition of seen prompts and of unseen compositions."""
        seen, unseen = (Recognition.of(self._judge(self._draw(prompts), prompts)) for prompts in self._prompts())
        return seen, unseen

    def _prompts(self) -> tuple[list[EvaluationPrompt], list[EvaluationPrompt]]:
        seen = seen_prompts(self.pictures, self.data, self.size.seen)
        return seen, _spread(unseen_prompts(), self.size.unseen)

    def _draw(self, prompts: Sequence[EvaluationPrompt]) -> list[Image.Image]:
        texts = [each.prompt for each in _repeat(prompts, self.size.seeds)]
        seeds = [seed for _ in prompts for seed in range(self.size.seeds)]
        images = []
        for start in tqdm(range(0, len(texts), BATCH_SIZE), desc="drawing", unit="batch", mininterval=5):
            part = slice(start, start + BATCH_SIZE)
            images += self.generate(texts[part], seeds[part])
        return images

    def _judge(self, images: Sequence[Image.Image], prompts: Sequence[EvaluationPrompt]) -> list[Judgement]:
        return self.recogniser.judge(images, _repeat(prompts, self.size.seeds))


def table(evaluations: dict[str, Evaluation]) -> str:
    """Return a Markdown table with one column per evaluation."""
    columns = list(evaluations.values())

    def row(label: str, *cells: str) -> str:
        return f"| {' | '.join((label, *cells))} |"

    def percent(label: str, values: Sequence[float]) -> str:
        return row(label, *(f"{100 * value:.0f} %" for value in values))

    lines = [
        row("", *evaluations),
        "|" + "---|" * (len(columns) + 1),
        percent("seen prompts, subject named first", [each.seen.top_1 for each in columns]),
        percent("seen prompts, subject among the first five", [each.seen.top_5 for each in columns]),
        percent("the same of their real pictures, first", [each.real_seen.top_1 for each in columns]),
        percent("the same of their real pictures, first five", [each.real_seen.top_5 for each in columns]),
        percent("unseen compositions, subject among the first five", [each.unseen.top_5 for each in columns]),
        percent("unseen compositions, attribute right", [each.unseen.attribute for each in columns]),
        percent("unseen compositions, both", [each.unseen.both for each in columns]),
        *(
            percent(f"— with a {kind}, both", [each.unseen_kinds[kind].both for each in columns if kind in each.unseen_kinds])
            for kind in columns[0].unseen_kinds
        ),
        percent("the same of their real pictures, both", [each.real_unseen.both for each in columns]),
        percent("recogniser on real drawings held out of it, first", [each.recogniser["top_1"] for each in columns]),
        percent("recogniser on real drawings held out of it, first five", [each.recogniser["top_5"] for each in columns]),
        row("autoencoder, PSNR on held-out concepts", *(f"{each.held_out_psnr:.1f} dB" for each in columns)),
        row("squared error of the velocity, training latents", *(f"{each.velocity_loss:.3f}" for each in columns)),
        percent("diversity across seeds (100 %: as different as two prompts)", [each.diversity for each in columns]),
        percent("nearest training picture shows the subject", [each.nearest_is_subject for each in columns]),
        row("PSNR to the nearest training picture, 32x32, median", *(f"{each.nearest_psnr:.1f} dB" for each in columns)),
        percent(f"copies ({COPY_PSNR:.0f} dB or more to a training picture)", [each.copies for each in columns]),
        row("seconds a picture, alone", *(f"{each.seconds_per_picture:.2f}" for each in columns)),
        row("weights", *(f"{each.megabytes:.1f} MB" for each in columns)),
    ]
    return "\n".join(lines) + "\n"


def _repeat(prompts: Sequence[EvaluationPrompt], seeds: int) -> list[EvaluationPrompt]:
    return [prompt for prompt in prompts for _ in range(seeds)]


def _spread(prompts: list[EvaluationPrompt], count: int) -> list[EvaluationPrompt]:
    """Return ``count`` of ``prompts``, evenly spread."""
    count = min(count, len(prompts))
    return [prompts[index * len(prompts) // count] for index in range(count)]


def _recognise_real(
    recogniser: Recogniser, vae: AutoencoderKL, learned: list[Picture], prompts: Sequence[EvaluationPrompt]
) -> Recognition:
    """Judge real pictures of the prompts: the upper bound for generated ones.

    They pass through the autoencoder, as generated ones do.
    """
    real = to_pixels([draw_prompt(prompt, learned) for prompt in prompts])
    pixels = (reconstruct(vae, real) * 127.5 + 127.5).byte().permute(0, 2, 3, 1).numpy()
    return Recognition.of(recogniser.judge([Image.fromarray(image) for image in pixels], prompts))


def _by_kind(verdicts: Sequence[Judgement], prompts: Sequence[EvaluationPrompt]) -> dict[str, Recognition]:
    kinds: dict[str, list[Judgement]] = {}
    for verdict, prompt in zip(verdicts, prompts, strict=True):
        kinds.setdefault(prompt.kind, []).append(verdict)
    return {kind: Recognition.of(of_kind) for kind, of_kind in kinds.items()}


def _share_of_subject(found: Sequence[Nearest], learned: Sequence[Picture], prompts: Sequence[EvaluationPrompt]) -> float:
    hits = [learned[each.index].name == prompt.subjects[0] for each, prompt in zip(found, prompts, strict=True)]
    return sum(hits) / len(hits)


def _seconds(generate: Generate) -> float:
    """Return the median seconds of a picture drawn alone, after one to warm up."""
    times = []
    for seed in range(TIMED_PICTURES + 1):
        started = time.perf_counter()
        generate(["red apple"], [seed])
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
