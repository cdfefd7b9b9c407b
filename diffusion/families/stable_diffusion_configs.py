"""What Stable Diffusion 1 and 2 models may have in their configurations."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from diffusers.schedulers import KarrasDiffusionSchedulers

DEFAULT_SAMPLE_SIZE: Final = 64  # latent cells, where a configuration leaves it open
PREDICTION_TYPES: Final = ("epsilon", "v_prediction")
# Their noise schedule is given by betas, as that of all samplers here. EDM's is not.
SCHEDULERS: Final = {kind.name for kind in KarrasDiffusionSchedulers} - {"EDMEulerScheduler"}
DISTILLED_SCHEDULERS: Final = {"LCMScheduler", "TCDScheduler"}
CHANNELS: Final = {
    5: "a model that reads depth",
    7: "a model that enlarges pictures",
    8: "a model that edits pictures by instructions, as InstructPix2Pix",
    9: "a model for inpainting only",
}
# Inputs besides latents, timestep and text, by the setting of a UNet that asks for them.
MORE_INPUTS: Final = {
    "class_embed_type": "a class or another embedding, as unCLIP models and upscalers do",
    "num_class_embeds": "a class, as upscalers do",
    "encoder_hid_dim_type": "other text or pictures than Stable Diffusion does",
    "addition_embed_type": "more than one text encoder tells, as that of Stable Diffusion XL does",
}
HARMLESS: Final = {"addition_embed_type": "text"}  # pools what the text encoder provides anyway


def check_configs(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `ValueError` for a model that would be drawn wrongly.

    ``configs`` are the JSON objects of "unet", "vae", "text_encoder" and "scheduler", as far as they are there.
    """
    unet = configs.get("unet", {})
    check_unet(unet)
    check_scheduler(configs.get("scheduler", {}))
    _check_fit(unet, configs.get("vae", {}), configs.get("text_encoder", {}))


def sample_size(unet: Mapping[str, Any]) -> int:
    """Return the side in latent cells that a UNet was trained with.

    Raises `ValueError` if its sides differ.
    """
    size = unet.get("sample_size")
    if size is None:
        return DEFAULT_SAMPLE_SIZE
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(
            f"its UNet was trained with oblong pictures (sample_size {list(size)}). Only square ones are supported."
        )
    return int(sides.pop())


def check_unet(unet: Mapping[str, Any], harmless: Mapping[str, str] = HARMLESS) -> None:
    """Raise `ValueError` for a UNet with other inputs or outputs than latents and text.

    ``harmless`` are values of `MORE_INPUTS` that a family can serve.
    """
    kind = unet.get("_class_name", "UNet2DConditionModel")
    if kind != "UNet2DConditionModel":
        raise ValueError(f"its unet is of the kind {kind}, and only UNet2DConditionModel is supported.")
    for name, meaning in MORE_INPUTS.items():
        value = unet.get(name)
        if value is not None and value != harmless.get(name):
            raise ValueError(f"its UNet takes {meaning} ({name} is {value!r}). This is not supported.")
    read = unet.get("in_channels", 4)
    made = unet.get("out_channels", 4)
    if read != made:
        what = CHANNELS.get(read, "no model that draws from text alone")
        raise ValueError(f"it is {what}: its UNet reads {read} channels and makes {made}. This is not supported.")
    sample_size(unet)


def check_scheduler(scheduler: Mapping[str, Any], known: Collection[str] = SCHEDULERS | DISTILLED_SCHEDULERS) -> None:
    """Raise `ValueError` for a noise schedule that the samplers do not follow.

    ``known`` are the classes of diffusers whose noise schedule they follow.
    """
    kind = scheduler.get("_class_name")
    if kind is not None and kind not in known:
        raise ValueError(f"its scheduler is {kind}, whose noise schedule is not that of Stable Diffusion.")
    prediction_type = scheduler.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        supported = " and ".join(PREDICTION_TYPES)
        raise ValueError(f"its prediction_type is {prediction_type!r}, and only {supported} are supported.")
    if scheduler.get("use_flow_sigmas"):
        raise ValueError("its scheduler uses flow matching (use_flow_sigmas), which is not supported.")
    if scheduler.get("timestep_type", "discrete") != "discrete":
        raise ValueError(f"its timestep_type is {scheduler['timestep_type']!r}, and only 'discrete' is supported.")


def _check_fit(unet: Mapping[str, Any], vae: Mapping[str, Any], text_encoder: Mapping[str, Any]) -> None:
    """Raise `ValueError` where the parts are not of one model."""
    check_latents(unet, vae)
    width = text_encoder.get("hidden_size")
    read = unet.get("cross_attention_dim", width)
    if width is not None and read != width:
        raise ValueError(f"its UNet needs more than this text encoder provides: {read} numbers a token, not {width}.")


def check_latents(unet: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    """Raise `ValueError` where UNet and autoencoder have other latents."""
    read = unet.get("in_channels", 4)
    made = vae.get("latent_channels", 4)
    if vae and unet and read != made:
        raise ValueError(f"its UNet reads {read} channels and its autoencoder makes {made}.")
