"""The networks of a model that OpenVINO compiles for a CPU: the denoiser, and the autoencoder's decoder and encoder.

Of several ways to call each, a short measurement chooses the fastest for a number of rows.
"""

import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from diffusion.backends.compiled_cache import CompiledCache, fingerprint
from diffusion.backends.cuda_graphs import Network
from diffusion.backends.openvino import (
    MAX_STREAMS,
    Exported,
    OpenVino,
    Shape,
    compile_converted,
    convert,
    import_compiled,
    is_installed,
    with_shape,
)
from diffusion.backends.speed import ROWS, Speeds, measure

log = logging.getLogger(__name__)
EAGER: Final = "torch"
CHANNELS_LAST: Final = "torch, channels last"
ONE_STREAM: Final = "OpenVINO"
TWO_STREAMS: Final = "OpenVINO, two streams"
COMPILED: Final = (ONE_STREAM, TWO_STREAMS)
LARGE_WEIGHTS: Final = 250_000_000
PAIRED: Final = frozenset({TWO_STREAMS})
# Of a stream, in calls of the usual size: a denoiser that is compiled for them alone takes 0.5 to 0.8 of the time, and memory
# for weights of its own once it is used.
USUAL_ROWS: Final = (1, 2, 4, 8)
EXAMPLE_CELLS: Final = 16  # of a side of latents, where larger ones would only take longer


