"""Who may see the dashboard."""

import pytest

from cogs.core.dashboard.access import MAX_SESSIONS, SESSION_SECONDS, Access
from tests.support.dashboard import TOKEN


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8770",
        "127.0.0.1",
        "localhost:8770",
        "LOCALHOST",
        "localhost.:1",
        "[::1]:8770",
        "192.0.2.7:80",
        "board.example:9",
    ],
)
def test_dashboard_answers_under_addresses_and_names_of_its_own(host):
    assert Access(TOKEN, ["Board.example"]).is_own_host([host])


@pytest.mark.parametrize(
    "hosts",
    [
        *(
            [host]
            for host in ("evil.example:8770", "127.0.0.1.evil.example", "board.example.evil", "a@127.0.0.1", "127.0.0.1/evil")
        ),
        *([host] for host in ("", "localhost:x", "[::1", "127.0.0.1:99999")),
        [],
        ["localhost", "localhost"],
    ],
)
def test_dashboard_does_not_answer_under_names_of_others(hosts):
    assert not Access(TOKEN, ["board.example"]).is_own_host(hosts)


@pytest.mark.parametrize("token", ["", "a", TOKEN + "x", TOKEN[:-1], "é" * 20, "\udc80"])
def test_wrong_token_opens_no_session(token):
    assert Access(TOKEN).log_in(token) is None


def test_session_ends_by_time_and_by_logging_out():
    now = [0.0]
    access = Access(TOKEN, clock=lambda: now[0])
    first, second = access.log_in(TOKEN), access.log_in(TOKEN)
    assert first != second and access.is_open(first) and not access.is_open("") and not access.is_open(TOKEN)
    access.log_out(first)
    assert not access.is_open(first) and access.is_open(second)
    now[0] = SESSION_SECONDS
    assert not access.is_open(second)


def test_oldest_of_too_many_sessions_ends():
    access = Access(TOKEN)
    sessions = [access.log_in(TOKEN) for _ in range(MAX_SESSIONS + 1)]
    assert not access.is_open(sessions[0]) and access.is_open(sessions[1]) and access.is_open(sessions[-1])
