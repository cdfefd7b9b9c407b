"""Models are described, and their memory is known, before any weight is read."""

import pytest
import torch

from diffusion.errors import ModelLoadError
from diffusion.loading import memory
from diffusion.loading import model as loading
from diffusion.loading.memory import bytes_by_part, check_fits, model_bytes
from diffusion.loading.model import describe_model, load_model
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
SPEC = ("name", "defaults", "samplers", "guide_labels", "grid", "latent_factor", "latent_channels", "sample_side", "max_tokens")


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (None, torch.float32),
        ("sdxl", torch.float16),
        ("flux", torch.float16),
        ("klein", torch.bfloat16),
        ("chroma", torch.float32),
        ("qwen", torch.bfloat16),
        ("sd3", torch.bfloat16),
        ("z_image", None),
    ],
    ids=str,
)
def test_described_model_is_as_the_loaded_one(kind, dtype, tmp_path):
    source = BUILDERS[kind].save(BUILDERS[kind].build_components(), tmp_path) if kind in BUILDERS else None
    described = describe_model(source, dtype=dtype)
    loaded = load_model(source, "cpu", dtype)
    assert described.device.type == "meta"
    assert model_bytes(described) == pytest.approx(model_bytes(loaded), rel=0.02)
    assert all(getattr(described, name) == getattr(loaded, name) for name in SPEC)
    assert described.count_tokens("a red fox") == loaded.count_tokens("a red fox")
    described.validate(described.request("a red fox"))


def test_describing_reads_no_weights(tmp_path):
    tiny_xl.save(tiny_xl.build_components(), tmp_path)
    for weights in tmp_path.rglob("*.safetensors"):
        weights.write_bytes(b"damaged")
    assert model_bytes(describe_model(tmp_path)) > 0
    with pytest.raises(ModelLoadError):
        load_model(tmp_path)


def test_what_a_model_needs_is_one_sentence(monkeypatch):
    described = describe_model(dtype=torch.float32)
    parts = bytes_by_part(described)
    assert sum(parts.values()) == model_bytes(described) and set(parts) == {"network", "autoencoder", "text encoders"}
    assert "it needs 0.0" in check_fits(described, "embedded", torch.device("cpu"))
    monkeypatch.setattr(memory, "total_bytes", lambda device: 2**24)
    with pytest.raises(ModelLoadError, match=r"it needs 0\.\d+ GiB \(.*\), and this machine has 0\.016\. Choose"):
        check_fits(described, "embedded", torch.device("cpu"))


def test_running_out_of_memory_while_loading_ends_in_a_sentence(monkeypatch):
    def run_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of")

    monkeypatch.setattr(loading, "_load_source", run_out)
    with pytest.raises(ModelLoadError, match="cannot be loaded: memory ran out"):
        load_model()
