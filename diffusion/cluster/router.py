"""Which replica a request goes to, where Serve asks: it hands each request to the router of the proxy that took it."""

import random
from dataclasses import dataclass
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from diffusion.cluster.schema import read_key
from diffusion.serving.routing import Key, choose


@dataclass(frozen=True)
class _InFlight:
    """A request on its way: to which replica, when the figures of that one were those of ``stats_version``."""

    replica: ReplicaID
    stats_version: int
    key: Key
    rows: int


@dataclass(frozen=True)
class _Load:
    """A replica as `diffusion.serving.routing` sees it."""

    replica: RunningReplica
    queued: float
    keys: frozenset[Key]


class QueuedRowsRouter(RequestRouter):
    """Routes by queued rows: those that replicas tell Serve's controller, and those sent since they were told."""

    def initialize_state(self, **kwargs: Any) -> None:
        """Know of nothing sent yet."""
        self._chance = random.Random()
        self._in_flight: dict[str, _InFlight] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Choose one, and name the others for where it takes no more connections."""
        if not candidate_replicas or pending_request is None:
            return [candidate_replicas]
        metadata = pending_request.metadata
        pending_request.routing_context.should_backoff = True  # Serve would ask again at once
        stats_versions = {replica.replica_id: _stats_version(replica) for replica in candidate_replicas}
        # The rest is in the figures by now, or ended before it had a replica, of which Serve does not tell.
        self._in_flight = {
            name: sent for name, sent in self._in_flight.items() if stats_versions.get(sent.replica) == sent.stats_version
        }
        shape, rows = read_key(metadata.session_id)
        key = metadata.app_name, shape
        first = choose([self._load(replica) for replica in candidate_replicas], key, self._chance).replica
        self._in_flight[metadata.internal_request_id] = _InFlight(first.replica_id, stats_versions[first.replica_id], key, rows)
        return [[first], [replica for replica in candidate_replicas if replica is not first]]

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Forget what has ended."""
        self._in_flight.pop(internal_request_id, None)

    def _load(self, replica: RunningReplica) -> _Load:
        stats = replica.routing_stats
        unseen = [sent for sent in self._in_flight.values() if sent.replica == replica.replica_id]
        app = replica.replica_id.deployment_id.app_name
        keys = {(app, tuple(shape)) for shape in stats.get("shapes", ())} | {sent.key for sent in unseen}
        return _Load(replica, stats.get("queued", 0) + sum(sent.rows for sent in unseen), frozenset(keys))


def _stats_version(replica: RunningReplica) -> int:
    return replica.routing_stats.get("stats_version", 0)
