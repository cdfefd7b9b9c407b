"""Discord's REST and gateway on loopback, with simcord behind them.

Bots connect with their own HTTP and gateway clients.
"""

import asyncio
import contextlib
import io
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Protocol, Self

from aiohttp import BodyPartReader, WSMsgType, web
from simcord.backend import Backend, serializers
from simcord.backend.cdn import CDN_BASE
from simcord.backend.errors import BackendError
from simcord.http import router, routes  # noqa: F401  (importing the routes registers them)
from simcord.interactions import base_payload, store_interaction_attachment

from cogs.core.simulator import layouts  # noqa: F401  (importing it makes simcord give layouts as Discord does)

# Opcodes of the gateway
DISPATCH = 0
HEARTBEAT = 1
IDENTIFY = 2
RESUME = 6
INVALID_SESSION = 9
HELLO = 10
ACK = 11
# Types of interactions
COMMAND = 2
COMPONENT = 3
MODAL = 5
LABEL = 18  # the type of a component
OPTION_TYPES = {str: 3, int: 4, bool: 5, float: 10, bytes: 11}


class Limiter(Protocol):
    """Decides which requests of the bot come too early."""

    def take(self, method: str, path: str) -> tuple[dict[str, str], float | None]:
        """Count a request; return headers, and the seconds that it came too early."""


