"""Rows of the table of creations."""

from datetime import UTC, datetime, timedelta

from cogs.core.storage.creations import Creation, request_to_json
from diffusion.request import ImageRequest

TOKEN = "a-secret-token"


def creation(id=1, **values):
    return Creation(
        **{"id": id, "owner": 7, "channel_id": 8, "application_id": 9, "token": TOKEN}
        | {"private": False, "token_only": False}
        | {"expires": datetime.now(UTC) + timedelta(minutes=15), "request": request_to_json(ImageRequest("fox", seed=5))}
        | values
    )
