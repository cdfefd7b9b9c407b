"""The request router of Ray Serve's proxies."""

import random
from dataclasses import dataclass
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from diffusion.cluster.headers import parse_routing_key
from diffusion.serving.routing import Key, choose


@dataclass(frozen=True)
class _InFlight:
    """A request sent to ``replica``, and the last statistics known then."""

    replica: ReplicaID
    stats_version: int
    key: Key
    seconds: float


@dataclass(frozen=True)
class _Load:
    """A replica and its load, as `diffusion.serving.routing.choose` reads them."""

    replica: RunningReplica
    queued: float
    keys: frozenset[Key]


class QueuedSecondsRouter(RequestRouter):
    """Routes by queued seconds: the replicas' reports plus the requests sent since."""

    def initialize_state(self, **kwargs: Any) -> None:
        """Start with no request in flight."""
        self._rng = random.Random()
        self._in_flight: dict[str, _InFlight] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the chosen replica, then the others in case it takes no more connections."""
        if not candidate_replicas or pending_request is None:
            return [candidate_replicas]
        metadata = pending_request.metadata
        pending_request.routing_context.should_backoff = True  # otherwise Serve retries without a pause
        stats_versions = {replica.replica_id: _stats_version(replica) for replica in candidate_replicas}
        # Newer statistics include the other requests. Serve reports no end of a request that never reached its replica.
        self._in_flight = {
            name: sent for name, sent in self._in_flight.items() if stats_versions.get(sent.replica) == sent.stats_version
        }
        shape, seconds = parse_routing_key(metadata.session_id)
        key = metadata.app_name, shape
        first = choose([self._load(replica) for replica in candidate_replicas], key, self._rng).replica
        sent = _InFlight(first.replica_id, stats_versions[first.replica_id], key, seconds)
        self._in_flight[metadata.internal_request_id] = sent
        return [[first], [replica for replica in candidate_replicas if replica is not first]]

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Forget a request that has ended."""
        self._in_flight.pop(internal_request_id, None)

    def _load(self, replica: RunningReplica) -> _Load:
        stats = replica.routing_stats
        unreported = [sent for sent in self._in_flight.values() if sent.replica == replica.replica_id]
        app = replica.replica_id.deployment_id.app_name
        keys = {(app, tuple(shape)) for shape in stats.get("shapes", ())} | {sent.key for sent in unreported}
        queued = stats.get("queued", 0) + sum(sent.seconds for sent in unreported)
        return _Load(replica, queued, frozenset(keys))


def _stats_version(replica: RunningReplica) -> int:
    return int(replica.routing_stats.get("stats_version", 0))
