"""Images as the batcher sees them, without pictures."""

from dataclasses import dataclass

from diffusion.serving.lanes import Lane


@dataclass(eq=False)
class Item:
    owner: str
    name: str = ""
    shape: tuple[int, ...] = (1, 4, 4, 4)
    rows: int = 2
    left: int = 10
    lane: Lane | None = None
    network: str = ""
    decoding: tuple[int, ...] | None = None

    @property
    def group(self):
        return self.lane, self.shape
