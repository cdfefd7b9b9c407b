"""The configuration that the operator of the bot sets."""

import tomllib
from pathlib import Path, PurePath
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cogs.core.sharding import format_shards, parse_shards
from diffusion.config import Compile
from diffusion.errors import DarkroomError
from diffusion.redaction import secrets_of

EMBEDDED_MODEL: Final = "embedded"  # in MODELS, the name of the model that comes with the code
RELOADABLE: Final = frozenset(  # what /admin reload applies; every other setting waits for a restart
    {
        "max_rows",
        "max_waiting",
        "max_waiting_seconds",
        "max_waiting_per_member",
        "max_queue_share",
        "max_request_seconds",
        "max_silent_wait_seconds",
        "max_side",
        "max_steps",
        "max_count",
        "default_count",
        "max_frames",
        "styles_file",
        "daily_allowance",
        "data_max_gb",
        "data_max_days",
        "requests_max_days",
        "server_data_days",
        "log_level",
        "models",
    }
)
LOOPBACK: Final = "127.0.0.1"
MIN_TOKEN_LENGTH: Final = 16  # characters
T = TypeVar("T")
Tables = dict[str, dict[str, Any]]  # settings by the name of a model


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _parse_shard_ids(value: Any) -> Any:
    return parse_shards(value) if isinstance(value, str) else value


def _parse_models(value: Any) -> Any:
    """Return the settings of each model by its name, from names with commas or from a TOML file of tables."""
    if not isinstance(value, str):
        return value
    if not value.strip().lower().endswith(".toml"):
        return {name: {} for name in filter(None, map(str.strip, value.split(",")))}
    try:
        tables = tomllib.loads(Path(value.strip()).read_text("utf-8"))
    except (OSError, ValueError) as error:  # no such file, no UTF-8, no TOML
        raise ValueError(f"{value.strip()} cannot be read: {error}") from error
    if plain := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise ValueError(f'{value.strip()}: {plain[0]} is no table. Name each model in brackets and quotes: ["{plain[0]}"]')
    return tables


def model_name(source: str) -> str:
    """Return the name of a model as members read it.

    A hub id stays as it is; a folder or file loses its path.
    """
    path = PurePath(source)
    if path.suffix == ".safetensors":
        return path.stem
    return path.name if path.is_absolute() or len(path.parts) > 2 else source


def _validate_models(models: Tables) -> Tables:
    sources: dict[str, str] = {}
    for source in models:
        if (other := sources.setdefault(model_name(source), source)) != source:
            name = model_name(source)
            raise ValueError(f"members would read the name {name} for {other} and for {source}. Rename one of them")
    return models


def _validate_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value().strip()
    if text.startswith("Bot "):
        raise ValueError("leave out the word “Bot” before the token")
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("it contains a line break, a space or another character that no token has. Copy the token again")
    return SecretStr(text)


def _validate_dashboard_token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value().strip()
    if text and len(text) < MIN_TOKEN_LENGTH:
        raise ValueError(f"it is too short. Take at least {MIN_TOKEN_LENGTH} characters, or leave it empty for a random one")
    return SecretStr(text)


def _validate_engine(url: str | None) -> str | None:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(
            "it must be the HTTP address that `python -m diffusion.cluster serve` prints, such as http://127.0.0.1:8000"
        )
    return url


def _parse_compile(value: Any) -> Any:
    """Return true, false or "auto" from a text."""
    text = str(value).strip().lower()
    if text in ("", "auto"):
        return "auto"
    if text not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        raise ValueError("write auto, true or false")
    return text in ("true", "1", "yes", "on")


Optional = Annotated[T | None, BeforeValidator(_empty_is_none)]
PositiveInt = Annotated[int, Field(ge=1)]
NaturalNumber = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
# An empty address would be all addresses of the machine.
Host = Annotated[str, BeforeValidator(lambda value: value or LOOPBACK)]