class Denoising(Protocol):
    """The part of a family that is compiled: ``predict`` and the ``denoiser`` that it calls, with its ``dtype``."""

    denoiser: Any
    dtype: torch.dtype

    def predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction."""


class _Prediction(nn.Module):
    """A family's `predict` with a ``denoiser`` of its own, and with tensors by position.

    ``names`` are those of the conditions.
    """

    def __init__(self, family: Denoising, denoiser: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._family = copy(family)
        self._family.denoiser = denoiser
        self._names = names

    def forward(self, latents: Tensor, timesteps: Tensor, *conditions: Tensor) -> Tensor:
        return self._family.predict(latents, timesteps, **dict(zip(self._names, conditions, strict=True)))


@dataclass(frozen=True)
class Part:
    """A ``network`` to compile, which computes in ``dtype``, with the tensors of an ``example`` call.

    ``plain`` calls it by torch with tensors by position. ``copied`` makes a module of that call with weights of its own, in
    a dtype. It is compiled for any calls, and besides for those of the ``usual`` shapes of the first input.
    """

    name: str
    network: nn.Module
    dtype: torch.dtype
    example: tuple[Tensor, ...]
    plain: Callable[..., Tensor]
    copied: Callable[[torch.dtype], nn.Module]
    sources: str = ""
    usual: tuple[Shape, ...] = ()

    def key(self) -> str:
        """Return the key of what is compiled from it on this machine."""
        shapes = [(tuple(tensor.shape[1:]), str(tensor.dtype)) for tensor in self.example[1:]]
        channels = self.example[0].shape[1]
        return f"{self.name}-{fingerprint([self.network], str(self.dtype), channels, shapes, self.sources, self.shapes)}"

    def is_cached(self, cache: CompiledCache) -> bool:
        """Whether ``cache`` has all that `Fastest` needs, measured while nothing else kept the cores busy."""
        key = self.key()
        speeds = _known_speeds(_speeds_key(key), cache)
        is_compiled = not is_installed() or all(cache.read(_shape_key(key, shape)) is not None for shape in self.shapes)
        return is_compiled and speeds is not None and speeds.is_quiet

    @property
    def shapes(self) -> tuple[Shape | None, ...]:
        """The shapes that it is compiled for; None: any."""
        return (None, *(() if self.is_large else self.usual))

    @property
    def is_large(self) -> bool:
        """Whether a further copy of its weights would be a burden."""
        return sum(weight.numel() for weight in self.network.parameters()) > LARGE_WEIGHTS

    def rows(self, count: int) -> list[Tensor]:
        """Return the tensors of an example call of ``count`` rows."""
        first, *others = self.example
        side = EXAMPLE_CELLS if self.name == "denoiser" else first.shape[-1]
        row = [first[:1, :, :side, :side], *(tensor[:1] for tensor in others)]
        return [tensor.repeat(count, *[1] * (tensor.dim() - 1)) for tensor in row]


def denoiser_part(family: Denoising, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Part:
    """Return the denoiser of ``family`` as a part to compile; the tensors are those of an example call."""
    names = tuple(conditions)
    usual = _usual_shapes(USUAL_ROWS, latents)
    if _halvings(family.denoiser):  # converted at any size, it takes all others
        latents = latents[:, :, :EXAMPLE_CELLS, :EXAMPLE_CELLS]
    return Part(
        "denoiser",
        family.denoiser,
        family.dtype,
        (latents, timesteps, *conditions.values()),
        lambda latents, timesteps, *given: family.predict(latents, timesteps, **dict(zip(names, given, strict=True))),
        lambda dtype: _Prediction(family, deepcopy(family.denoiser).to(dtype), names),
        _sources(type(family)),
        usual,
    )


def pixel_parts(family: Any) -> list[Part]:
    """Return decoder and encoder of the autoencoder of ``family`` as parts to compile.

    Other classes than `AutoencoderKL` call theirs in other ways, and stay with torch.
    """
    autoencoder = getattr(family, "vae", None)
    if not isinstance(autoencoder, AutoencoderKL):
        return []
    config: Any = autoencoder.config
    factor = 2 ** (len(config.block_out_channels) - 1)
    cells = torch.zeros(2, config.latent_channels, EXAMPLE_CELLS, EXAMPLE_CELLS, dtype=autoencoder.dtype)
    pixels = torch.zeros(2, config.in_channels, factor * EXAMPLE_CELLS, factor * EXAMPLE_CELLS, dtype=autoencoder.dtype)

    def part(name: str, example: Tensor, usual: tuple[Shape, ...] = ()) -> Part:
        network: Any = getattr(autoencoder, name)
        network = getattr(network, "plain", network)  # that of a compiled one
        return Part(
            name, network, autoencoder.dtype, (example,), network, lambda dtype: deepcopy(network).to(dtype), usual=usual
        )

    side = family.sample_side // family.latent_factor
    return [part("decoder", cells, _usual_shapes((1,), torch.empty(1, 1, side, side, device="meta"))), part("encoder", pixels)]


def _usual_shapes(rows: Sequence[int], latents: Tensor) -> tuple[Shape, ...]:
    """Return the shapes of ``latents`` with ``rows``; none for large latents, as each network holds memory for its calls."""
    height, width = latents.shape[-2:]
    return tuple((count, height, width) for count in rows) if max(height, width) <= EXAMPLE_CELLS else ()


def _halvings(denoiser: Any) -> int:
    """Return how often a UNet halves the sides of latents; 0 for other networks."""
    return len(getattr(denoiser.config, "block_out_channels", (0,))) - 1


def _sources(kind: type) -> str:
    """Return a checksum of the code of ``kind``, which a compiled network contains."""
    digest = hashlib.sha256()
    for module in dict.fromkeys(base.__module__ for base in kind.__mro__ if base.__module__.startswith("diffusion.")):
        digest.update(Path(sys.modules[module].__file__ or "").read_bytes())
    return digest.hexdigest()


class Fastest:
    """Calls ``part`` in the way that is fastest for a number of rows.

    What is compiled comes from ``cache``, or is compiled and kept there, which takes seconds to minutes. So does what was
    measured. Without OpenVINO only ways of torch are compared.
    """

    def __init__(self, part: Part, cache: CompiledCache) -> None:
        key = part.key()
        exported = _exported(part, key, cache) if is_installed() else None
        speeds = _known_speeds(_speeds_key(key), cache)
        if speeds is None or not (speeds.is_quiet or cache.takes_guesses):
            speeds = _measure(part, exported)
            cache.write_json(_speeds_key(key), speeds.to_json())
        self.speeds = speeds
        self._part = part
        self._ways = {way: _compiled(part, exported, way) for way in COMPILED if exported and self._is_chosen(way)}

    @property
    def summary(self) -> str:
        """How calls are made, and in which share of the time that torch takes."""
        shares = []
        for rows, plain in sorted(self.speeds.seconds[EAGER].items()):
            way = self.speeds.fastest(rows)
            shares.append(f"{rows} in {self.speeds.estimate(way, rows) / plain:.2f} of the time by {way}")
        return f"rows of a call: {', '.join(shares)}"

    def _is_chosen(self, way: str) -> bool:
        return any(self.speeds.fastest(rows) == way for rows in range(1, max(ROWS) + 1))

    def compiles(self, rows: int) -> bool:
        """Whether calls of ``rows`` rows are faster compiled."""
        return self.speeds.fastest(rows) in self._ways

    @property
    def prefers_channels_last(self) -> bool:
        """Whether torch calls it faster with weights laid out channels last."""
        seconds = self.speeds.seconds
        return CHANNELS_LAST in seconds and all(
            taken < 0.97 * seconds[EAGER].get(rows, 0) for rows, taken in seconds[CHANNELS_LAST].items()
        )

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output in float32, where `compiles` says so.

        A compiled network that fails is not used again.
        """
        try:
            return self._ways[self.speeds.fastest(len(inputs[0]))](*inputs)
        except Exception:
            log.exception("the compiled %s failed, so torch calls it from now on", self._part.name)
            self._ways = {}
            return self._part.plain(*inputs)


