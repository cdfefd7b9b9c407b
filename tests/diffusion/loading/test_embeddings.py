"""Files of embeddings: what is read, and what is left out with a sentence."""

import copy
import re

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from diffusion.errors import ModelLoadError
from diffusion.loading.embeddings import MAX_BYTES, add_embeddings
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support import tiny_xl
from tests.support.models import model_of
from tests.support.parity import difference_of

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


@pytest.mark.parametrize("count", [1, 3])
def test_embedding_draws_as_in_diffusers(tiny_components, tmp_path, count):
    vectors = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(6))
    save_file({"emb_params": vectors}, tmp_path / "inked.safetensors")
    networks = {
        name: copy.deepcopy(tiny_components[name]) for name in ("vae", "tokenizer", "text_encoder", "unet", "scheduler")
    }
    reference = StableDiffusionPipeline(**networks, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    reference.set_progress_bar_config(disable=True)
    reference.load_textual_inversion(tmp_path / "inked.safetensors", token="inked")
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    settings = {"height": 32, "width": 32, "guidance_scale": 5.0, "negative_prompt": "a dog"}
    prompt = "a fox, inked, in snow"
    theirs = reference(prompt, num_inference_steps=4, latents=noise, output_type="latent", **settings).images

    model = model_of(tiny_components)
    add_embeddings(model, tmp_path)
    request = ImageRequest(prompt, steps=4, sampler="ddim", **settings)
    ours = denoise_all(model, [model.trajectory(request, noise=noise)])[0]
    without = denoise_all(model_of(tiny_components), [model_of(tiny_components).trajectory(request, noise=noise)])[0]
    difference = difference_of(ours, theirs)
    print(f"embedding of {count} vectors: {difference:.1e}")
    assert difference <= 1e-5
    assert (without - theirs).abs().max() > 1e-3 * theirs.abs().max()


def test_embedding_of_two_encoders_draws_as_in_diffusers(tmp_path):
    generator = torch.Generator().manual_seed(6)
    vectors = {"clip_l": torch.randn(2, 16, generator=generator), "clip_g": torch.randn(2, 24, generator=generator)}
    save_file(vectors, tmp_path / "inked.safetensors")
    components = tiny_xl.build_components("base")
    model = tiny_xl.model_of(components)
    request = ImageRequest("a fox, inked, in snow", "a dog", 32, 32, 3, 5.0, "euler", 4)
    without = denoise_all(model, [model.trajectory(request)])[0]
    add_embeddings(model, tmp_path)
    ours = denoise_all(model, [model.trajectory(request)])[0]

    parts = {name: part if name == "unet" else copy.deepcopy(part) for name, part in components.items()}
    reference = tiny_xl.pipeline_of(StableDiffusionXLPipeline, parts, model, "euler")
    for name, suffix in (("clip_l", ""), ("clip_g", "_2")):
        encoder, tokenizer = (getattr(reference, f"{part}{suffix}") for part in ("text_encoder", "tokenizer"))
        reference.load_textual_inversion(vectors[name], token="inked", text_encoder=encoder, tokenizer=tokenizer)
    theirs = reference(
        request.prompt,
        negative_prompt="a dog",
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(4),
        output_type="latent",
    ).images
    difference = difference_of(ours, theirs)
    print(f"embedding of two encoders: {difference:.1e}")
    assert difference <= 1e-5
    assert (without - theirs).abs().max() > 1e-3 * theirs.abs().max()
