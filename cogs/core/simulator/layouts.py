"""Corrections of simcord; importing this module applies them.

With Components V2, files appear only in components. A message has at most ten files. A deferred answer ends when it is deleted.
"""

from typing import Any

from simcord.backend import errors, serializers
from simcord.backend.ops.messages import MessageMixin
from simcord.http import _helpers

MAX_FILES = 10
_payload = serializers.message_payload
_uploads = _helpers._preview_uploads
_delete = MessageMixin.delete_message


def _without_attachments(backend: Any, message: Any, **options: Any) -> Any:
    payload = _payload(backend, message, **options)
    if message.flags & 1 << 15:
        payload["attachments"] = []
    return payload


def _limited_uploads(request: Any) -> Any:
    if len(request.files) > MAX_FILES:
        raise errors.invalid_form_body(f"attachments: must be {MAX_FILES} or fewer in length")
    return _uploads(request)


def _complete_deferred(backend: Any, channel_id: int, message_id: int) -> None:
    _delete(backend, channel_id, message_id)
    for interaction in backend.interactions.values():
        if interaction.loading and interaction.message_id == message_id:
            interaction.complete_deferred()


serializers.message_payload = _without_attachments
_helpers._preview_uploads = _limited_uploads  # type: ignore[assignment]
MessageMixin.delete_message = _complete_deferred  # type: ignore[method-assign, assignment]