def _exported(part: Part, key: str, cache: CompiledCache) -> Exported:
    """Return the compiled networks of ``part`` in the form in which they are kept."""
    known = {shape: cache.read(_shape_key(key, shape)) for shape in part.shapes}
    found = {shape: content for shape, content in known.items() if content is not None}
    missing = [shape for shape in part.shapes if shape not in found]
    if missing:
        converted = convert(part.copied(torch.float32), part.example)
        for shape in missing:
            network = with_shape(converted, *shape) if shape else converted
            content = compile_converted(network, part.dtype).export_model().getbuffer()
            cache.write(_shape_key(key, shape), content)
            found[shape] = np.frombuffer(content, np.uint8)
    return found


def _shape_key(key: str, shape: Shape | None) -> str:
    return f"{key}-{'x'.join(map(str, shape))}" if shape else key


def _compiled(part: Part, exported: Exported, way: str) -> OpenVino:
    return import_compiled(exported, part.dtype, MAX_STREAMS if way == TWO_STREAMS else 1)


def _speeds_key(key: str) -> str:
    return f"{key}-speeds"


def _known_speeds(key: str, cache: CompiledCache) -> Speeds | None:
    try:
        speeds = Speeds.from_json(cache.read_json(key), PAIRED)
        return speeds if speeds.seconds[EAGER][1] else None
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


@torch.inference_mode()
def _measure(part: Part, exported: Exported | None) -> Speeds:
    networks: dict[str, Callable[..., Tensor]] = {EAGER: part.plain}
    has_more_ways = part.name == "denoiser" and not part.is_large
    if has_more_ways and any(weight.dim() == 4 for weight in part.network.parameters()):
        networks[CHANNELS_LAST] = _lay_out_channels_last(part.copied(part.dtype))
    if exported:
        networks[ONE_STREAM] = _compiled(part, exported, ONE_STREAM)
        if has_more_ways and torch.get_num_threads() > 1:
            networks[TWO_STREAMS] = _compiled(part, exported, TWO_STREAMS)

    def call(network: Callable[..., Tensor]) -> Callable[[int], object]:
        return lambda rows: network(*part.rows(rows))

    return measure({way: call(network) for way, network in networks.items()}, PAIRED & networks.keys())


class FastestDenoiser:
    """Calls the denoiser of ``family`` in the fastest way; the tensors are those of an example call.

    It takes any number of rows, and latents whose sides `fits` allows.
    """

    def __init__(
        self, family: Denoising, cache: CompiledCache, latents: Tensor, timesteps: Tensor, **conditions: Tensor
    ) -> None:
        # Sides that every level halves evenly keep the converted network independent of the size.
        self._factor = 2 ** _halvings(family.denoiser)
        self.fastest = Fastest(denoiser_part(family, latents, timesteps, **conditions), cache)
        self._names = tuple(conditions)

    def fits(self, latents: Tensor) -> bool:
        """Whether latents of this shape are faster by the compiled network, which takes them."""
        return self.fastest.compiles(len(latents)) and all(side % self._factor == 0 for side in latents.shape[2:])

    def __call__(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction in float32."""
        return self.fastest(latents, timesteps, *(conditions[name] for name in self._names))


class CompiledModule(nn.Module):
    """``plain``, by the ``fastest`` way for tensors on the CPU."""

    def __init__(self, plain: nn.Module, fastest: Fastest) -> None:
        super().__init__()
        self.plain = plain
        self._fastest = fastest

    def forward(self, sample: Tensor, *others: Any, **options: Any) -> Tensor:
        """Return the output for ``sample`` in its dtype."""
        if others or options or sample.device.type != "cpu" or not self._fastest.compiles(len(sample)):
            output: Tensor = self.plain(sample, *others, **options)
            return output
        return self._fastest(sample).to(sample.dtype)


def compile_pixels(family: Any, cache: CompiledCache) -> None:
    """Let decoder and encoder of the autoencoder of ``family`` compute in their fastest ways."""
    for part in pixel_parts(family):
        setattr(family.vae, part.name, CompiledModule(part.network, Fastest(part, cache)))


def _lay_out_channels_last(module: Any) -> Any:
    return module.to(memory_format=torch.channels_last)


def channels_last_from_next_call(network: Network, module: nn.Module) -> Network:
    """Return ``network``, whose next call first lays out the weights of ``module`` channels last.

    So they change in the thread that uses them, and never during a call.
    """
    todo = [module]

    def call(latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        while todo:
            _lay_out_channels_last(todo.pop())
        return network(latents, timesteps, **conditions)

    return call
