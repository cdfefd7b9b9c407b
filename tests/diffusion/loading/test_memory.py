"""Models are described, and their memory is known, before any weight is read."""

import pytest
import torch

from diffusion.errors import ModelLoadError
from diffusion.loading import model as loading
from diffusion.loading.memory import model_bytes
from diffusion.loading.model import describe_model, load_model
from diffusion.loading.working_memory import decode_bytes, encode_bytes, peak_bytes, step_bytes
from diffusion.sampling.conditions import Conditions
from tests.support import tiny_xl
from tests.support.tiny_families import BUILDERS

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


@pytest.mark.parametrize(("rows", "device"), [(1, torch.device("cpu")), (2, torch.device("cuda"))], ids=str)
def test_memory_of_calls_is_computed_without_weights(rows, device):
    described, loaded = describe_model(dtype=torch.float32), load_model(None, "cpu", torch.float32)
    request = described.request("a fox", width=64, height=128)
    row = loaded.family.encode("a fox", request)
    latents = torch.zeros(rows, *loaded.latent_shape(64, 128)[1:])
    conditions = Conditions.stack([row] * rows).tensors
    step = peak_bytes(lambda: loaded.family.predict(latents, torch.zeros(rows), **conditions), device)
    assert step_bytes(described.family, request, rows, device=device) == pytest.approx(step, rel=0.02)
    assert encode_bytes(described.family, request, device=device) > 0
    decoding = peak_bytes(lambda: loaded.family.to_pixels(latents[:1]), device)
    assert decode_bytes(described.family, request, device=device) == pytest.approx(decoding, rel=0.02)


def test_running_out_of_memory_while_loading_ends_in_a_sentence(monkeypatch):
    def run_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of")

    monkeypatch.setattr(loading, "_load_source", run_out)
    with pytest.raises(ModelLoadError, match="cannot be loaded: memory ran out"):
        load_model()
