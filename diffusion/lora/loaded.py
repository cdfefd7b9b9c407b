"""The LoRAs of a model in memory: read ahead, loaded into its layers when a picture needs them, and dropped by use."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakSet

import torch
from torch import Tensor, nn

from diffusion.errors import InvalidRequestError
from diffusion.lora.adapted_layer import AdaptedLayer, Current, Home, RowColumns, bytes_per_column, is_adaptable, weight_shape
from diffusion.lora.catalogue import LoraCatalogue, LoraFile
from diffusion.lora.header import GONE
from diffusion.lora.kinds import CROSS_WIDTHS
from diffusion.lora.layer_index import LayerIndex
from diffusion.lora.weights import LoraMemoryFullError, LoraWeights, read_weights
from diffusion.text import N_

# Conditions of a row, besides those of its family:
COLUMNS: Final = "lora_columns"
WEIGHTS: Final = "lora_weights"
MIN_COLUMNS: Final = 4
MAX_BYTES: Final = 2**30  # of LoRAs in the layers; as many again may wait there, read ahead
TOGETHER: Final = N_("These LoRAs together need more memory than this bot allows for LoRAs. Leave some out.")
TOO_LARGE: Final = N_("The LoRA {name} needs more memory than this bot allows for LoRAs. Choose another one.")
Key = tuple[Path, tuple[int, int]]


@dataclass(eq=False)
class LoraRow:
    """The LoRAs of one picture: columns and weights (1, columns), on the CPU.

    As long as it lives, its LoRAs stay in the layers.
    """

    columns: Tensor
    weights: Tensor

    def for_all(self, device: torch.device) -> RowColumns:
        """Return them for all rows of a call."""
        return RowColumns(self.columns.to(device), self.weights.to(device), are_of_all=True)

    def conditions(self, rows: int) -> dict[str, Tensor]:
        """Return the conditions of as many ``rows`` of a call."""
        return {COLUMNS: self.columns.expand(rows, -1), WEIGHTS: self.weights.expand(rows, -1)}


@dataclass
class _Slot:
    """The columns of a LoRA in all layers, and the pictures that use them."""

    columns: list[int]
    users: WeakSet[LoraRow] = field(default_factory=WeakSet)


class LoadedLoras:
    """Loads the LoRAs of a ``catalogue`` into the layers of ``networks``.

    `read` and `is_read` are safe in any thread, the other methods in the thread that calls the networks. All LoRAs in the
    layers take at most ``max_bytes``; the least recently used ones go first, and those of running pictures stay. ``relaid`` is
    called when layers have moved in memory, ``replaced`` when a LoRA comes from a newer file.
    """

    def __init__(self, networks: Mapping[str, nn.Module], catalogue: LoraCatalogue, max_bytes: int = MAX_BYTES) -> None:
        self._networks = networks
        self.catalogue = catalogue
        self.current = Current()
        self.relaid: Callable[[], None] = lambda: None
        self.replaced: Callable[[], None] = lambda: None
        self._max_bytes = max_bytes
        self._homes = {name: Home.of(network) for name, network in networks.items()}
        self._most = min((torch.finfo(home.dtype).max for home in self._homes.values()), default=0.0)
        self._lock = threading.Lock()  # of `_read`
        self._read: OrderedDict[Key, LoraWeights] = OrderedDict()
        self._slots: OrderedDict[Key, _Slot] = OrderedDict()
        self._versions: dict[str, Key] = {}
        self._layers: dict[tuple[str, str], AdaptedLayer] = {}
        self._capacity = 0
        self._free: list[int] = []

    @property
    def loaded(self) -> int:
        """How many LoRAs are in the layers."""
        return len(self._slots)

    @property
    def bytes(self) -> int:
        """The memory of the layers' LoRAs."""
        return sum(layer.bytes for layer in self._layers.values())

    def is_read(self, loras: Sequence[tuple[str, float]]) -> bool:
        """Whether ``loras`` are in memory, or cannot be."""
        files = [self.catalogue.file(name) for name, _ in loras]
        return all(file is None or _key(file) in self._slots or _key(file) in self._read for file in files)

    def read(self, loras: Sequence[tuple[str, float]]) -> None:
        """Read the files of ``loras``, so that `row` need not; raises `InvalidRequestError`."""
        for name, _ in loras:
            file = self._file(name)
            if _key(file) in self._slots or _key(file) in self._read:
                continue
            weights = read_weights(name, file, self._most)
            with self._lock:
                self._read[_key(file)] = weights
                while len(self._read) > 1 and sum(each.bytes for each in self._read.values()) > self._max_bytes:
                    self._read.popitem(last=False)

    @torch.inference_mode()
    def row(self, loras: Sequence[tuple[str, float]]) -> LoraRow:
        """Load ``loras`` and return the row of a picture with them.

        Raises `InvalidRequestError` for LoRAs that cannot be used, and `LoraMemoryFullError` while others leave no room.
        """
        row = LoraRow(torch.empty(1, 0, dtype=torch.int64), torch.empty(1, 0))
        for name, weight in loras:
            try:
                slot = self._slot(name)
            except LoraMemoryFullError:
                if all(user is row for each in self._slots.values() for user in each.users):
                    raise InvalidRequestError("loras", TOGETHER) from None
                raise
            slot.users.add(row)
            row.columns = torch.cat([row.columns, torch.tensor([slot.columns])], 1)
            row.weights = torch.cat([row.weights, torch.full((1, len(slot.columns)), weight)], 1)
        return row

    def _slot(self, name: str) -> _Slot:
        file = self._file(name)
        key = _key(file)
        if self._versions.setdefault(name, key) != key:
            self._versions[name] = key
            self.replaced()
        if key not in self._slots:
            self._make_room(name, file)
            with self._lock:
                weights = self._read.pop(key, None)
            self._slots[key] = self._load(weights or read_weights(name, file, self._most))
        self._slots.move_to_end(key)
        return self._slots[key]

    def _load(self, weights: LoraWeights) -> _Slot:
        columns = [self._free.pop() for _ in range(weights.file.rank)]
        try:
            placed = torch.tensor(columns, device=next(iter(self._layers.values())).down.device)
            changed = {(layer.network, layer.module): layer for layer in weights.layers}
            for place, adapted in self._layers.items():
                if layer := changed.get(place):
                    adapted.write(placed, layer.down, layer.up)
                else:
                    adapted.clear(placed)
        except BaseException:
            self._free += columns
            raise
        return _Slot(columns)

    def _make_room(self, name: str, file: LoraFile) -> None:
        """Adapt more layers, add columns, or drop LoRAs, until that of ``file`` fits."""
        places = {(layer.network, layer.module) for layer in file.layers}
        rank = file.rank
        if rank * self._bytes_per_column(places) > self._max_bytes:
            raise InvalidRequestError("loras", TOO_LARGE, name=name)
        if self._capacity * self._bytes_per_column({*places, *self._layers}) > self._max_bytes:
            self._reset()
        most = self._max_bytes // self._bytes_per_column({*places, *self._layers})
        while len(self._free) < rank and self._drop_one(only_if=self._capacity + rank - len(self._free) > most):
            pass
        missing = rank - len(self._free)
        is_relaid = missing > 0 or not places <= self._layers.keys()
        if missing > 0:
            self._grow(min(most, max(2 * self._capacity, self._capacity + missing)))
        for network, module in places - self._layers.keys():
            adapted = self._networks[network].get_submodule(module)
            self._layers[network, module] = AdaptedLayer(adapted, self._homes[network], self.current, self._capacity)
        if is_relaid:
            self.relaid()

    def _grow(self, capacity: int) -> None:
        for layer in self._layers.values():
            layer.grow(capacity)
        self._free += range(self._capacity, capacity)
        self._capacity = capacity

    def _drop_one(self, only_if: bool) -> bool:
        """Drop the LoRA that was unused for longest, if ``only_if``; return whether it did.

        Raises `LoraMemoryFullError` if running pictures use all.
        """
        if not only_if:
            return False
        idle = next((key for key, slot in self._slots.items() if not slot.users), None)
        if idle is None:
            raise LoraMemoryFullError
        self._free += self._slots.pop(idle).columns
        return True

    def _reset(self) -> None:
        """Drop all LoRAs, because the layers with more of them would not fit."""
        if any(slot.users for slot in self._slots.values()):
            raise LoraMemoryFullError
        self.clear()

    def clear(self) -> None:
        """Drop all LoRAs and leave the layers as they were."""
        for layer in self._layers.values():
            layer.remove()
        self._slots.clear()
        self._layers.clear()
        self._free.clear()
        self._capacity = 0
        self.relaid()

    def _bytes_per_column(self, places: set[tuple[str, str]]) -> int:
        found = ((self._networks[network].get_submodule(module), self._homes[network]) for network, module in places)
        return sum(bytes_per_column(module, home) for module, home in found)

    def _file(self, name: str) -> LoraFile:
        file = self.catalogue.file(name)
        if file is None:
            raise InvalidRequestError("loras", GONE, name=name)
        return file


