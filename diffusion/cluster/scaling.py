"""How many replicas the queue is worth. No Ray: Serve's controller calls it with what the replicas told."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext


def by_queued_rows(context: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
    """Want one replica for each ``target_ongoing_requests`` rows that are queued, within the bounds; keep no state."""
    told = (context.aggregated_metrics or {}).get("queued", {})
    if not told:  # new replicas have not told yet
        return context.target_num_replicas, {}
    config: Any = context.config
    wanted = math.ceil(sum(told.values()) / config.target_ongoing_requests)
    return min(max(wanted, context.capacity_adjusted_min_replicas), context.capacity_adjusted_max_replicas), {}
