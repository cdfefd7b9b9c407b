"""What the denoiser learns from in each step."""

import os
import random

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from diffusion.training.captions import Description, captions
from diffusion.training.config import DenoiserConfig

MAX_WORKERS = 8  # processes that word captions ahead of a GPU


class CaptionedBatches(Dataset[tuple[Tensor, Tensor]]):
    """What each step learns from: the rows of the scenes drawn, (batch,), and their captions as tokens, (batch, 77).

    Seeded by the step, so that a resumed run draws what an uninterrupted one would have.
    """

    def __init__(
        self, weights: Tensor, descriptions: list[Description], tokenizer: CLIPTokenizer, config: DenoiserConfig
    ) -> None:
        self.weights, self.descriptions, self.tokenizer, self.config = weights, descriptions, tokenizer, config

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the lessons of ``step``."""
        generator = torch.Generator().manual_seed(step)
        rows = torch.multinomial(self.weights, self.config.batch_size, replacement=True, generator=generator)
        described = [self.descriptions[row] for row in rows.tolist()]
        texts = captions(described, self.config.caption_dropout, random.Random(step))
        return rows, self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def of(self, steps: range, ahead: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        """Give the lessons of ``steps`` in order; ``ahead``, other processes word them before they are wanted."""
        readers = min(MAX_WORKERS, (os.cpu_count() or 1) - 1) if ahead else 0
        return DataLoader(self, batch_size=None, sampler=steps, num_workers=readers)  # a lesson is a batch
