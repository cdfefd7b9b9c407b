"""The models that members can choose by name. No tensors."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from diffusion.errors import InvalidRequestError

T = TypeVar("T")
LoadModel = Callable[[], tuple[Any, Any]]  # loads a model and what checks its pictures, both of the engine's own kind
MODELS_NAMED: Final = 10  # of those that a sentence lists


@dataclass(frozen=True)
class Offer:
    """How to load a model, and how to describe it without its weights: what it accepts, and its bytes of memory.

    Both run in a thread of their own and raise `ModelLoadError`.
    """

    load: LoadModel
    describe: Callable[[], tuple[Any, int]]


def find_name(names: Iterable[str], typed: str) -> str | None:
    """Return the one of ``names`` that ``typed`` means: in any letters, and without the owner of a hub id."""
    folded = typed.strip().casefold()
    known = {name.casefold(): name for name in names}
    ends = [name for name in known.values() if name.casefold().rpartition("/")[2] == folded]
    return known.get(folded) or (ends[0] if len(ends) == 1 else None)


def choose(models: Mapping[str, T], name: str) -> T:
    """Return the one of ``models`` called ``name``; raises `InvalidRequestError`."""
    if name in models:
        return models[name]
    known = ", ".join(f"`{each}`" for each in list(models)[:MODELS_NAMED]) + (", …" if len(models) > MODELS_NAMED else "")
    raise InvalidRequestError("model", "There is no model `{name}` here. Choose one of {known}.", name=name, known=known)
