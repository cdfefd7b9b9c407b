"""Random requests of a large community through a day, the same for each seed.

Two facts are published. 9 % of members take part now and then and 1 % all the time (Nielsen 2006, "The 90-9-1 rule for
participation inequality"). The 14 million pictures of Stable Diffusion's Discord server have 1.8 million prompts, about eight
pictures each (Wang et al. 2023, "DiffusionDB"). All other numbers below are assumptions. Steps and samplers are those of the
bot's quality presets.
"""

import math
import random
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from diffusion.families.defaults import QUALITIES, Defaults
from diffusion.request import ImageRequest, start_step_for

MEMBERS: Final = 1_000_000
HOUR_SECONDS: Final = 3600.0
PEAK_HOUR: Final = 20.0
DAILY_AMPLITUDE: Final = 0.7  # visits are this share above the mean at the peak, and below it twelve hours later
BURST_HOUR: Final = 20.5  # a picture is announced
BURST_SHARE: Final = 0.0005  # of all members visit within a minute of the announcement
FLOOD_SHARE: Final = 0.003  # of the visits send FLOOD_REQUESTS requests without a look at the pictures
FLOOD_REQUESTS: Final = 40  # of the largest count
FLOOD_GAP_SECONDS: Final = 2.0  # between two requests
MAX_VISIT_SECONDS: Final = HOUR_SECONDS
THINK_SECONDS: Final = (20.0, 1.0)  # between two requests: median and sigma of a lognormal distribution

QUALITY_WEIGHTS: Final = {"standard": 63, "draft": 15, "fine": 9, "classic": 3, "own": 10}  # own: any sampler, 10 to 50 steps
SIZE_WEIGHTS: Final = {(1.0, 1.0): 75, (1.0, 1.5): 10, (1.5, 1.0): 10, (1.5, 1.5): 5}  # width and height in sides of the model
COUNT_WEIGHTS: Final = {1: 60, 2: 20, 4: 20}
UNGUIDED_SHARE: Final = 0.05  # of the requests
IMG2IMG_SHARE: Final = 0.15  # of the requests start from a picture and keep 20 to 80 % of it

DEFAULTS: Final = Defaults()
SAMPLERS: Final = ("lms", "ddim", "euler", "euler_a", "heun", "dpm++", "unipc")
PRESETS: Final = {quality: DEFAULTS.of(quality) for quality in QUALITIES}
SOURCE_IMAGE: Final = Image.new("RGB", (64, 64), "red")


@dataclass(frozen=True)
class Visitors:
    """A kind of member: ``share`` of all, visits per day and mean requests per visit."""

    name: str
    share: float
    visits: float
    requests: float


OCCASIONAL: Final = Visitors("occasional", 0.09, 1, 4)
REGULAR: Final = Visitors("regular", 0.01, 3, 12)


@dataclass(frozen=True)
class Arrival:
    """A request that arrives ``at`` seconds after midnight."""

    at: float
    owner: Hashable
    request: ImageRequest


@dataclass(frozen=True)
class Community:
    """Members who share a model.

    ``side`` is the model's own side; all sides are multiples of ``cell``. Both are in pixels.
    """

    members: int = MEMBERS
    side: int = 512
    cell: int = 8
    seed: int = 0

    def trace(self, begin: float, end: float) -> Iterator[Arrival]:
        """Yield the requests between the hours ``begin`` and ``end``, in order of time.

        Visits that started before ``begin`` go on, so that a part of a day equals that part of the whole day.
        """
        upcoming: list[Arrival] = []
        for minute in range(math.floor((begin * HOUR_SECONDS - MAX_VISIT_SECONDS) / 60), math.ceil(end * 60)):
            upcoming += self._visits_from(minute)
            due = [arrival for arrival in upcoming if arrival.at < (minute + 1) * 60]
            upcoming = [arrival for arrival in upcoming if arrival.at >= (minute + 1) * 60]
            yield from sorted(
                (arrival for arrival in due if begin * HOUR_SECONDS <= arrival.at < end * HOUR_SECONDS),
                key=lambda arrival: arrival.at,
            )

    def visits_per_second(self, at: float, kind: Visitors) -> float:
        """Return the visits per second of ``kind``, ``at`` seconds after midnight."""
        factor = 1 + DAILY_AMPLITUDE * math.cos((at / HOUR_SECONDS - PEAK_HOUR) * math.tau / 24)
        return self.members * kind.share * kind.visits / (24 * HOUR_SECONDS) * factor

    def _visits_from(self, minute: int) -> Iterator[Arrival]:
        """Yield all requests of the visits that start in ``minute``, in no order."""
        rng = random.Random(f"{self.seed} {minute}")
        for kind in (OCCASIONAL, REGULAR):
            at = minute * 60.0
            rate = self.visits_per_second(at, kind)
            while (at := at + rng.expovariate(rate)) < (minute + 1) * 60:
                owner = f"{kind.name} {rng.randrange(math.ceil(self.members * kind.share))}"
                yield from self._visit(at, owner, kind, rng)
        if minute == BURST_HOUR * 60:
            for number in range(round(self.members * BURST_SHARE)):
                yield from self._visit(60 * (minute + rng.random()), f"curious {number}", OCCASIONAL, rng)

    def _visit(self, begin: float, owner: str, kind: Visitors, rng: random.Random) -> Iterator[Arrival]:
        if rng.random() < FLOOD_SHARE:
            for number in range(FLOOD_REQUESTS):
                yield Arrival(
                    begin + number * FLOOD_GAP_SECONDS, owner, self._draw_request(rng).replace(count=max(COUNT_WEIGHTS))
                )
            return
        at = begin
        while at < begin + MAX_VISIT_SECONDS:
            yield Arrival(at, owner, self._draw_request(rng))
            if rng.random() < 1 / kind.requests:
                return
            at += rng.lognormvariate(math.log(THINK_SECONDS[0]), THINK_SECONDS[1])

    def _draw_request(self, rng: random.Random) -> ImageRequest:
        """Draw a random request."""
        custom = {"sampler": rng.choice(SAMPLERS), "steps": rng.randint(10, 50)}
        settings: dict[str, Any] = PRESETS.get(_pick(rng, QUALITY_WEIGHTS), custom)
        width, height = (round(share * self.side) // self.cell * self.cell for share in _pick(rng, SIZE_WEIGHTS))
        if rng.random() < IMG2IMG_SHARE:
            start_step = start_step_for(rng.uniform(0.2, 0.8), settings["steps"])
            settings = settings | {"image": SOURCE_IMAGE, "start_step": start_step}
        return ImageRequest(
            "red apple",
            width=width,
            height=height,
            guidance_scale=1.0 if rng.random() < UNGUIDED_SHARE else DEFAULTS.guidance_scale,
            count=_pick(rng, COUNT_WEIGHTS),
            seed=rng.randrange(2**32),
            **settings,
        )


def _pick(rng: random.Random, weights: dict[Any, int]) -> Any:
    return rng.choices([*weights], [*weights.values()])[0]
