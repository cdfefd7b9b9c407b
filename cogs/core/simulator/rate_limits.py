"""Discord's rate limits, as it states them: by headers of every answer, and by 429 where a bot is too early nevertheless."""

import re
import time
from typing import Final

MESSAGES: Final = re.compile(r"(?<=/messages)/\d+$")  # all of a channel share a bucket


class RateLimits:
    """``most`` changes in ``seconds`` of each kind in each channel.

    Every ``unforeseen``-th request is refused without a reason that its sender could know.
    """

    def __init__(self, most: int = 5, seconds: float = 5.0, unforeseen: int = 0) -> None:
        self.most = most
        self.seconds = seconds
        self.unforeseen = unforeseen
        self.taken = 0
        self.refused = 0
        self._buckets: dict[str, tuple[float, int]] = {}

    def take(self, method: str, path: str) -> tuple[dict[str, str], float | None]:
        """Count a request; return headers, and the seconds that it came too early."""
        bucket = f"{method} {MESSAGES.sub('', path)}"
        now = time.monotonic()
        ends, left = self._buckets.get(bucket, (0.0, 0))
        if now >= ends:
            ends, left = now + self.seconds, self.most
        self.taken += 1
        early = ends - now if not left else 0.2 if self.unforeseen and not self.taken % self.unforeseen else None
        self._buckets[bucket] = ends, left if early else left - 1
        headers = {
            "Via": "1.1 google",
            "X-RateLimit-Bucket": bucket,
            "X-RateLimit-Limit": str(self.most),
            "X-RateLimit-Remaining": str(self._buckets[bucket][1]),
            "X-RateLimit-Reset": f"{time.time() + ends - now:.3f}",
            "X-RateLimit-Reset-After": f"{ends - now:.3f}",
        }
        if early:
            self.refused += 1
            headers |= {"Retry-After": f"{early:.3f}", "X-RateLimit-Scope": "shared"}
        return headers, early
