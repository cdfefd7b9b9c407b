"""The recipe of a training run, read from a TOML file."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

DEFAULT = Path(__file__).with_name("config.toml")


@dataclass(frozen=True)
class DataConfig:
    """The pictures of a run and the number of compositions made of them."""

    styles: tuple[str, ...]
    without_groups: tuple[str, ...]
    without_names: tuple[str, ...]
    style_weights: dict[str, float]
    group_weights: dict[str, float]
    synthetic_share: float
    backgrounds: int
    recolours: int
    pairs: int
    seed: int

    @property
    def default_style(self) -> "DataConfig":
        """The same with the first style only, the one for prompts without a style."""
        return replace(self, styles=self.styles[:1])


@dataclass(frozen=True)
class TokenizerConfig:
    """Size of the byte-level BPE vocabulary, special tokens included."""

    entries: int


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the AutoencoderKL and how long it trains."""

    latent_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    steps: int
    batch_size: int
    learning_rate: float
    kl_weight: float


@dataclass(frozen=True)
class ClassifierConfig:
    """Shape and training of the classifier of noisy latents.

    ``held_out`` is the share of subjects that it is tested on.
    """

    block_out_channels: tuple[int, ...]
    dropout: float
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    held_out: float


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of the UNet and its text encoder, and the settings of their optimiser."""

    block_out_channels: tuple[int, ...]
    text_width: int
    text_layers: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    ema_decay: float
    caption_dropout: float


@dataclass(frozen=True)
class DistilConfig:
    """The jumps of the student and the settings of its training.

    ``states`` are the steps of the teacher at which the student calls its network, from 0, which is noise. ``between`` is the
    weight of the distance at the states between noise and clean latents.
    """

    states: tuple[int, ...]
    between: float
    batch_size: int
    learning_rate: float
    warmup_steps: int
    ema_decay: float


@dataclass(frozen=True)
class RecogniserConfig:
    """Shape and training of the network that judges generated pictures."""

    hidden_sizes: tuple[int, ...]
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class TrainingConfig:
    """One table of the file for each stage."""

    data: DataConfig
    tokenizer: TokenizerConfig
    autoencoder: AutoencoderConfig
    classifier: ClassifierConfig
    denoiser: DenoiserConfig
    distil: DistilConfig
    recogniser: RecogniserConfig

    @classmethod
    def read(cls, path: Path = DEFAULT) -> "TrainingConfig":
        """Read ``path``; raises ``TypeError`` naming the key that is missing or unknown."""
        tables = tomllib.loads(path.read_text())
        frozen: dict[str, dict[str, Any]] = {
            name: {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
            for name, table in tables.items()
        }
        return cls(
            data=DataConfig(**frozen["data"]),
            tokenizer=TokenizerConfig(**frozen["tokenizer"]),
            autoencoder=AutoencoderConfig(**frozen["autoencoder"]),
            classifier=ClassifierConfig(**frozen["classifier"]),
            denoiser=DenoiserConfig(**frozen["denoiser"]),
            distil=DistilConfig(**frozen["distil"]),
            recogniser=RecogniserConfig(**frozen["recogniser"]),
        )
