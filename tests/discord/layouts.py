"""Messages in Components V2 as Discord gives them: files stand in the components alone, where simcord lists them twice."""

from simcord.backend import serializers

_payload = serializers.message_payload


def _without_attachments(backend, message, **options):
    payload = _payload(backend, message, **options)
    if message.flags & 1 << 15:
        payload["attachments"] = []
    return payload


serializers.message_payload = _without_attachments
