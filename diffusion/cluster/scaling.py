"""The autoscaling policy. Ray Serve's controller calls it; it imports no Ray."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext


def by_queued_rows(context: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
    """Return the number of replicas for the queued rows, and an empty state.

    That is one replica for each ``target_ongoing_requests`` rows, within the bounds.
    """
    queued = (context.aggregated_metrics or {}).get("queued", {})
    if not queued:  # the replicas have not reported yet
        return context.target_num_replicas, {}
    config: Any = context.config
    wanted = math.ceil(sum(queued.values()) / config.target_ongoing_requests)
    return min(max(wanted, context.capacity_adjusted_min_replicas), context.capacity_adjusted_max_replicas), {}
