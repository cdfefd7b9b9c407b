"""The batches that the denoiser learns from."""

import os
import random

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from diffusion.training.captions import Description, captions
from diffusion.training.config import DenoiserConfig

MAX_WORKERS = 8  # processes that prepare captions


class CaptionedBatches(Dataset[tuple[Tensor, Tensor]]):
    """Scene rows, (batch,), and tokens of their captions, (batch, 77), by step.

    Each batch is seeded by its step, so a resumed run sees the same batches as an uninterrupted one.
    """

    def __init__(
        self, weights: Tensor, descriptions: list[Description], tokenizer: CLIPTokenizer, config: DenoiserConfig
    ) -> None:
        self.weights = weights
        self.descriptions = descriptions
        self.tokenizer = tokenizer
        self.config = config

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw the batch of ``step``."""
        generator = torch.Generator().manual_seed(step)
        rows = torch.multinomial(self.weights, self.config.batch_size, replacement=True, generator=generator)
        described = [self.descriptions[row] for row in rows.tolist()]
        texts = captions(described, self.config.caption_dropout, random.Random(step))
        return rows, self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def loader(self, steps: range, ahead: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a loader of the batches of ``steps``, in order.

        With ``ahead``, other processes prepare them in advance.
        """
        workers = min(MAX_WORKERS, (os.cpu_count() or 1) - 1) if ahead else 0
        return DataLoader(self, batch_size=None, sampler=steps, num_workers=workers)  # each item is a batch
