"""The dashboard over HTTP: it only reads, and only those read it who gave the token."""

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from aiohttp import web

from cogs.core.dashboard.access import SESSION_SECONDS, Access
from cogs.core.dashboard.board import Board
from cogs.core.dashboard.page import Page
from diffusion.errors import DarkroomError

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COOKIE: Final = "darkroom-dashboard"
MAX_FORM_BYTES: Final = 4096
WRONG_HOST: Final = "The dashboard does not answer to this name. Open it by its address, or add the name to DASHBOARD_NAMES.\n"
WRONG_TOKEN: Final = "This token is wrong. Copy it again."
LOG_IN: Final = "Log in first.\n"
BROKEN: Final = "The dashboard cannot show this at the moment. The bot's log says why.\n"
HEADERS: Final = {
    "Server": "Darkroom",  # instead of the versions of what serves it
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
NOTHING: Final = "default-src 'none'; frame-ancestors 'none'"  # a policy for all that is no page
POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Web:
    """Answers requests for the dashboard of ``board``, which ``page`` writes, to those whom ``access`` lets in."""

    def __init__(self, board: Board, page: Page, access: Access) -> None:
        self._board = board
        self._page = page
        self._access = access
        self.app = web.Application(middlewares=[self._guard], client_max_size=MAX_FORM_BYTES)
        self.app.router.add_get("/", self._show)
        self.app.router.add_get("/live", self._show_live)
        self.app.router.add_post("/login", self._log_in)
        self.app.router.add_post("/logout", self._log_out)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer only under names of ours, without tracebacks, and with headers that forbid all that the page does not need."""
        try:
            if self._access.is_own_host(request.headers.getall("Host", [])):
                response = await handler(request)
            else:
                response = web.Response(status=421, text=WRONG_HOST)
        except web.HTTPException as error:  # no such page, or a form that is too large
            response = web.Response(status=error.status, text=f"{error.reason}\n")
        except Exception:
            log.exception("the dashboard failed")
            response = web.Response(status=500, text=BROKEN)
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Content-Security-Policy", NOTHING)
        return response

    async def _show(self, request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        if not self._is_logged_in(request):
            return _html(self._page.login(nonce), nonce, 401)
        return _html(self._page.dashboard(await self._board.overview(), nonce), nonce)

    async def _show_live(self, request: web.Request) -> web.Response:
        if not self._is_logged_in(request):
            return web.Response(status=401, text=LOG_IN)
        return web.Response(text=self._page.live(await self._board.overview()), content_type="text/html")

    async def _log_in(self, request: web.Request) -> web.Response:
        token = (await request.post()).get("token")
        session_id = self._access.log_in(token.strip()) if isinstance(token, str) else None
        if session_id is None:
            nonce = secrets.token_urlsafe(16)
            return _html(self._page.login(nonce, WRONG_TOKEN), nonce, 401)
        response = _redirect()
        response.set_cookie(
            COOKIE, session_id, max_age=SESSION_SECONDS, httponly=True, samesite="Strict", secure=request.secure
        )
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        self._access.log_out(request.cookies.get(COOKIE, ""))
        response = _redirect()
        response.del_cookie(COOKIE)
        return response

    def _is_logged_in(self, request: web.Request) -> bool:
        return self._access.is_open(request.cookies.get(COOKIE, ""))


@contextlib.asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve ``app`` and yield its address; raises `DarkroomError`."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise DarkroomError(
                f"The dashboard cannot be served on {host}:{port}: {error.strerror or error}."
                " Set DASHBOARD_PORT to another port, or DASHBOARD_HOST to an address of this machine."
            ) from error
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}/"
    finally:
        await runner.cleanup()


def _html(text: str, nonce: str, status: int = 200) -> web.Response:
    policy = POLICY.format(nonce=nonce)
    return web.Response(text=text, content_type="text/html", status=status, headers={"Content-Security-Policy": policy})


def _redirect() -> web.Response:
    """Lead back to the page, by an address that also holds behind a proxy with a path of its own."""
    return web.Response(status=303, headers={"Location": "./"})