def layer_index(networks: Mapping[str, nn.Module], label: str) -> LayerIndex:
    """Index the layers of ``networks`` that LoRAs may change; ``label`` names their family."""
    shapes = {
        network: {name: weight_shape(layer) for name, layer in module.named_modules() if is_adaptable(layer)}
        for network, module in networks.items()
    }
    config = getattr(networks.get("unet"), "config", None)
    width = getattr(config, "cross_attention_dim", None)
    layers_per_block = getattr(config, "layers_per_block", 2)
    family = CROSS_WIDTHS.get(width, label) if isinstance(width, int) else label
    return LayerIndex(family, shapes, layers_per_block if isinstance(layers_per_block, int) else 2)


def arrange(conditions: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Tensor | None]:
    """Return ``conditions`` with the rows that have LoRAs first, and the new order of all rows.

    The LoRA conditions keep those rows only, and are left out where no row has any. Numbers of rows and columns become powers
    of two, so that few shapes occur. The order is None where nothing moves.
    """
    weights = conditions.get(WEIGHTS)
    if weights is None:
        return conditions, None
    kept = {name: tensor for name, tensor in conditions.items() if name not in (COLUMNS, WEIGHTS)}
    is_adapted = weights.any(1)
    count = int(is_adapted.sum())
    if not count:
        return kept, None
    taken = min(len(weights), _power_of_two(count))
    order = None
    columns = conditions[COLUMNS]
    if not is_adapted[:count].all() and taken < len(weights):
        order = is_adapted.int().argsort(descending=True, stable=True)
        kept = {name: tensor[order.to(tensor.device)] for name, tensor in kept.items()}
        columns, weights = columns[order], weights[order]
    fill = _power_of_two(max(MIN_COLUMNS, columns.shape[1])) - columns.shape[1]
    columns, weights = (torch.nn.functional.pad(tensor[:taken], (0, fill)) for tensor in (columns, weights))
    return {**kept, COLUMNS: columns, WEIGHTS: weights}, order


