"""What the price of a request means for its member: the cap, the share, the charge.

The price is the engine's, in seconds of drawing: pixels x network calls x rows.
"""

import math
from dataclasses import dataclass
from typing import Final

from diffusion.errors import InvalidRequestError, QueueFullError
from diffusion.request import ImageRequest
from diffusion.serving.interface import ImageEngine
from diffusion.text import N_

MAX_PER_MEMBER: Final = 5
REFUSED_ATTACHMENT_CHARGE: Final = 1  # picture: an attachment that cannot be read takes time as well
ROUNDING: Final = 1e-6  # of a picture
TOO_LONG: Final = N_(
    "These pictures would take about {asked} min to draw, and one request may take {most} min."
    " Choose a smaller size, fewer steps or fewer pictures."
)
SHARE_USED: Final = N_(
    "Your unfinished requests fill the part of the queue that one member may use."
    " Please wait until one is done, or cancel one with `/queue`."
)


@dataclass(frozen=True)
class MemberLimits:
    """The operator's limits on what one member asks for.

    A member may make ``daily`` pictures a day across all servers (None: any number), and have ``unfinished`` requests, which
    fill no more than ``queue_share`` of the queue. One request may take ``request_seconds``.
    """

    daily: int | None = None
    unfinished: int = MAX_PER_MEMBER
    request_seconds: float = math.inf
    queue_share: float = 1.0


NO_ALLOWANCE: Final = MemberLimits()


def standard_price(engine: ImageEngine) -> float:
    """Return the price of one picture with the model's defaults."""
    return engine.price(engine.model.request("a picture"))


def pictures_charged(engine: ImageEngine, request: ImageRequest) -> int:
    """Return how many pictures of an allowance ``request`` uses.

    A picture uses one, or as many as pictures with the model's defaults have its price.
    """
    return max(request.count, math.ceil(engine.price(request) / standard_price(engine) - ROUNDING))


def check_price(engine: ImageEngine, limits: MemberLimits, member_id: int, request: ImageRequest) -> None:
    """Raise `DarkroomError` if ``request`` takes too long, or the member too much of the queue.

    One picture with the model's defaults is never too much, nor is any request of a member who has no other.
    """
    price = engine.price(request)
    most = max(limits.request_seconds, standard_price(engine))
    if price > most * (1 + ROUNDING):
        raise InvalidRequestError("request", TOO_LONG, asked=math.ceil(price / 60), most=f"{most / 60:.3g}")
    load = engine.load(member_id)
    pictures = load.pictures + request.count
    fills_share = pictures > limits.queue_share * engine.config.max_waiting
    if load.pictures and (fills_share or load.seconds + price > limits.queue_share * engine.config.max_waiting_seconds):
        raise QueueFullError(SHARE_USED)
