"""Discord's two doors, REST and gateway, on loopback, with simcord's Discord behind them. It outlives the bots that connect."""

import asyncio
import contextlib
import io
import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace

from aiohttp import WSMsgType, web
from simcord.backend import Backend, serializers
from simcord.backend.cdn import CDN_BASE
from simcord.backend.errors import BackendError
from simcord.http import router, routes  # noqa: F401  (importing the routes registers them)
from simcord.interactions import base_payload, store_interaction_attachment

from tests.discord import layouts  # noqa: F401  (importing it makes simcord give layouts as Discord does)

HELLO, READY, ACK, INVALID_SESSION, DISPATCH = 10, "READY", 11, 9, 0
COMMAND, COMPONENT, MODAL = 2, 3, 5
OPTION_TYPES = {str: 3, int: 4, bool: 5, float: 10, bytes: 11}


class Wire:
    """``async with Wire() as wire``: a server with some members and channels, at ``wire.port``.

    The bot is told of messages that come, change and go, as on Discord; not of private ones.
    ``on_request(stage)`` is called "before" and "after" each change that the bot asks for is carried out, and "before post" and
    "after post" where that attaches finished pictures; True drops the connection. ``limits`` are the `RateLimits`, if any.
    """

    def __init__(self, members=3, channels=1):
        self.backend = Backend()
        self.backend.clock._epoch = datetime.now(UTC)
        self._started = time.monotonic()
        self.guild = self.backend.create_guild("wire")
        self.channels = [self.backend.create_channel(self.guild.id, f"art-{index}") for index in range(channels)]
        self.channel = self.channels[0]
        self.members = [self.backend.make_user(f"member{index}") for index in range(members)]
        for member in self.members:
            self.backend.add_member(self.guild.id, member.id)
        self.asked, self.posted = [], []
        self.on_request = lambda stage: False
        self.limits = None
        self._socket, self._sequence, self._telling = web.WebSocketResponse(), 0, set()
        self.backend.subscribers.append(self._hear)
        self.ready = asyncio.Event()

    async def __aenter__(self):
        application = web.Application(client_max_size=2**26)
        application.router.add_get("/gateway", self._gateway)
        application.router.add_get("/gateway/", self._gateway)
        application.router.add_get("/cdn/{path:.*}", self._cdn)
        application.router.add_route("*", "/api/v10/{path:.*}", self._rest)
        self._runner = web.AppRunner(application, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    def messages(self):
        return list(self.backend.messages[self.channel.id].values())

    async def ask(self, member, prompt, **options):
        """Let a member use /imagine. Whether the bot answered is told by the interaction that comes back."""
        return await self.slash(member, self.channel, "imagine", prompt=prompt, **options)

    async def slash(self, member, channel, command, /, **options):
        """Let a member use a command; bytes are attached as a PNG."""
        self._tick()
        resolved: dict = {}
        data = {"id": "1", "name": command, "type": 1, "options": [], "resolved": resolved}
        for name, value in options.items():
            kind = OPTION_TYPES[type(value)]
            if isinstance(value, bytes):
                value = store_interaction_attachment(self.backend, channel.id, "attached.png", value, resolved)
            data["options"].append({"name": name, "type": kind, "value": value})
        return await self._interact(COMMAND, member, channel.id, data)

    async def press(self, member, message, custom_id):
        """Let a member press a button."""
        data = {"custom_id": custom_id, "component_type": 2}
        return await self._interact(COMPONENT, member, message.channel_id, data, message)

    async def submit(self, member, message, modal, **texts):
        """Let a member fill in the modal that a button of ``message`` showed."""
        inputs = [{"type": 4, "custom_id": name, "value": text} for name, text in texts.items()]
        data = {"custom_id": modal["custom_id"], "components": [{"type": 1, "components": [text]} for text in inputs]}
        return await self._interact(MODAL, member, message.channel_id, data, message)

    async def _interact(self, kind, member, channel_id, data, message=None):
        self._tick()
        interaction, payload = base_payload(
            self.backend, type=kind, channel_id=channel_id, guild_id=self.guild.id, user_id=member.id, data=data
        )
        if message:
            interaction.source_message_id = message.id
            payload["message"] = dict(serializers.message_payload(self.backend, message))
        self.asked.append(interaction)
        await self._dispatch("INTERACTION_CREATE", payload)
        return interaction

    def forget(self, files):
        """Give back the memory of what went over the wire, and of all but the last ``files`` files."""
        self.backend.http_requests.clear()
        self.backend.transcript.clear()
        blobs = self.backend.cdn._blobs
        for url in list(blobs)[:-files]:
            del blobs[url]

    async def disconnect(self):
        """Close the gateway's connection, as Discord does now and then."""
        self.ready.clear()
        await self._socket.close(code=4000)

    async def _gateway(self, request):
        socket = self._socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": HELLO, "d": {"heartbeat_interval": 41250}})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            op = json.loads(frame.data)["op"]
            if op == 1:
                await asyncio.sleep(0.1)  # discord.py misjudges an answer that comes before it has noted the question
                await socket.send_json({"op": ACK})
            elif op == 2:
                await self._identified()
            elif op == 6:
                await socket.send_json({"op": INVALID_SESSION, "d": False})
        self.ready.clear()
        return socket

    async def _identified(self):
        user = dict(serializers.user_payload(self.backend.bot_user))
        guild = dict(serializers.guild_create_payload(self.backend, self.guild))
        session = {"session_id": "wire", "resume_gateway_url": f"ws://127.0.0.1:{self.port}/gateway", "v": 10, "user": user}
        application = {"id": str(self.backend.application_id), "flags": 0}
        await self._dispatch(
            READY, session | {"guilds": [{"id": guild["id"], "unavailable": True}], "application": application}
        )
        await self._dispatch("GUILD_CREATE", guild)
        self.ready.set()

    async def _dispatch(self, event, data):
        self._sequence += 1
        await self._socket.send_str(self._json({"op": DISPATCH, "t": event, "s": self._sequence, "d": data}))

    def _hear(self, event, data):
        if event.startswith("MESSAGE_") and self.ready.is_set():
            telling = asyncio.ensure_future(self._tell(event, data))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)

    async def _tell(self, event, data):
        with contextlib.suppress(ConnectionError, RuntimeError):  # the bot is gone
            await self._dispatch(event, data)

    async def _cdn(self, request):
        data = self.backend.cdn.get(f"{CDN_BASE}/{request.match_info['path']}")
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def _rest(self, request):
        path = f"/{request.match_info['path']}"
        body, files = await _body(request)
        self._tick()
        posts = any(file.filename.startswith("darkroom-") for file in files)
        stages = [] if request.method == "GET" or "commands" in path else ["", " post"][: 1 + posts]
        headers, early = self.limits.take(request.method, path) if self.limits and stages else ({}, None)
        if early:
            refusal = {"message": "You are being rate limited.", "retry_after": early, "global": False}
            return self._answer(refusal, 429, headers)
        if any([self.on_request(f"before{stage}") for stage in stages]):
            return self._dropped(request)
        try:
            answer = router.dispatch(self.backend, request.method, path, json=body, params=dict(request.query), files=files)
            if posts:
                self.posted.append(json.dumps(body))
        except BackendError as error:
            return self._answer(error.to_json(), error.status, headers)
        if any([self.on_request(f"after{stage}") for stage in stages]):
            return self._dropped(request)
        return web.Response(status=204, headers=headers) if answer is None else self._answer(answer, headers=headers)

    def _answer(self, data, status=200, headers=None):
        # discord.py compares the type as a whole, so there must be no charset in it.
        headers = {"Content-Type": "application/json"} | (headers or {})
        return web.Response(body=self._json(data).encode(), status=status, headers=headers)

    def _json(self, data):
        return json.dumps(data).replace(CDN_BASE, f"http://127.0.0.1:{self.port}/cdn")

    def _dropped(self, request):
        request.transport.abort()
        return web.Response()

    def _tick(self):
        """Let simcord's clock follow the real one."""
        elapsed = time.monotonic() - self._started
        self.backend.advance_clock(elapsed - self.backend.clock.elapsed)


async def _body(request):
    if not request.content_type.startswith("multipart"):
        text = await request.text()
        return (json.loads(text) if text else None), []
    body, files = None, []
    async for part in await request.multipart():
        if part.name == "payload_json":
            body = json.loads(await part.text())
        else:
            files.append(SimpleNamespace(fp=io.BytesIO(await part.read()), filename=part.filename, description=None))
    for file, described in zip(files, (body or {}).get("attachments", ()), strict=False):
        file.description = described.get("description")
    return body, files
