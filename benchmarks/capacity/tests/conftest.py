import pytest

from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.random_weights import TINY_SCHEDULER, build_tiny_components


@pytest.fixture(scope="session")
def tiny_model():
    """A model of toy size: 32x32 pictures, float32."""
    networks = build_tiny_components()
    del networks["scheduler"]
    family = StableDiffusion(**networks, scheduler_config=TINY_SCHEDULER | {"prediction_type": "epsilon"})
    return ImageModel(family, name="tiny")
