"""Who of a large community asks for which pictures, second by second through a day: drawn at random, the same for each seed.

What is published: most members only look on, 9 % take part now and then, 1 % all the time (Nielsen 2006, "The 90-9-1 rule for
participation inequality"). 14 million pictures of Stable Diffusion's own Discord server were of 1.8 million prompts, about
eight of each (Wang et al. 2023, "DiffusionDB"): who begins goes on. Everything else is assumed, and named below: the hours,
how long a visit lasts, what is chosen. Steps and samplers are those that the bot's qualities stand for.
"""

import math
import random
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image

from diffusion.families.defaults import QUALITIES, Defaults
from diffusion.request import SAMPLER_NAMES, ImageRequest, start_step_for

MEMBERS: Final = 1_000_000
HOUR: Final = 3600.0  # seconds
PEAK: Final = 20.0  # o'clock
SWING: Final = 0.7  # at the peak there are so many more visits than on average, and so many fewer twelve hours later
BURST: Final = 20.5  # o'clock: a picture is announced, and within a minute
BURST_SHARE: Final = 0.0005  # of all members come to try the like
FLOODING: Final = 0.003  # of the visits are of somebody who asks for FLOOD requests without looking at one
FLOOD, FLOOD_GAP = 40, 2.0  # requests of the largest count, seconds between two
LONGEST: Final = HOUR  # no visit lasts longer
LOOKING: Final = (20.0, 1.0)  # seconds from one request to the next: median and sigma of a lognormal distribution

CHOSEN: Final = {"standard": 63, "draft": 15, "fine": 9, "classic": 3, "own": 10}  # own: any sampler, 10 to 50 steps
SIZES: Final = {(1.0, 1.0): 75, (1.0, 1.5): 10, (1.5, 1.0): 10, (1.5, 1.5): 5}  # width and height in sides of the model
COUNTS: Final = {1: 60, 2: 20, 4: 20}
UNGUIDED: Final = 0.05  # of the requests
SIMILAR: Final = 0.15  # of the requests start from a picture, of which they keep a fifth to four fifths

DEFAULTS: Final = Defaults()
PRESETS: Final = {quality: DEFAULTS.of(quality) for quality in QUALITIES}
PICTURE: Final = Image.new("RGB", (64, 64), "red")


@dataclass(frozen=True)
class Visitors:
    """A kind of member: ``share`` of all, how often they come on a day and how many requests they make on average."""

    name: str
    share: float
    visits: float
    requests: float


OCCASIONAL: Final = Visitors("occasional", 0.09, 1, 4)
REGULAR: Final = Visitors("regular", 0.01, 3, 12)


@dataclass(frozen=True)
class Asked:
    """A request and when it comes, in seconds after midnight."""

    at: float
    owner: Hashable
    request: ImageRequest


@dataclass(frozen=True)
class Community:
    """``members`` who use a model whose own side is ``side`` and whose sides are multiples of ``cell``, in pixels."""

    members: int = MEMBERS
    side: int = 512
    cell: int = 8
    seed: int = 0

    def trace(self, begin: float, end: float) -> Iterator[Asked]:
        """Return all that is asked for between ``begin`` and ``end``, in hours after midnight, in the order of time.

        Visits that began before go on, so that any part of a day is just what it is in the whole.
        """
        coming: list[Asked] = []
        for minute in range(math.floor((begin * HOUR - LONGEST) / 60), math.ceil(end * 60)):
            coming += self._begun_in(minute)
            now = [asked for asked in coming if asked.at < (minute + 1) * 60]
            coming = [asked for asked in coming if asked.at >= (minute + 1) * 60]
            yield from sorted((asked for asked in now if begin * HOUR <= asked.at < end * HOUR), key=lambda asked: asked.at)

    def visits_a_second(self, at: float, kind: Visitors) -> float:
        """Return how often one of ``kind`` comes, ``at`` seconds after midnight."""
        hour = 1 + SWING * math.cos((at / HOUR - PEAK) * math.tau / 24)
        return self.members * kind.share * kind.visits / (24 * HOUR) * hour

    def _begun_in(self, minute: int) -> Iterator[Asked]:
        """Return what is asked for in the visits that begin in ``minute``, in no order."""
        chance = random.Random(f"{self.seed} {minute}")
        for kind in (OCCASIONAL, REGULAR):
            at, rate = minute * 60.0, self.visits_a_second(minute * 60.0, kind)
            while (at := at + chance.expovariate(rate)) < (minute + 1) * 60:
                owner = f"{kind.name} {chance.randrange(math.ceil(self.members * kind.share))}"
                yield from self._visit(at, owner, kind, chance)
        if minute == BURST * 60:
            for number in range(round(self.members * BURST_SHARE)):
                yield from self._visit(60 * (minute + chance.random()), f"curious {number}", OCCASIONAL, chance)

    def _visit(self, begin: float, owner: str, kind: Visitors, chance: random.Random) -> Iterator[Asked]:
        if chance.random() < FLOODING:
            for number in range(FLOOD):
                yield Asked(begin + number * FLOOD_GAP, owner, self._drawn(chance).replace(count=max(COUNTS)))
            return
        at = begin
        while at < begin + LONGEST:
            yield Asked(at, owner, self._drawn(chance))
            if chance.random() < 1 / kind.requests:
                return
            at += chance.lognormvariate(math.log(LOOKING[0]), LOOKING[1])

    def _drawn(self, chance: random.Random) -> ImageRequest:
        """Draw a request."""
        own = {"sampler": chance.choice([*SAMPLER_NAMES]), "steps": chance.randint(10, 50)}
        settings: dict[str, Any] = PRESETS.get(_pick(chance, CHOSEN), own)
        width, height = (round(share * self.side) // self.cell * self.cell for share in _pick(chance, SIZES))
        if chance.random() < SIMILAR:
            start_step = start_step_for(chance.uniform(0.2, 0.8), settings["steps"])
            settings = settings | {"image": PICTURE, "start_step": start_step}
        return ImageRequest(
            "red apple",
            width=width,
            height=height,
            guidance_scale=1.0 if chance.random() < UNGUIDED else DEFAULTS.guidance_scale,
            count=_pick(chance, COUNTS),
            seed=chance.randrange(2**32),
            **settings,
        )


def _pick(chance: random.Random, weights: dict[Any, int]) -> Any:
    return chance.choices([*weights], [*weights.values()])[0]
