"""What a single file tells about its size and noise schedule, and a .yaml beside it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

PREDICTIONS: Final = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "v-prediction": "v_prediction",
}
V_KEY: Final = "v_pred"  # empty tensors by which a file says what it is
ZERO_SNR_KEY: Final = "ztsnr"
ZERO_SNR: Final = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
EDM_KEY: Final = "edm_mean"  # a tensor of files whose noise is given by sigmas, as Playground 2.5
EDM: Final = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "rho": 7.0,
}
SCALINGS: Final = {"EpsScaling": "epsilon", "VScaling": "v_prediction"}  # classes in a .yaml of Stable Diffusion XL
BASE_STEPS: Final = (875000, 220000)  # training steps of Stable Diffusion 2 base and 2.1 base, which predict epsilon
BASE_SIDE: Final = 512
YAML_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class FileSettings:
    """What differs from the published configurations.

    ``side`` is in pixels, None if nothing tells it; ``scheduler`` are settings of the scheduler.
    """

    side: int | None = None
    scheduler: dict[str, Any] = field(default_factory=dict)


def read_settings(
    path: Path, names: Collection[str], metadata: Mapping[str, str], *, global_step: int | None = None
) -> FileSettings:
    """Read the settings of ``path`` with tensors of ``names``.

    The surest counts: the .yaml beside the file, then its empty tensors, then its ``metadata`` (modelspec), then its
    ``global_step``. Metadata that cannot be read are passed over. Raises `ValueError` for a damaged .yaml.
    """
    side = _side(metadata.get("modelspec.resolution", ""))
    is_base = global_step in BASE_STEPS
    prediction = (
        _prediction_beside(path)
        or ("v_prediction" if V_KEY in names else None)
        or PREDICTIONS.get(metadata.get("modelspec.prediction_type", "").strip().lower())
        or ("epsilon" if is_base else None)
    )
    scheduler: dict[str, Any] = {"prediction_type": prediction} if prediction else {}
    if ZERO_SNR_KEY in names:
        scheduler |= ZERO_SNR
    if EDM_KEY in names:
        scheduler |= EDM
    return FileSettings(side or (BASE_SIDE if is_base else None), scheduler)


def _side(resolution: str) -> int | None:
    """Return the first side of "512x768", None for what is no size."""
    first = resolution.lower().partition("x")[0].strip()
    side = int(first) if first.isdecimal() and len(first) < 6 else 0
    return side if side >= 64 and side % 8 == 0 else None


def _prediction_beside(path: Path) -> str | None:
    """Return the kind of prediction in the .yaml beside ``path``, None without one."""
    beside = next((path.with_suffix(suffix) for suffix in YAML_SUFFIXES if path.with_suffix(suffix).is_file()), None)
    if beside is None:
        return None
    try:
        parameters = yaml.safe_load(beside.read_text("utf-8"))["model"]["params"]
        scaling = parameters.get("denoiser_config", {}).get("params", {}).get("scaling_config", {}).get("target", "")
        told = SCALINGS.get(scaling.rpartition(".")[2], scaling) or str(parameters.get("parameterization", "eps"))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{beside.name} beside it is no configuration of Stable Diffusion. Remove or correct it.") from error
    if told not in PREDICTIONS:
        raise ValueError(f"{beside.name} beside it has parameterization {told}, and only eps and v are supported.")
    return PREDICTIONS[told]
