"""A simulated Discord that refuses what a bot asks at its start, in Discord's own words."""

from aiohttp import web

from cogs.core.simulator.loopback import LoopbackDiscord

CLOUDFLARE = "<!doctype html><html><head><title>Access denied | discord.com used Cloudflare</title></head>error 1015</html>"
UNAUTHORIZED = {"message": "401: Unauthorized", "code": 0}


class RefusingDiscord(LoopbackDiscord):
    """Answers calls to a path with what `refuse` says, and closes the gateway after a bot has identified itself."""

    def __init__(self, close_code=None):
        super().__init__()
        self.close_code = close_code
        self.refused = 0
        self._refusals = {}

    def refuse(self, ending, status, body, *, times=1_000_000):
        """Refuse the next ``times`` calls whose path ends so."""
        self._refusals[ending] = (status, body, times)

    async def kick(self, code):
        """Close the bot's connections with ``code``."""
        for socket in list(self._sockets.values()):
            await socket.close(code=code)

    async def _rest(self, request):
        return self._refusal(request) or await super()._rest(request)

    async def _gateway_bot(self, request):
        return self._refusal(request) or await super()._gateway_bot(request)

    def _refusal(self, request):
        for ending, (status, body, times) in self._refusals.items():
            if times and request.path.endswith(ending):
                self.refused += 1
                self._refusals[ending] = status, body, times - 1
                if isinstance(body, str):
                    return web.Response(text=body, status=status, content_type="text/html")
                return self._answer(body, status, {"Via": "1.1 google"})
        return None

    async def _on_identify(self, shard):
        if self.close_code:
            await self._sockets[shard].close(code=self.close_code)
        else:
            await super()._on_identify(shard)
