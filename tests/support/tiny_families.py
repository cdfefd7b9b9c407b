"""The builders of tiny models by family; each has ``build_components`` and ``save``."""

from tests.support import tiny_chroma, tiny_flux, tiny_klein, tiny_qwen_image, tiny_sd3, tiny_xl, tiny_z_image

BUILDERS = {
    "sdxl": tiny_xl,
    "flux": tiny_flux,
    "klein": tiny_klein,
    "chroma": tiny_chroma,
    "qwen": tiny_qwen_image,
    "sd3": tiny_sd3,
    "z_image": tiny_z_image,
}
