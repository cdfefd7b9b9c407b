"""Interactions as no honest client sends them, past the checks of Discord's own clients."""

from simcord import interactions
from simcord.backend import serializers

COMMAND, COMPONENT, MODAL = 2, 3, 5
SELECT = 3
TEXT_INPUT = 4
NO_MESSAGE = {
    "type": 0,
    "content": "",
    "tts": False,
    "mention_everyone": False,
    "pinned": False,
    "timestamp": "2026-01-01T00:00:00",
}
NO_MESSAGE |= {name: [] for name in ("mentions", "mention_roles", "attachments", "embeds", "components")}
NO_MESSAGE |= {"edited_timestamp": None, "flags": 0}


async def forge_command(server, name="imagine", **options):
    """Send a command as it is, past the checks of Discord's own clients."""
    kinds = {str: 3, int: 4, bool: 5, float: 10}
    given = [{"name": option, "type": kinds[type(value)], "value": value} for option, value in options.items()]
    data = {"id": "1", "name": name, "type": 1, "options": given}
    return await server.alice._dispatch_interaction(COMMAND, server.channel, data)


async def forge_click(server, actor, message, custom_id, **data):
    real = server.env.backend.get_message(server.channel.id, message.id)
    return await actor._dispatch_interaction(
        COMPONENT,
        server.channel,
        {"custom_id": custom_id, "component_type": 2} | data,
        extra={"message": dict(serializers.message_payload(server.env.backend, real))},
        source_message_id=message.id,
    )


async def forge_form(server, actor, shown, values):
    """Send a form with any ``values``, also where its message is gone."""
    record = shown._interaction
    author = {"id": str(server.env.bot.user.id), "username": "bot", "discriminator": "0"}
    source = {"id": str(record.source_message_id), "channel_id": str(server.channel.id), **NO_MESSAGE, "author": author}
    return await actor._dispatch_interaction(
        MODAL,
        server.channel,
        {
            "custom_id": shown.modal["custom_id"],
            "components": [fill_component(row, values) for row in shown.modal["components"]],
        },
        extra={"message": source} if record.source_message_id else {},  # a command opens a form without a message
        source_message_id=record.source_message_id,
    )


def fill_component(component, values):
    """A part of a form as a client sends it."""
    sent = {"type": component["type"], "id": component.get("id", 1)}
    if "components" in component:
        return sent | {"components": [fill_component(child, values) for child in component["components"]]}
    if "component" in component:
        return sent | {"component": fill_component(component["component"], values)}
    name = component["custom_id"]
    if component["type"] == TEXT_INPUT:
        return sent | {"custom_id": name, "value": values.get(name, component.get("value") or "")}
    return sent | {"custom_id": name, "values": values.get(name, [])}


SUBCOMMAND, GROUP = 1, 2


def command_payload(command, options, focused=None):
    """What Discord hands over for ``options`` of ``command``, each with its kind and value."""
    given = [
        {"name": name, "type": kind.value, "value": value} | ({"focused": True} if name == focused else {})
        for name, (kind, value) in options.items()
    ]
    first, *path = command.qualified_name.split()
    for depth, name in enumerate(reversed(path)):
        given = [{"name": name, "type": GROUP if depth else SUBCOMMAND, "options": given}]
    return {"id": "1", "name": first, "type": 1, "options": given}


def limit_upload_size(monkeypatch, size):
    """Let files of at most ``size`` bytes be uploaded."""
    real = interactions.base_payload

    def payload(*arguments, **options):
        record, payload = real(*arguments, **options)
        return record, payload | {"attachment_size_limit": size}

    monkeypatch.setattr(interactions, "base_payload", payload)
