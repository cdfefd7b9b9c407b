"""Requests to a cluster of engines, and what its replicas say."""

import asyncio

from diffusion.request import ImageRequest


def build_request(seed=0, **settings):
    return ImageRequest("a red fox", **{"width": 32, "height": 32, "steps": 20, "sampler": "ddim", "seed": seed} | settings)


async def list_replicas(machines, name="tiny"):
    return await asyncio.to_thread(machines.ask, "replicas", name=name)


async def count_queued(machines, name="tiny"):
    return sum(replica["queued"] for replica in await list_replicas(machines, name))


def are_alike(ours, theirs):
    """Whether pictures differ by no more than rounding does, as batches of other sizes are computed in another order."""
    return len(ours) == len(theirs) and all(
        one.size == other.size and max(abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True)) <= 1
        for one, other in zip(ours, theirs, strict=True)
    )
