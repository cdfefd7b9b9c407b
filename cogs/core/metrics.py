"""Counts and times of this run, for /about and Prometheus (METRICS_PORT)."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
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
WAIT_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
LOAD_SECONDS: Final = 5.0  # between two looks at the queue and the models, which only the event loop may read


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
        self._waits = Histogram(
            "darkroom_wait_seconds", "Seconds from a request to its first step", buckets=WAIT_BUCKETS, registry=registry
        )
        self._queued = Gauge("darkroom_queued_seconds", "Seconds of drawing that unfinished pictures take", registry=registry)
        self._model_bytes = Gauge("darkroom_model_bytes", "Memory of a model, 0 if unloaded", ["model"], registry=registry)
        self._engine = engine
        self._begun: set[int] = set()  # the creations that are being drawn
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

    @property
    def resident_bytes(self) -> int | None:
        """The memory of this process, None where the system does not tell."""
        found = self.registry.get_sample_value("process_resident_memory_bytes")
        return None if found is None else int(found)

    @property
    def loop_lag(self) -> float | None:
        """How many seconds the event loop was late on average since the start, None before the first look."""
        probes = self.registry.get_sample_value("darkroom_loop_lag_seconds_count")
        return (self.registry.get_sample_value("darkroom_loop_lag_seconds_sum") or 0) / probes if probes else None

    async def watch_loop(self) -> None:
        """Measure the event loop's lag until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_PROBE_SECONDS)
            self._lag.observe(max(0.0, time.perf_counter() - began - LAG_PROBE_SECONDS))

    async def watch_load(self) -> None:
        """Measure the work in the queue and the memory of the models until cancelled."""
        known = set[str]()  # models that were in memory at any time
        while True:
            self._queued.set(self._engine.load().seconds)
            bytes_by_model = self._engine.resident_bytes
            known.update(bytes_by_model)
            for name in known:
                self._model_bytes.labels(name).set(bytes_by_model.get(name, 0))
            await asyncio.sleep(LOAD_SECONDS)

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
        has_begun = creation.state in (State.RUNNING, State.RENDERED)  # a short one may be seen first when it is drawn
        if has_begun and creation.id not in self._begun and creation.attempts <= 1:  # not where it was interrupted
            self._waits.observe(max(0.0, (datetime.now(UTC) - creation.created).total_seconds()))
        if creation.state == State.RUNNING:
            self._begun.add(creation.id)
        else:
            self._begun.discard(creation.id)
        if creation.state == State.RENDERED:
            self._pictures.inc(len(creation.pictures or ()))
