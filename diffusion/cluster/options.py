"""The options of an application. Neither tensors nor Ray."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from diffusion.config import Compile, EngineConfig
from diffusion.request import Limits

EMBEDDED: Final = "embedded"
SECRET_VARIABLE: Final = "ENGINE_SECRET"  # in the environment of bots and replicas


class ApplicationOptions(BaseModel):
    """The arguments of the application in a Serve config file.

    ``model`` is a folder, hub id or file, or ``embedded``. Each replica takes ``gpus`` and ``cpus``, which may be fractions.
    With ``max_replicas``, Serve scales from ``replicas`` up to that number: one replica per ``queued_rows`` queued rows of
    network calls. An image takes as many rows as steps, twice as many with guidance. A replica that stops has
    ``grace_seconds`` to finish its requests. Serve replaces the replicas one by one when ``version`` changes. Replicas
    answer only who sends ``secret``, by default the variable ENGINE_SECRET of their environment. The other options are those
    of the bot; they apply on the replicas.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = EMBEDDED
    models_max_gb: float | None = Field(None, gt=0)
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1)
    queued_rows: int = Field(2000, ge=1)
    gpus: float = Field(0, ge=0)
    cpus: float = Field(1, ge=0)
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    attention: Literal["xformers"] | None = None
    vae: str | None = None
    denoiser: str | None = None
    embeddings: str = ""
    loras: str = ""
    loras_max_gb: float = Field(1, gt=0)
    upscaler: str = ""
    compile: Compile = "auto"
    max_rows: int | None = Field(None, ge=1)
    max_waiting: int = Field(100, ge=1)
    max_side: int = Field(1024, ge=64)
    max_steps: int = Field(150, ge=1)
    max_count: int = Field(4, ge=1)
    max_frames: int = Field(24, ge=2)
    preview_seconds: float = Field(0.5, ge=0)
    safety_model: str | None = None
    safety_labels: str = ""
    safety_threshold: float = Field(0.5, gt=0, le=1)
    grace_seconds: float = Field(900, ge=0)
    version: str = ""
    secret: str = Field("", repr=False)

    @field_validator("max_replicas")
    @classmethod
    def _at_least_replicas(cls, maximum: int | None, info: ValidationInfo) -> int | None:
        if maximum is not None and maximum < info.data.get("replicas", 1):
            raise ValueError("it must be at least `replicas`")
        return maximum

    @property
    def models_max_bytes(self) -> int | None:
        """The most bytes that a replica's model may take, None for what its device has."""
        return int(self.models_max_gb * 1e9) if self.models_max_gb else None

    @property
    def engine(self) -> EngineConfig:
        """The configuration of each replica's engine."""
        limits = Limits(self.max_side, self.max_steps, self.max_count, self.max_frames)
        return EngineConfig(
            max_rows=self.max_rows,
            max_waiting=self.max_waiting,
            preview_seconds=self.preview_seconds,
            compile=self.compile,
            limits=limits,
        )
