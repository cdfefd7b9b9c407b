"""The known families; a new one is a file beside this one and a line here."""

from typing import Final

from diffusion.families.chroma import Chroma
from diffusion.families.family import Family
from diffusion.families.flux import Flux
from diffusion.families.flux_2_klein import Flux2Klein
from diffusion.families.qwen_image import QwenImage
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.families.stable_diffusion_3 import StableDiffusion3
from diffusion.families.stable_diffusion_xl import StableDiffusionXL
from diffusion.families.z_image import ZImage

FAMILIES: Final[dict[str, type[Family]]] = {
    pipeline: family
    for family in (StableDiffusion, StableDiffusionXL, StableDiffusion3, Flux, Flux2Klein, Chroma, QwenImage, ZImage)
    for pipeline in (family.pipeline, *family.other_pipelines)
}
