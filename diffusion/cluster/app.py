"""The application that Ray Serve runs, one per model.

A Serve config file names it as ``import_path: diffusion.cluster.app:build``.
"""

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
from diffusion.families.model import ImageModel
from diffusion.loading.model import load_model
from diffusion.request import Limits
from diffusion.safety import load_safety_check
from diffusion.serving.engine import Engine

EMBEDDED = "embedded"


class ApplicationOptions(BaseModel):
    """The arguments of the application in a Serve config file.

    ``model`` is a folder, hub id or file, or ``embedded``. Each replica takes ``gpus`` and ``cpus``, which may be fractions.
    With ``max_replicas``, Serve scales from ``replicas`` up to that number: one replica per ``queued_rows`` queued rows of
    network calls. An image takes as many rows as steps, twice as many with guidance. A replica that stops has
    ``grace_seconds`` to finish its requests. Serve replaces the replicas one by one when ``version`` changes. The other
    options are those of the bot; they apply on the replicas.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = EMBEDDED
    replicas: int = Field(1, ge=1)
    max_replicas: int | None = Field(None, ge=1)
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

    @field_validator("max_replicas")
    @classmethod
    def _at_least_replicas(cls, maximum: int | None, info: ValidationInfo) -> int | None:
        if maximum is not None and maximum < info.data.get("replicas", 1):
            raise ValueError("it must be at least `replicas`")
        return maximum

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


class Deployed(Replica):
    """A replica that loads its model in its own process."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        parsed = ApplicationOptions(**options)
        model, check = await asyncio.to_thread(load, parsed)
        super().__init__(await Engine(model, parsed.engine, check).__aenter__())


def load(options: ApplicationOptions) -> tuple[ImageModel, Any]:
    """Load the model and its safety check; raises `ModelLoadError`."""
    source = None if options.model == EMBEDDED else options.model
    dtype = getattr(torch, options.dtype) if options.dtype else None
    model = load_model(source, options.device, dtype, options.attention)
    unsafe = [label.strip() for label in options.safety_labels.split(",") if label.strip()]
    return model, load_safety_check(source, options.safety_model, unsafe, options.safety_threshold, options.device)


def build(options: ApplicationOptions) -> serve.Application:
    """Build the application from the arguments of a Serve config file."""
    return build_application(options)


def build_application(options: ApplicationOptions, kind: type[Replica] = Deployed) -> serve.Application:
    """Build the application; Serve calls ``kind`` with the options as a dictionary."""
    if options.max_replicas is None:
        scaling: dict[str, Any] = {"num_replicas": options.replicas}
    else:
        scaling = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=options.replicas,
                max_replicas=options.max_replicas,
                target_ongoing_requests=options.queued_rows,
                policy=AutoscalingPolicy(policy_function=by_queued_rows),
            )
        }
    routing: dict[str, Any] = {"request_router_class": QueuedRowsRouter, "request_routing_stats_period_s": 0.5}
    deployment: Any = serve.deployment(
        kind,
        name="replica",
        **scaling,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=10 * options.max_waiting,  # the engine has its own queue and limit
        request_router_config=RequestRouterConfig(**routing),
        graceful_shutdown_timeout_s=options.grace_seconds,  # a replica finishes its requests before it stops
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
    )
    application: serve.Application = deployment.bind(options.model_dump(mode="json"))
    return application