def split(conditions: Mapping[str, Tensor], device: torch.device) -> tuple[dict[str, Tensor], RowColumns | None]:
    """Split ``conditions`` into those of the family and the LoRAs on ``device``."""
    kept = {name: tensor for name, tensor in conditions.items() if name not in (COLUMNS, WEIGHTS)}
    if COLUMNS not in conditions:
        return kept, None
    return kept, RowColumns(conditions[COLUMNS].to(device), conditions[WEIGHTS].to(device))


def call_apart(
    plain: Callable[..., Tensor], adapted: Callable[..., Tensor], latents: Tensor, timesteps: Tensor, **conditions: Tensor
) -> Tensor:
    """Call the network ``adapted`` with the first rows, which have LoRAs, and ``plain`` with the others."""
    count = len(conditions[COLUMNS])
    if count == len(latents):
        return adapted(latents, timesteps, **conditions)
    first = {name: tensor[:count] for name, tensor in conditions.items()}
    others = {name: tensor[count:] for name, tensor in conditions.items() if name not in (COLUMNS, WEIGHTS)}
    # Cloned, because a network of graphs overwrites its output in its next call.
    changed = adapted(latents[:count], timesteps[:count], **first).clone()
    return torch.cat([changed, plain(latents[count:], timesteps[count:], **others).to(changed)])


def _key(file: LoraFile) -> Key:
    return file.path, file.version


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
