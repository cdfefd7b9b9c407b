"""The readers of all tools, and the recipe of a file by the first that can read it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from diffusion.errors import InvalidImageError
from diffusion.images.decoding import decode_texts
from diffusion.images.exif import EXIF_PREFIX
from diffusion.images.metadata import a1111, comfyui, fooocus, invokeai, novelai, swarmui
from diffusion.images.metadata.recipe import Recipe, UnreadableError

Reader = Callable[[Mapping[str, str]], Recipe | None]

READERS: Final[tuple[Reader, ...]] = (
    a1111.read,
    swarmui.read,
    fooocus.read,
    invokeai.read,
    novelai.read,
    comfyui.read,
)
LABELS: Final = ("prompt", "workflow", "parameters")  # ComfyUI writes them into any tag that takes a text
MAX_LABEL: Final = 20  # characters
MAX_NAMES: Final = 20  # of LoRAs and parts in a recipe
MAX_NAME: Final = 200  # characters


def read_recipe(data: bytes) -> Recipe:
    """Read how the picture in a file was made.

    Raises `InvalidImageError` if the file does not contain that.
    """
    return recipe_of(*decode_texts(data))


def recipe_of(texts: Mapping[str, str], size: tuple[int, int] | None = None) -> Recipe:
    """Return the recipe in the ``texts`` of a file, named as in `DecodedImage`.

    ``size`` is that of the picture in pixels; it stands in where the texts name none. Raises `InvalidImageError` if no reader
    finds a recipe.
    """
    texts = {**dict(_labelled(texts)), **texts}
    unreadable: UnreadableError | None = None
    for reader in READERS:
        try:
            recipe = reader(texts)
        except UnreadableError as error:
            unreadable = unreadable or error
            continue
        if recipe is not None:
            return _tidy(recipe, size)
    if unreadable:
        raise InvalidImageError(
            "This picture contains no generation settings that I can read: {tool} wrote it, but I cannot read its {part}.",
            tool=unreadable.tool,
            part=_tidy_name(unreadable.reason),
        )
    raise InvalidImageError("This picture contains no generation settings.")


def _labelled(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the texts of EXIF that begin with a name, such as "prompt:{...}", by that name."""
    for name, text in texts.items():
        label, colon, rest = text[:MAX_LABEL].partition(":")
        if colon and name.startswith(EXIF_PREFIX) and label.strip().lower() in LABELS:
            yield label.strip().lower(), rest + text[MAX_LABEL:]


def _tidy(recipe: Recipe, size: tuple[int, int] | None) -> Recipe:
    """Add the size of the picture, and make all texts and numbers of names safe to show."""
    settings = {name: _tidy_value(value) for name, value in recipe.settings.items()}
    if size is not None and not (settings.get("width") and settings.get("height")):
        settings["width"], settings["height"] = size
    return Recipe(
        settings,
        _tidy_name(recipe.model),
        _tidy_name(recipe.sampler),
        recipe.has_source,
        _tidy_names(recipe.loras),
        _tidy_names(recipe.left_out),
        _tidy_names(recipe.unread),
    )


def _tidy_names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(_tidy_name, names[:MAX_NAMES]))))


def _tidy_value(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _tidy_name(name: str) -> str:
    return " ".join(_tidy_value(name[:MAX_NAME]).split())
