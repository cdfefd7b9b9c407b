"""Discord's rate limits, as it tells them: by headers with every answer, and by 429 where a bot is too early nevertheless."""

import re
import time

MESSAGES = re.compile(r"(?<=/messages)/\d+$")  # all of a channel share a bucket


class RateLimits:
    """``most`` changes in ``seconds`` of each kind in each channel; and every ``unforeseen``th is refused out of the blue."""

    def __init__(self, most=5, seconds=5.0, unforeseen=0):
        self.most, self.seconds, self.unforeseen = most, seconds, unforeseen
        self.taken = self.refused = 0
        self._buckets = {}

    def take(self, method, path):
        """Count a request: the headers of its answer, and the seconds after which to try again where it is refused."""
        bucket, now = f"{method} {MESSAGES.sub('', path)}", time.monotonic()
        ends, left = self._buckets.get(bucket, (0, 0))
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
