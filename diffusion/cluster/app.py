"""The application that Ray Serve runs, one per model.

A Serve config file names it as ``import_path: diffusion.cluster.app:build``.
"""

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.serve._private import replica as serve_replica
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from diffusion.cluster.options import EMBEDDED, SECRET_VARIABLE, ApplicationOptions
from diffusion.cluster.replica import Replica
from diffusion.cluster.router import QueuedSecondsRouter
from diffusion.cluster.scaling import by_queued_rows

# Only a replica loads a model. Ray's other processes and the command that deploys import this module as well, without torch.
if TYPE_CHECKING:
    from diffusion.families.model import ImageModel

log = logging.getLogger(__name__)


class Deployed(Replica):
    """A replica that loads its model in its own process."""

    async def __init__(self, options: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        listen_on_node_address()
        from diffusion.serving.engine import Engine

        parsed = ApplicationOptions(**options)
        secret = parsed.secret or os.environ.get(SECRET_VARIABLE, "")
        if not secret:
            raise RuntimeError(f"Set {SECRET_VARIABLE} in the environment of the replicas: they answer only who knows it.")
        model, check = await asyncio.to_thread(load, parsed)
        super().__init__(await Engine(model, parsed.engine, check).__aenter__(), secret)


def listen_on_node_address() -> None:
    """Let the replica of this process listen on its node's address.

    Serve passes pickled calls through a port that it opens after the replica was made, on all interfaces.
    """
    address: str = ray.util.get_node_ip_address()
    address = f"[{address}]" if ":" in address else address
    add_port = serve_replica.add_port_to_grpc_server
    serve_replica.add_port_to_grpc_server = lambda server, where: add_port(server, where.replace("[::]", address))  # type: ignore


def load(options: ApplicationOptions) -> tuple["ImageModel", Any]:
    """Load the model and its safety check; raises `ModelLoadError`."""
    import torch

    from diffusion.loading.embeddings import add_embeddings
    from diffusion.loading.lora_sources import find_lora_sources
    from diffusion.loading.model import load_model, plan_model
    from diffusion.loading.upscaler import load_upscaler
    from diffusion.safety import load_safety_check

    source = None if options.model == EMBEDDED else options.model
    dtype = getattr(torch, options.dtype) if options.dtype else None
    device: Any = options.device
    if source or options.models_max_bytes:
        plan = plan_model(
            source, options.device, dtype, vae=options.vae, denoiser=options.denoiser, max_bytes=options.models_max_bytes
        )
        log.info(plan.sentence)
        device = plan.placement
    upscaler = load_upscaler(options.upscaler, options.device) if options.upscaler else None
    model = load_model(source, device, dtype, options.attention, vae=options.vae, denoiser=options.denoiser)
    if options.embeddings:
        add_embeddings(model, Path(options.embeddings))
    model.offer_loras(find_lora_sources(options.loras), int(options.loras_max_gb * 1e9))
    if upscaler:
        model.offer_upscaler(upscaler)
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
    routing: dict[str, Any] = {"request_router_class": QueuedSecondsRouter, "request_routing_stats_period_s": 0.5}
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
