"""Messages as Discord takes and gives them, where simcord does otherwise.

In Components V2 files stand in the components alone, there are at most ten of them, and an answer that was promised is not
waited for any more once it was deleted.
"""

from typing import Any

from simcord.backend import errors, serializers
from simcord.backend.ops.messages import MessageMixin
from simcord.http import _helpers

MOST_FILES = 10
_payload, _uploads, _delete = serializers.message_payload, _helpers._preview_uploads, MessageMixin.delete_message


def _without_attachments(backend: Any, message: Any, **options: Any) -> Any:
    payload = _payload(backend, message, **options)
    if message.flags & 1 << 15:
        payload["attachments"] = []
    return payload


def _few_uploads(request: Any) -> Any:
    if len(request.files) > MOST_FILES:
        raise errors.invalid_form_body(f"attachments: must be {MOST_FILES} or fewer in length")
    return _uploads(request)


def _waited_for_no_more(backend: Any, channel_id: int, message_id: int) -> None:
    _delete(backend, channel_id, message_id)
    for interaction in backend.interactions.values():
        if interaction.loading and interaction.message_id == message_id:
            interaction.complete_deferred()


serializers.message_payload = _without_attachments
_helpers._preview_uploads = _few_uploads  # type: ignore[assignment]
MessageMixin.delete_message = _waited_for_no_more  # type: ignore[method-assign, assignment]
