"""What whoever runs the bot decides."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cogs.core.sharding import parse_shards, part_of
from diffusion.errors import DarkroomError

# What /admin reload applies at once; the rest waits for a restart.
LIVE = {
    *("max_rows", "max_waiting", "max_side", "max_steps", "max_count", "max_frames", "styles_file", "daily_allowance"),
    *("data_max_gb", "data_max_days", "log_level", "models"),
}


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _http(url: str | None) -> str | None:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(
            "it is the HTTP address that `python -m diffusion.cluster serve` prints, such as http://127.0.0.1:8000"
        )
    return url


def _shards(value: Any) -> Any:
    return parse_shards(value) if isinstance(value, str) else value


Port = Annotated[int, Field(ge=0, le=65535)]
EMBEDDED = "embedded"  # what the model that comes with the code is called in MODELS
Blankable = Annotated[str | None, BeforeValidator(_empty_is_none)]


class Config(BaseSettings):
    """What the operator decides, from the environment or ``.env``; ``.env.example`` explains each."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    discord_token: SecretStr = SecretStr("")
    model_id: Blankable = None
    models: str = ""
    engine: Annotated[str | None, BeforeValidator(_empty_is_none), AfterValidator(_http)] = None
    hf_token: SecretStr = SecretStr("")
    device: Blankable = None
    dtype: Annotated[Literal["float32", "float16", "bfloat16"] | None, BeforeValidator(_empty_is_none)] = None
    compile: bool = False
    attention: Annotated[Literal["xformers"] | None, BeforeValidator(_empty_is_none)] = None
    max_rows: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_empty_is_none)] = None
    max_waiting: int = Field(100, ge=1)
    max_waiting_per_member: int = Field(5, ge=1)
    max_side: int = Field(1024, ge=64)
    max_steps: int = Field(150, ge=1, le=150)
    max_count: int = Field(4, ge=1, le=4)
    max_frames: int = Field(24, ge=2, le=24)
    styles_file: Annotated[Path | None, BeforeValidator(_empty_is_none)] = None
    daily_allowance: Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_empty_is_none)] = None
    safety_model: Blankable = None
    safety_labels: str = ""
    safety_threshold: float = Field(0.5, gt=0, le=1)
    data_dir: Annotated[Path | None, BeforeValidator(_empty_is_none)] = None
    database_url: Annotated[SecretStr | None, BeforeValidator(_empty_is_none)] = None
    pictures_url: Annotated[SecretStr | None, BeforeValidator(_empty_is_none)] = None
    shard_count: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_empty_is_none)] = None
    shard_ids: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_shards)] = ()
    data_max_gb: float = Field(10, gt=0)
    data_max_days: float = Field(30, gt=0)
    grace_seconds: float = Field(30, ge=0)
    preview_port: int = Field(8765, ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    log_prompts: bool = False
    metrics_port: Annotated[Port | None, BeforeValidator(_empty_is_none)] = None
    metrics_host: str = "127.0.0.1"

    @property
    def offered(self) -> tuple[str, ...]:
        """The models that may draw, the one to begin with first."""
        return tuple(filter(None, map(str.strip, self.models.split(",")))) or (self.model_id or EMBEDDED,)

    @property
    def part(self) -> str:
        """Which part of Discord this process serves, empty for all; raises `DarkroomError` where the settings contradict."""
        part = part_of(self.shard_ids, self.shard_count)
        if part and not (self.database_url and self.database_url.get_secret_value().startswith("postgresql")):
            raise DarkroomError("Several processes need a database in common: set DATABASE_URL to one of PostgreSQL.")
        return part


def told(error: ValidationError) -> str:
    """Say which settings are wrong, a line each."""
    return "\n".join(f"The setting {str(problem['loc'][0]).upper()} is wrong: {problem['msg']}" for problem in error.errors())
