"""Which replica a request goes to, where Serve asks: it hands each request to the router of the proxy that took it."""

import random
from dataclasses import dataclass
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from diffusion.cluster.schema import read_key
from diffusion.serving.routing import Key, choose


@dataclass(frozen=True)
class _Sent:
    """A request on its way: to which replica, when the figures of that one were those of ``look``."""

    replica: ReplicaID
    look: int
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
        self._sent: dict[str, _Sent] = {}

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Choose one, and name the others for where it takes no more connections."""
        if not candidate_replicas or pending_request is None:
            return [candidate_replicas]
        metadata = pending_request.metadata
        pending_request.routing_context.should_backoff = True  # Serve would ask again at once
        looks = {replica.replica_id: _look(replica) for replica in candidate_replicas}
        # The rest is in the figures by now, or ended before it had a replica, of which Serve does not tell.
        self._sent = {name: sent for name, sent in self._sent.items() if looks.get(sent.replica) == sent.look}
        shape, rows = read_key(metadata.session_id)
        key = metadata.app_name, shape
        first = choose([self._load(replica) for replica in candidate_replicas], key, self._chance).replica
        self._sent[metadata.internal_request_id] = _Sent(first.replica_id, looks[first.replica_id], key, rows)
        return [[first], [replica for replica in candidate_replicas if replica is not first]]

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Forget what has ended."""
        self._sent.pop(internal_request_id, None)

    def _load(self, replica: RunningReplica) -> _Load:
        stats = replica.routing_stats
        unseen = [sent for sent in self._sent.values() if sent.replica == replica.replica_id]
        app = replica.replica_id.deployment_id.app_name
        keys = {(app, tuple(shape)) for shape in stats.get("shapes", ())} | {sent.key for sent in unseen}
        return _Load(replica, stats.get("queued", 0) + sum(sent.rows for sent in unseen), frozenset(keys))


def _look(replica: RunningReplica) -> int:
    return replica.routing_stats.get("look", 0)
