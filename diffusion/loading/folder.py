"""The parts of a model in a folder in diffusers' layout; safetensors only."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import SchedulerMixin
from torch import nn
from transformers import PreTrainedModel

from diffusion.families.family import Family
from diffusion.loading.hub import INDEX_FILE, Configs, variant_of

PRETRAINED = Path(__file__).parents[1] / "pretrained"  # the embedded model


def load_folder(
    family: type[Family],
    folder: Path,
    dtype: torch.dtype,
    load: Callable[..., Any] | None = None,
    *,
    without_weights: Collection[str] = (),
) -> dict[str, Any]:
    """Load the parts of ``family`` one by one, by their names in its constructor.

    ``load`` loads a network; by default it is `load_network`. It needs no weights in the folders ``without_weights``. Raises
    what the libraries raise for a part that is missing or damaged, `ValueError` or `NoWeightsError`.
    """
    for name, kind in family.parts.items():  # before any weights are read
        if name not in without_weights and issubclass(kind, nn.Module):
            _variant(folder, name, dtype)
    index = Configs(folder, ()).read(INDEX_FILE) or {}
    parts: dict[str, Any] = {name: index[name] for name in family.index_settings if name in index}
    for name, kind in family.parts.items():
        if issubclass(kind, SchedulerMixin):
            parts["scheduler_config"] = dict(kind.load_config(folder, subfolder=name))  # type: ignore[attr-defined]
        elif issubclass(kind, nn.Module):
            parts[name] = (load or load_network)(kind, folder, name, dtype)
        else:
            parts[name] = kind.from_pretrained(folder, subfolder=name)  # type: ignore[attr-defined]
    return parts


def load_network(kind: Any, folder: Path, name: str, dtype: torch.dtype) -> Any:
    """Load the network of class ``kind`` in the folder ``name``.

    Raises `ValueError` if weights are missing.
    """
    loaded, report = kind.from_pretrained(
        folder,
        subfolder=name,
        dtype=dtype,
        use_safetensors=True,
        variant=_variant(folder, name, dtype),
        output_loading_info=True,
    )
    if missing := sorted(report["missing_keys"]):  # they would be random numbers
        raise ValueError(f"{missing[0]} of its {name} and {len(missing) - 1} more are missing.")
    return loaded


def _variant(folder: Path, name: str, dtype: torch.dtype) -> str | None:
    return variant_of([f"{name}/{file.name}" for file in (folder / name).glob("*")], name, dtype != torch.float32)


def empty_network(kind: Any, folder: Path, name: str, dtype: torch.dtype) -> Any:
    """Build the network of class ``kind`` in the folder ``name`` as `load_network` does, but on the meta device."""
    with init_empty_weights():
        if issubclass(kind, PreTrainedModel):
            config: Any = kind.config_class
            network: Any = kind(config.from_pretrained(folder, subfolder=name))
        else:
            network = kind.from_config(kind.load_config(folder, subfolder=name))
    if isinstance(network, PreTrainedModel):
        network.tie_weights()  # here, as nothing stays tied on the meta device above
    return as_loaded(network, dtype)


def as_loaded(network: Any, dtype: torch.dtype) -> Any:
    """Return ``network`` with the dtypes that loading it in ``dtype`` gives its weights."""
    kept = set(getattr(network, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16:
        kept |= set(getattr(network, "_keep_in_fp32_modules", None) or ())
    stored = network.state_dict(keep_vars=True)  # without the buffers that are computed
    for name, tensor in stored.items():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if kept.intersection(name.split(".")) else dtype)
    return network


def networks_of(parts: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Return those of ``parts`` that compute."""
    return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
