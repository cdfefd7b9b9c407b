"""What all transformers of flow matching have in common."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from diffusion.sampling.conditions import Conditions
from tests.support import tiny_chroma, tiny_flux, tiny_klein, tiny_qwen_image, tiny_sd3, tiny_z_image


@pytest.mark.parametrize(
    "builder",
    [tiny_chroma, tiny_flux, tiny_klein, tiny_qwen_image, tiny_sd3, tiny_z_image],
    ids=["chroma", "flux", "klein", "qwen", "sd3", "z_image"],
)
def test_predict_looks_at_no_value_so_that_it_can_be_recorded_as_a_graph(builder):
    model = builder.model_of(builder.build_components())
    texts = [model.family.encode(text, model.request("a fox")) for text in ("a fox", "a fox " * 20)]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():  # its tensors have no values
        conditions = {name: mode.from_tensor(row.clone()) for name, row in Conditions.stack(texts).tensors.items()}
        latents = mode.from_tensor(torch.zeros(2, model.latent_channels, 4, 6))
        timesteps = mode.from_tensor(torch.tensor([900.0, 100.0]))
        assert model.family.predict(latents, timesteps, **conditions).shape == latents.shape
