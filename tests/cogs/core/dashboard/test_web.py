"""The page over HTTP: closed without the token and under other names, and whatever members typed is escaped."""

import re
import socket
from dataclasses import replace

import aiohttp
import aiohttp.web
import pytest

from cogs.core.dashboard.board import Process
from cogs.core.dashboard.status import ProcessStatus
from cogs.core.dashboard.web import MAX_FORM_BYTES, serve
from cogs.core.storage.insights import Insights
from diffusion.errors import DarkroomError
from tests.support.dashboard import EVIL, TOKEN, insights, overview, queued, served, status


def client():
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))  # of an address


async def read(shown=None, path="", **page):
    """Log in and return a page's text."""
    async with served(shown, **page) as address, client() as session:
        async with session.post(f"{address}login", data={"token": TOKEN}) as answer:
            assert answer.status == 200
        async with session.get(f"{address}{path}") as answer:
            return await answer.text()


async def test_nothing_is_shown_without_the_token():
    async with served() as address, client() as session:
        for path, method, expected in (
            ("", "GET", 401),
            ("live", "GET", 401),
            ("elsewhere", "GET", 404),
            ("login", "GET", 405),
        ):
            async with session.request(method, address + path) as answer:
                text = await answer.text()
                assert answer.status == expected and "k7f1" not in text and "Traceback" not in text
        for token in ("", "wrong", TOKEN[:-1], "ü"):
            async with session.post(f"{address}login", data={"token": token}) as answer:
                assert answer.status == 401 and "This token is wrong" in await answer.text()
        async with session.post(f"{address}login", data={"token": "x" * MAX_FORM_BYTES}) as answer:
            assert answer.status == 413
        assert not list(session.cookie_jar)


async def test_token_opens_the_page_until_logging_out():
    async with served() as address, client() as session:
        async with session.post(f"{address}login", data={"token": f" {TOKEN} "}, allow_redirects=False) as answer:
            assert answer.status == 303
            cookie = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
        async with session.get(address) as answer:
            assert answer.status == 200 and "k7f1" in await answer.text()
        async with session.post(f"{address}logout") as answer:
            assert answer.status == 401
        async with session.get(f"{address}live") as answer:
            assert answer.status == 401


async def test_wrong_host_is_refused_before_anything_else():
    async with served(names=["board.example"]) as address, client() as session:
        for host, expected in (("evil.example", 421), ("board.example", 401)):
            async with session.get(address, headers={"Host": host}) as answer:
                assert answer.status == expected
                assert ("DASHBOARD_NAMES" in await answer.text()) is (expected == 421)


async def test_every_answer_forbids_what_the_page_does_not_need():
    async with served() as address, client() as session:
        nonces = set()
        for path in ("", "", "live", "elsewhere"):
            async with session.get(address + path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cache-Control"] == "no-store"
                nonces.update(re.findall(r"script-src 'nonce-([^']+)'", policy))
        assert len(nonces) == 2  # a new one for each page


async def test_what_came_from_discord_is_escaped():
    evil = replace(insights().failures[0], kind=EVIL, prompt=EVIL, error=EVIL, short_id=EVIL)
    held = replace(insights().held[0], flags=(EVIL,))
    hostile = status(EVIL, model=EVIL, device=EVIL, models={EVIL: 1}, queue=(queued(1, model=EVIL, size=EVIL),))
    shown = overview(
        Process(EVIL, 0.0, hostile),
        Process(EVIL, 90.0, hostile),
        names={5: EVIL, 6: EVIL},
        insights=insights(failure_kinds=((EVIL, 1),), failures=(evil,), held=(held,)),
    )
    text = await read(shown, with_prompts=True)
    assert "<img" not in text and text.count("&lt;img") > 10


async def test_empty_states_say_so():
    idle = ProcessStatus(began=1.0, model="embedded", device="cpu float32")
    text = await read(overview(Process("", 0.0, idle), insights=Insights((), (), (), 0), usage=(), names={}), "live")
    for sentence in ("Nobody is waiting.", "No request has failed.", "Nothing waits for moderators.", "No pictures today"):
        assert sentence in text
    assert "not connected to Discord" in text and "shards" not in text


async def test_several_processes_are_added_up_and_stale_ones_are_named():
    processes = [Process(name, age, status(name)) for name, age in (("0-3", 0.0), ("4-7", 3.0), ("8-11", 140.0))]
    text = await read(overview(*processes, Process("12-15", 1.0, None)), "live")
    assert "<b>12</b><span>pictures wait" in text  # six in each of those that answer
    assert "No report from shards 8-11 for 2 min 20 s." in text
    assert "runs another version" in text and text.count('data-label="Request"><code>k7f1') == 2


async def test_silent_database_is_said_beside_what_is_known_without_it():
    text = await read(overview(insights=None, usage=(), database_age=None), "live")
    assert "The database has not answered yet." in text and "k7f1" in text and text.count("Unknown until") == 2
    assert "has not answered for 1 min 30 s" in await read(overview(database_age=90.0), "live")


async def test_prompts_and_texts_of_errors_are_shown_only_where_the_log_has_them():
    shown = overview(
        insights=insights(failures=(replace(insights().failures[0], kind="A kind", prompt="cow", error="No cow."),))
    )
    hidden = await read(shown, "live")
    assert "A kind" in hidden and "cow" not in hidden
    assert "No cow." in await read(shown, "live", with_prompts=True)


async def test_taken_port_and_wrong_address_end_in_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for host, port in (("127.0.0.1", taken.getsockname()[1]), ("192.0.2.1", 0)):
            with pytest.raises(
                DarkroomError, match=r"^The dashboard cannot be served on .+ Set DASHBOARD_PORT to another port"
            ):
                async with serve(aiohttp.web.Application(), host, port):
                    pass
