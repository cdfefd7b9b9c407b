"""Files of embeddings: what is read, and what is left out with a sentence."""

import re

import pytest
import torch
from safetensors.torch import save_file

from diffusion.errors import ModelLoadError
from diffusion.loading.embeddings import MAX_BYTES, add_embeddings
from tests.support.models import model_of

WIDTH = 16  # of the tiny model's text encoder
READ = {
    "a1111": {"emb_params": torch.ones(3, WIDTH)},
    "diffusers": {"<cat-toy>": torch.ones(WIDTH)},
    "half": {"emb_params": torch.ones(2, WIDTH, dtype=torch.float16)},
}
LEFT_OUT = {
    "sdxl": (
        {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)},
        "have the width 768, 1280, and those of this model 16",
    ),
    "wide": ({"emb_params": torch.ones(2, 768)}, "have the width 768"),
    "uneven": ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)}, "another number of vectors"),
    "lora": ({f"lora_unet_{name}": torch.ones(1) for name in "abc"}, "it is no embedding (textual inversion)"),
    "scalar": ({"emb_params": torch.ones(())}, "no list of vectors"),
    "integers": ({"emb_params": torch.ones(2, WIDTH, dtype=torch.int64)}, "no list of vectors"),
    "nan": ({"emb_params": torch.full((1, WIDTH), float("nan"))}, "not finite"),
    "long": ({"emb_params": torch.ones(76, WIDTH)}, "it has 76 vectors, and this model reads 75 at a time"),
    "two words": ({"emb_params": torch.ones(1, WIDTH)}, "its name is no word"),
}


@pytest.fixture
def model(tiny_components):
    return model_of(tiny_components)


def test_add_embeddings_reads_each_layout_and_no_other_file(model, tmp_path):
    for name, tensors in READ.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder.safetensors").mkdir()
    add_embeddings(model, tmp_path)
    assert model.embeddings == {"a1111": 3, "diffusers": 1, "half": 2}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_add_embeddings_leaves_out_what_is_none_for_the_model(model, tmp_path, caplog, name):
    tensors, reason = LEFT_OUT[name]
    save_file(tensors, tmp_path / f"{name}.safetensors")
    add_embeddings(model, tmp_path)
    assert not model.embeddings
    (record,) = caplog.records
    assert f"the embedding {name}.safetensors is left out" in record.message and re.search(re.escape(reason), record.message)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("old.pt", b"PK\x03\x04", "it is a pickle"),
        ("old.bin", b"\x80\x02", "it is a pickle"),
        ("cut.safetensors", b"\x10", "no complete safetensors file"),
        ("large.safetensors", bytes(MAX_BYTES + 1), "larger than 16 MiB"),
    ],
)
def test_add_embeddings_leaves_out_files_that_are_not_read(model, tmp_path, caplog, name, data, reason):
    (tmp_path / name).write_bytes(data)
    add_embeddings(model, tmp_path)
    assert not model.embeddings and reason in caplog.text


def test_add_embeddings_needs_a_folder(model, tmp_path):
    with pytest.raises(ModelLoadError, match="EMBEDDINGS names no folder"):
        add_embeddings(model, tmp_path / "none")
