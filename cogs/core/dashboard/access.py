"""Who may see the dashboard: under which names it answers, the token, and the sessions of those who gave it."""

import contextlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

SESSION_SECONDS: Final = 12 * 3600
MAX_SESSIONS: Final = 100  # the oldest ends when there are more


class Access:
    """Decides by a ``token``. The dashboard answers under addresses, ``localhost`` and the ``names`` that the operator sets."""

    def __init__(self, token: str, names: Iterable[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token.encode()
        self._names = {"localhost", *(name.casefold() for name in names)}
        self._clock = clock
        self._sessions: dict[str, float] = {}  # when each ends

    def is_own_host(self, hosts: Sequence[str]) -> bool:
        """Return whether a request with these Host headers was meant for the dashboard.

        A page of another site can let its name point here (DNS rebinding), but it cannot take an address or a name of ours.
        """
        name = _name_in(hosts[0]) if len(hosts) == 1 else ""
        return name in self._names or _is_address(name)

    def log_in(self, token: str) -> str | None:
        """Return the id of a new session, None if ``token`` is wrong. It takes as long for any token of that length."""
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._token):
            return None
        now = self._clock()
        self._sessions = {id: end for id, end in self._sessions.items() if end > now}
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session_id = secrets.token_urlsafe(32)
        self._sessions[session_id] = now + SESSION_SECONDS
        return session_id

    def is_open(self, session_id: str) -> bool:
        """Return whether a session goes on."""
        return self._sessions.get(session_id, 0.0) > self._clock()

    def log_out(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(session_id, None)


def _name_in(host: str) -> str:
    """Return the name in a Host header without its port, empty where it is malformed."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(f"//{host}")
        if parts.netloc == host and "@" not in host and parts.port != 0:
            return (parts.hostname or "").rstrip(".")
    return ""


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return False
