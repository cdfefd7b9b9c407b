"""Notice a wrong clock before anything is deleted because of its age."""

import logging
import time
from typing import Final

log = logging.getLogger(__name__)
MAX_JUMP_SECONDS: Final = 300.0  # more than corrections by NTP
MAX_PAUSE_SECONDS: Final = 3 * 86_400.0  # a bot that was stopped for longer looks like a clock that is ahead
TRUST_AFTER_SECONDS: Final = 86_400.0


class ClockGuard:
    """Compares the clock with the monotonic one, and at first with the newest data.

    After a jump, the clock has to run evenly for `TRUST_AFTER_SECONDS` until it is trusted again.
    """

    def __init__(self) -> None:
        self._offset: float | None = None  # between the two clocks
        self._trusted_from = 0.0  # by the monotonic clock

    def is_trusted(self, newest: float | None) -> bool:
        """Return whether data may be deleted by age.

        ``newest`` is when the newest data was written, in seconds since 1970; None without any.
        """
        now = time.time()
        offset = now - time.monotonic()
        if self._offset is None:
            is_even = newest is None or -MAX_JUMP_SECONDS <= now - newest <= MAX_PAUSE_SECONDS
        else:
            is_even = abs(offset - self._offset) <= MAX_JUMP_SECONDS
        self._offset = offset
        if not is_even:
            self._trusted_from = time.monotonic() + TRUST_AFTER_SECONDS
            log.warning("the clock has jumped, or the bot was stopped for long: nothing is deleted by age for a day")
        return time.monotonic() >= self._trusted_from