class Config(BaseSettings):
    """The operator's settings, read from the environment or ``.env``.

    ``.env.example`` explains each of them.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    discord_token: Annotated[SecretStr, AfterValidator(_validate_token)] = SecretStr("")
    model_id: Optional[str] = None
    models: Annotated[
        dict[str, dict[str, Any]], NoDecode, BeforeValidator(_parse_models), AfterValidator(_validate_models)
    ] = {}
    models_max_gb: Optional[Annotated[float, Field(gt=0)]] = None
    engine: Annotated[str | None, BeforeValidator(_empty_is_none), AfterValidator(_validate_engine)] = None
    engine_secret: SecretStr = SecretStr("")
    hf_token: SecretStr = SecretStr("")
    device: Optional[str] = None
    dtype: Optional[Literal["float32", "float16", "bfloat16"]] = None
    compile: Annotated[Compile, BeforeValidator(_parse_compile)] = "auto"
    attention: Optional[Literal["xformers"]] = None
    vae: Optional[str] = None
    denoiser: Optional[str] = None
    embeddings: Optional[Path] = None
    loras: str = ""
    loras_max_gb: float = Field(1, gt=0)
    upscaler: Optional[str] = None
    max_rows: Optional[PositiveInt] = None
    max_waiting: PositiveInt = 100
    max_waiting_seconds: float = Field(3600, gt=0)
    max_waiting_per_member: PositiveInt = 5
    max_queue_share: float = Field(0.25, gt=0, le=1)
    max_request_seconds: float = Field(600, gt=0)
    max_silent_wait_seconds: float = Field(300, gt=0)
    max_side: int = Field(1024, ge=64)
    max_steps: int = Field(150, ge=1, le=150)
    max_count: int = Field(4, ge=1, le=4)
    default_count: Optional[Annotated[int, Field(ge=1, le=4)]] = None
    max_frames: int = Field(24, ge=2, le=24)
    styles_file: Optional[Path] = None
    daily_allowance: Optional[NaturalNumber] = None
    safety_model: Optional[str] = None
    safety_labels: str = ""
    safety_threshold: float = Field(0.5, gt=0, le=1)
    data_dir: Optional[Path] = None
    database_url: Optional[SecretStr] = None
    pictures_url: Optional[SecretStr] = None
    shard_count: Optional[PositiveInt] = None
    shard_ids: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_parse_shard_ids)] = ()
    data_max_gb: float = Field(10, gt=0)
    data_max_days: float = Field(30, gt=0)
    requests_max_days: Optional[Annotated[float, Field(gt=0)]] = None
    server_data_days: Optional[Annotated[float, Field(gt=0)]] = 30
    tips: bool = True
    reactions: bool = True
    describe_model: Optional[str] = None
    grace_seconds: float = Field(30, ge=0)
    simulator_port: Port = 8765
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    log_prompts: bool = False
    metrics_port: Optional[Port] = None
    metrics_host: Host = LOOPBACK
    dashboard_port: Optional[Port] = None
    dashboard_host: Host = LOOPBACK
    dashboard_names: str = ""
    dashboard_token: Annotated[SecretStr, AfterValidator(_validate_dashboard_token)] = SecretStr("")

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that the operator offers; the bot starts with the first."""
        return tuple(self.models) or (self.model_id or EMBEDDED_MODEL,)

    @property
    def process_name(self) -> str:
        """The name of this process: its shards, or empty if it serves all of Discord.

        Raises `DarkroomError` where settings contradict each other.
        """
        name = format_shards(self.shard_ids, self.shard_count)
        if name and not (self.database_url and self.database_url.get_secret_value().startswith("postgresql")):
            raise DarkroomError("Several processes need one common database. Set DATABASE_URL to a PostgreSQL database.")
        return name

    @property
    def data_max_bytes(self) -> int:
        """The most bytes of images that the bot stores."""
        return int(self.data_max_gb * 1e9)

    @property
    def models_max_bytes(self) -> int | None:
        """The most bytes of all loaded models together, None for what the device has."""
        return int(self.models_max_gb * 1e9) if self.models_max_gb else None

    @property
    def loras_max_bytes(self) -> int:
        """The most bytes of LoRAs in the networks."""
        return int(self.loras_max_gb * 1e9)

    @property
    def dashboard_host_names(self) -> list[str]:
        """The names of machines under which operators open the dashboard."""
        return [name for name in map(str.strip, self.dashboard_names.split(",")) if name]

    @property
    def secrets(self) -> list[str]:
        """All that must not be shown: secret settings, and what else ``.env`` and the environment hold."""
        values = (getattr(self, name) for name in type(self).model_fields)
        own = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return [*own, self.engine or "", *secrets_of(), *secrets_of(dotenv_values(".env"))]

    def database_location(self, folder: Path) -> str:
        """Return the URL of the database: SQLite in ``folder`` unless set otherwise."""
        return (
            self.database_url.get_secret_value() if self.database_url else f"sqlite+aiosqlite:///{folder / 'darkroom.sqlite'}"
        )

    def pictures_location(self, folder: Path) -> str:
        """Return the URL or path of the stored images.

        They are in ``folder`` unless set otherwise.
        """
        return self.pictures_url.get_secret_value() if self.pictures_url else str(folder / "pictures")

    def exclusive_places(self, folder: Path) -> list[Path]:
        """Return the files and folders on this machine that no second bot may use."""
        database = self.database_location(folder).removeprefix("sqlite+aiosqlite:///")
        used = [Path(place) for place in (database, self.pictures_location(folder)) if "://" not in place]
        return sorted({folder / "darkroom" if place.parent == folder else place for place in used})

    def for_simulator(self) -> Self:
        """Return a copy that shares neither shards nor data with the bot on Discord.

        Otherwise the simulator would continue the unfinished requests of its members.
        """
        return self.model_copy(update={"shard_count": None, "shard_ids": (), "database_url": None, "pictures_url": None})


def format_validation_error(error: ValidationError) -> str:
    """Return one line for each setting that is wrong."""
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]).upper()
        lines.append(f"The setting {name} is wrong: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
