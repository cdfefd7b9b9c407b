"""The application that Serve runs, one for each model: ``import_path: diffusion.cluster.app:build``."""

import asyncio
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from diffusion.cluster.replica import Replica
from diffusion.cluster.router import QueuedRowsRouter
from diffusion.cluster.scaling import by_queued_rows
from diffusion.config import EngineConfig
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.request import Limits
from diffusion.safety import load_safety_check
from diffusion.serving.engine import Engine

EMBEDDED = "embedded"


class Options(BaseModel):
    """What is served, and on what; each is an argument of the application in a Serve config file.

    ``model`` is a folder, hub id or file as the bot takes it, ``embedded`` the embedded one. Each of ``replicas`` takes so many
    ``gpus`` and ``cpus``, or shares of one. With ``most_replicas`` given there are up to so many, one for each ``queued_rows``
    that wait in all: rows of network calls, of which a picture takes its steps, twice over with guidance. A replica that is to
    end has ``grace_seconds`` for what it holds; with another ``version`` all are exchanged, one by one. The other options are
    those of the bot, and count where the pictures are made.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = EMBEDDED
    replicas: int = Field(1, ge=1)
    most_replicas: int | None = Field(None, ge=1)
    queued_rows: int = Field(2000, ge=1)
    gpus: float = Field(0, ge=0)
    cpus: float = Field(1, ge=0)
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    attention: Literal["xformers"] | None = None
    compile: bool = False
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

    @field_validator("most_replicas")
    @classmethod
    def _no_fewer(cls, most: int | None, info: ValidationInfo) -> int | None:
        if most is not None and most < info.data.get("replicas", 1):
            raise ValueError("it is less than `replicas`")
        return most

    @property
    def engine(self) -> EngineConfig:
        """How much each replica takes on."""
        limits = Limits(self.max_side, self.max_steps, self.max_count, self.max_frames)
        return EngineConfig(self.max_rows, self.max_waiting, self.preview_seconds, compile=self.compile, limits=limits)


class Deployed(Replica):
    """A replica that loads its own model."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        known = Options(**options)
        model, check = await asyncio.to_thread(load, known)
        super().__init__(await Engine(model, known.engine, check).__aenter__())


def load(options: Options) -> tuple[StableDiffusion, Any]:
    """Load the model, and what checks its pictures; raises `ModelLoadError`."""
    source = None if options.model == EMBEDDED else options.model
    dtype = getattr(torch, options.dtype) if options.dtype else None
    model = StableDiffusion.from_pretrained(source, options.device, dtype, options.attention)
    unsafe = [label.strip() for label in options.safety_labels.split(",") if label.strip()]
    return model, load_safety_check(source, options.safety_model, unsafe, options.safety_threshold, options.device)


def build(options: Options) -> serve.Application:
    """Make the application; Serve gives the arguments of a config file to a function of one parameter."""
    return application(options)


def application(options: Options, kind: type[Replica] = Deployed) -> serve.Application:
    """Make the application; ``kind`` is called with the options as JSON."""
    if options.most_replicas is None:
        size: dict[str, Any] = {"num_replicas": options.replicas}
    else:
        size = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=options.replicas,
                max_replicas=options.most_replicas,
                target_ongoing_requests=options.queued_rows,
                policy=AutoscalingPolicy(policy_function=by_queued_rows),
            )
        }
    routing: dict[str, Any] = {"request_router_class": QueuedRowsRouter, "request_routing_stats_period_s": 0.5}
    deployment: Any = serve.deployment(
        kind,
        name="replica",
        **size,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=10 * options.max_waiting,  # the engine queues, and refuses what is too much
        request_router_config=RequestRouterConfig(**routing),
        graceful_shutdown_timeout_s=options.grace_seconds,  # what was begun is finished before a replica ends
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
    )
    return deployment.bind(options.model_dump(mode="json"))