class LoopbackDiscord:
    """A simulated Discord at ``port`` with a server for each of ``shards``.

    Use it by ``async with``; it outlives bots. As on Discord, the bot receives events for public messages that are posted,
    edited or deleted. ``on_request`` is called with "before" and "after" for each change that the bot requests, and also with
    "before post" and "after post" if the request attaches finished pictures; if it returns True, the connection is dropped.
    ``limits`` may set rate limits. With ``resumable``, a bot that lost its connection may resume it and gets what it missed.
    """

    def __init__(self, members: int = 3, channels: int = 1, shards: int = 1) -> None:
        self.backend = Backend()
        self.backend.clock._epoch = datetime.now(UTC)
        self._started = time.monotonic()
        self.guilds = [self.backend.create_guild("wire", shard_id=shard, shard_count=shards) for shard in range(shards)]
        self.members = [self.backend.make_user(f"member{index}") for index in range(members)]
        self.channels: list[Any] = []
        for guild in self.guilds:
            self.channels += [self.backend.create_channel(guild.id, f"art-{index}") for index in range(channels)]
            for member in self.members:
                self.backend.add_member(guild.id, member.id)
        self.channel = self.channels[0]
        self.asked: list[Any] = []
        self.posted: list[str] = []
        self.on_request: Callable[[str], bool] = lambda stage: False
        self.limits: Limiter | None = None
        self.resumable = False
        self.resumed = 0  # how often a bot has resumed
        self._sent: dict[int, list[str]] = {}  # all events of a resumable session, by shard
        self._sockets: dict[int, web.WebSocketResponse] = {}  # by shard
        self._sequence = 0
        self._events: set[asyncio.Future[None]] = set()
        self.backend.subscribers.append(self._on_event)
        self.ready = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=2**26)
        application.router.add_get("/gateway", self._gateway)
        application.router.add_get("/gateway/", self._gateway)
        application.router.add_get("/cdn/{path:.*}", self._cdn)
        application.router.add_get("/api/v10/gateway/bot", self._gateway_bot)
        application.router.add_route("*", "/api/v10/{path:.*}", self._rest)
        self._runner = web.AppRunner(application, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def messages(self) -> list[Any]:
        """Return the messages of all channels."""
        return [message for channel in self.channels for message in self.backend.messages[channel.id].values()]

    async def ask(self, member: Any, prompt: str, **options: Any) -> Any:
        """Let a member use /imagine; return the interaction.

        The interaction shows whether the bot answered.
        """
        return await self.slash(member, self.channel, "imagine", prompt=prompt, **options)

    async def slash(self, member: Any, channel: Any, command: str, /, **options: Any) -> Any:
        """Let a member use a command, such as "jam start"; bytes are attached as a PNG."""
        self._tick()
        resolved: dict[str, Any] = {}
        group, _, leaf = command.partition(" ")
        given: list[dict[str, Any]] = []
        own = [{"name": leaf, "type": 1, "options": given}] if leaf else given
        data: dict[str, Any] = {"id": "1", "name": group, "type": 1, "options": own, "resolved": resolved}
        for name, value in options.items():
            kind = OPTION_TYPES[type(value)]
            if isinstance(value, bytes):
                value = store_interaction_attachment(self.backend, channel.id, "attached.png", value, resolved)
            given.append({"name": name, "type": kind, "value": value})
        return await self._interact(COMMAND, member, channel.id, data)

    async def press(self, member: Any, message: Any, custom_id: str) -> Any:
        """Let a member press a button."""
        data = {"custom_id": custom_id, "component_type": 2}
        return await self._interact(COMPONENT, member, message.channel_id, data, message)

    async def submit(self, member: Any, message: Any, modal: dict[str, Any], **texts: str) -> Any:
        """Let a member submit the modal that a button of ``message`` showed."""
        inputs = [{"type": 4, "custom_id": name, "value": text} for name, text in texts.items()]
        labels = [{"type": LABEL, "component": text} for text in inputs]
        data = {"custom_id": modal["custom_id"], "components": labels}
        return await self._interact(MODAL, member, message.channel_id, data, message)

    async def _interact(self, kind: int, member: Any, channel_id: int, data: dict[str, Any], message: Any = None) -> Any:
        self._tick()
        guild_id = self.backend.channels[channel_id].guild_id
        interaction, payload = base_payload(
            self.backend, type=kind, channel_id=channel_id, guild_id=guild_id, user_id=member.id, data=data
        )
        if message:
            interaction.source_message_id = message.id
            payload["message"] = dict(serializers.message_payload(self.backend, message))
        self.asked.append(interaction)
        await self._dispatch("INTERACTION_CREATE", payload, self.shard_of(guild_id))
        return interaction

    def shard_of(self, guild_id: int | str | None) -> int:
        """Return the shard that receives the events of a server (None: direct messages)."""
        return (int(guild_id or 0) >> 22) % len(self.guilds)

    def forget(self, files: int) -> None:
        """Delete past requests and all but the last ``files`` files from memory."""
        self.backend.http_requests.clear()
        self.backend.transcript.clear()
        blobs = self.backend.cdn._blobs
        for url in list(blobs)[:-files]:
            del blobs[url]

    async def disconnect(self) -> None:
        """Close the gateway connections, as Discord sometimes does."""
        self.ready.clear()
        for socket in list(self._sockets.values()):
            await socket.close(code=4000)

    async def _gateway_bot(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        url = f"ws://127.0.0.1:{self.port}/gateway"
        return self._answer({"url": url, "shards": len(self.guilds), "session_start_limit": limit})

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": HELLO, "d": {"heartbeat_interval": 41250}})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            payload = json.loads(frame.data)
            if payload["op"] == HEARTBEAT:
                await asyncio.sleep(0.1)  # discord.py misreads an answer that arrives before it has recorded the heartbeat
                await socket.send_json({"op": ACK})
            elif payload["op"] == IDENTIFY:
                shard = payload["d"].get("shard", [0, 1])[0]
                self._sockets[shard] = socket
                self._sent.pop(shard, None)
                await self._on_identify(shard)
            elif payload["op"] == RESUME:
                await self._on_resume(socket, payload["d"])
        for shard in [shard for shard, connected in self._sockets.items() if connected is socket]:
            del self._sockets[shard]
            self.ready.clear()
        return socket

    async def _on_resume(self, socket: web.WebSocketResponse, resume: dict[str, Any]) -> None:
        shard = int(resume["session_id"].partition("-")[2] or 0)
        if not self.resumable or shard not in self._sent:
            await socket.send_json({"op": INVALID_SESSION, "d": False})
            return
        for event in self._sent[shard]:
            if json.loads(event)["s"] > resume["seq"]:
                await socket.send_str(event)
        self._sockets[shard] = socket
        self.resumed += 1
        await self._dispatch("RESUMED", {}, shard)
        if len(self._sockets) == len(self.guilds):
            self.ready.set()

    async def _on_identify(self, shard: int) -> None:
        user = dict(serializers.user_payload(self.backend.bot_user))
        guild = dict(serializers.guild_create_payload(self.backend, self.guilds[shard]))
        session = {
            "session_id": f"wire-{shard}",
            "resume_gateway_url": f"ws://127.0.0.1:{self.port}/gateway",
            "v": 10,
            "user": user,
        }
        application = {"id": str(self.backend.application_id), "flags": 0}
        known = {"guilds": [{"id": guild["id"], "unavailable": True}], "application": application}
        ready = session | known | {"shard": [shard, len(self.guilds)]}
        await self._dispatch("READY", ready, shard)
        await self._dispatch("GUILD_CREATE", guild, shard)
        if len(self._sockets) == len(self.guilds):
            self.ready.set()

    async def _dispatch(self, event: str, data: Mapping[str, Any], shard: int) -> None:
        if shard not in self._sockets and not (self.resumable and shard in self._sent):
            raise ConnectionError(f"no bot serves shard {shard}")
        self._sequence += 1
        text = self._json({"op": DISPATCH, "t": event, "s": self._sequence, "d": data})
        if self.resumable:
            self._sent.setdefault(shard, []).append(text)
        if shard in self._sockets:
            await self._sockets[shard].send_str(text)

    def _on_event(self, event: str, data: Mapping[str, Any]) -> None:
        if event.startswith("MESSAGE_") and self.ready.is_set():
            sending = asyncio.ensure_future(self._send_event(event, data))
            self._events.add(sending)
            sending.add_done_callback(self._events.discard)

    async def _send_event(self, event: str, data: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # the bot is gone
            await self._dispatch(event, data, self.shard_of(data.get("guild_id")))

    async def _cdn(self, request: web.Request) -> web.Response:
        data = self.backend.cdn.get(f"{CDN_BASE}/{request.match_info['path']}")
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def _rest(self, request: web.Request) -> web.Response:
        path = f"/{request.match_info['path']}"
        body, files = await _body(request)
        self._tick()
        posts = any(file.filename.startswith("darkroom-") for file in files)
        stages = [] if request.method == "GET" or "commands" in path else ["", " post"][: 1 + posts]
        headers, early = self.limits.take(request.method, path) if self.limits and stages else ({}, None)
        if early:
            refusal = {"message": "You are being rate limited.", "retry_after": early, "global": False}
            return self._answer(refusal, 429, headers)
        if self._interrupts("before", stages):
            return self._dropped(request)
        try:
            answer = router.dispatch(self.backend, request.method, path, json=body, params=dict(request.query), files=files)
            if posts:
                self.posted.append(json.dumps(body))
        except BackendError as error:
            return self._answer(error.to_json(), error.status, headers)
        if self._interrupts("after", stages):
            return self._dropped(request)
        return web.Response(status=204, headers=headers) if answer is None else self._answer(answer, headers=headers)

    def _answer(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        # discord.py compares the type as a whole, so there must be no charset in it.
        headers = {"Content-Type": "application/json"} | (headers or {})
        return web.Response(body=self._json(data).encode(), status=status, headers=headers)

    def _json(self, data: Any) -> str:
        return json.dumps(data).replace(CDN_BASE, f"http://127.0.0.1:{self.port}/cdn")

    def _interrupts(self, moment: str, stages: list[str]) -> bool:
        """Call `on_request` with each stage; return whether one interrupts."""
        return True in [self.on_request(f"{moment}{stage}") for stage in stages]

    def _dropped(self, request: web.Request) -> web.Response:
        if isinstance(request.transport, asyncio.Transport):
            request.transport.abort()
        return web.Response()

    def _tick(self) -> None:
        """Set simcord's clock to the real time."""
        elapsed = time.monotonic() - self._started
        self.backend.advance_clock(elapsed - self.backend.clock.elapsed)


async def _body(request: web.Request) -> tuple[dict[str, Any] | None, list[Any]]:
    if not request.content_type.startswith("multipart"):
        text = await request.text()
        return (json.loads(text) if text else None), []
    body: dict[str, Any] | None = None
    files: list[Any] = []
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        if part.name == "payload_json":
            body = json.loads(await part.text())
        else:
            files.append(SimpleNamespace(fp=io.BytesIO(await part.read()), filename=part.filename, description=None))
    for file, described in zip(files, (body or {}).get("attachments", ()), strict=False):
        file.description = described.get("description")
    return body, files
