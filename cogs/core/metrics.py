"""Counts and times of this run, for /about and Prometheus (METRICS_PORT)."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from cogs.core.storage.creations import Creation, CreationStore, State
from diffusion.errors import DarkroomError
from diffusion.serving.interface import ImageEngine
from diffusion.serving.latency import Step

log = logging.getLogger(__name__)
LAG_PROBE_SECONDS: Final = 0.25  # a sleep of this length; how much later it ends is the event loop's lag
ROW_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """Watches an engine and the creations since ``began``, in seconds since 1970."""

    def __init__(self, engine: ImageEngine, creation_store: CreationStore) -> None:
        self.began = time.time()
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        self._requests = Counter("darkroom_requests", "Requests that reached a state", ["state"], registry=registry)
        self._pictures = Counter("darkroom_pictures", "Pictures finished", registry=registry)
        self._steps = Histogram("darkroom_step_seconds", "Seconds a step of the engine takes", registry=registry)
        self._rows = Histogram("darkroom_step_rows", "Rows of the network in a step", buckets=ROW_BUCKETS, registry=registry)
        self._lag = Histogram(
            "darkroom_loop_lag_seconds", "How much the event loop is late", buckets=LAG_BUCKETS, registry=registry
        )
        unfinished = Gauge("darkroom_unfinished_pictures", "Pictures that wait or are being made", registry=registry)
        unfinished.set_function(lambda: engine.unfinished)
        hung = Gauge("darkroom_hung_threads", "Threads left behind because a step hangs in them", registry=registry)
        hung.set_function(lambda: engine.hung_threads)
        for state in State:
            self._requests.labels(state)  # shown as 0 from the start
        engine.watchers.append(self._count_step)
        creation_store.watchers.append(self._count_state)

    @property
    def pictures(self) -> int:
        """The number of pictures finished since the start."""
        return int(self.registry.get_sample_value("darkroom_pictures_total") or 0)

    @property
    def seconds_per_picture(self) -> float | None:
        """The engine's working seconds per finished picture, None before the first."""
        working_seconds = self.registry.get_sample_value("darkroom_step_seconds_sum") or 0
        return working_seconds / self.pictures if self.pictures else None

    async def watch_loop(self) -> None:
        """Measure the event loop's lag until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_PROBE_SECONDS)
            self._lag.observe(max(0.0, time.perf_counter() - began - LAG_PROBE_SECONDS))

    @contextlib.contextmanager
    def serve(self, host: str, port: int) -> Iterator[int]:
        """Serve the metrics over HTTP in another thread and yield the port.

        Raises `DarkroomError`.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise DarkroomError(
                f"The metrics cannot be served on {host}:{port}: {error}. Set METRICS_PORT to another port."
            ) from error
        log.info("metrics on http://%s:%d/metrics", host, server.server_port)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _count_step(self, step: Step) -> None:
        self._steps.observe(step.seconds)
        self._rows.observe(step.rows)

    def _count_state(self, creation: Creation) -> None:
        self._requests.labels(creation.state).inc()
        if creation.state == State.RENDERED:
            self._pictures.inc(len(creation.pictures or ()))
