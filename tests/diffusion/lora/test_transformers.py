"""LoRAs of the transformers of flow matching, also with the names of their original code."""

import copy

import pytest
import torch
from diffusers.loaders import lora_conversion_utils
from safetensors.torch import load_file, save_file

from diffusion.lora.header import Header
from diffusion.lora.kinds import family_of
from diffusion.lora.original_names import original_layers
from diffusion.sampling.trajectory import denoise_all
from tests.support import tiny_chroma, tiny_klein, tiny_qwen_image, tiny_sd3, tiny_z_image
from tests.support.lora_files import merge, random_pairs, write_diffusers
from tests.support.parity import difference_of

SCALE = 2 / 4  # alpha / rank of the files
FAMILIES = {"chroma": tiny_chroma, "klein": tiny_klein, "qwen": tiny_qwen_image, "sd3": tiny_sd3, "z_image": tiny_z_image}
ORIGINALS = {
    "chroma": {"double_blocks.0.img_attn.qkv", "single_blocks.0.linear1"},
    "klein": {"double_blocks.0.txt_mlp.2", "single_blocks.0.linear1", "single_blocks.0.linear2"},
    "z_image": {"layers.1.attention.qkv", "noise_refiner.0.attention.out"},
}


def write_original(path, transformer, pairs):
    """Write those of ``pairs`` that layers of the original code stand for, as ComfyUI reads them; return the pairs written."""
    names = original_layers([name for name, _ in transformer.named_modules()])
    tensors, written = {}, {}
    for name, modules in names.items():
        down = pairs["transformer", modules[0]][0]
        ups = [pairs["transformer", module][1] for module in modules]
        tensors |= {
            f"diffusion_model.{name}.lora_A.weight": down.clone(),
            f"diffusion_model.{name}.lora_B.weight": torch.cat(ups),
            f"diffusion_model.{name}.alpha": torch.tensor(2.0),
        }
        written |= {("transformer", module): (down, up) for module, up in zip(modules, ups, strict=True)}
    save_file(tensors, path)
    return written, set(names)


@pytest.mark.parametrize("name", FAMILIES)
def test_mixed_rows_equal_merged_weights(name, tmp_path):
    builder = FAMILIES[name]
    parts = builder.build_components()
    networks = {"transformer": parts["transformer"]}
    pairs = {"all": random_pairs(networks, 1, endings=("",)), "other": random_pairs(networks, 2, endings=("",))}
    write_diffusers(tmp_path / "all.safetensors", pairs["all"])
    pairs["other"], originals = write_original(tmp_path / "other.safetensors", parts["transformer"], pairs["other"])
    assert originals >= ORIGINALS.get(name, set())
    model = builder.model_of({part: copy.deepcopy(each) for part, each in parts.items()})
    model.offer_loras([tmp_path])
    settings = {"width": 32, "height": 32, "steps": 2, "guidance_scale": 2.0}
    plain = model.request("a fox", **settings, seed=1)
    requests = [plain, plain.replace(loras=(("all", 0.7),))] + [plain.replace(loras=(("other", -0.4),))] * bool(originals)
    for request in requests:
        model.validate(request)
    together = denoise_all(model, [model.trajectory(request) for request in requests])
    for request, found in zip(requests, together, strict=True):
        merged = {part: copy.deepcopy(each) for part, each in parts.items()}
        for lora, weight in request.loras:
            merge({"transformer": merged["transformer"]}, pairs[lora], weight * SCALE)
        alone = builder.model_of(merged)
        (wanted,) = denoise_all(alone, [alone.trajectory(plain)])
        print(f"{name} {request.loras}: {difference_of(found, wanted):.1e}, changes {difference_of(together[0], wanted):.2f}")
        assert difference_of(found, wanted) <= 1e-5
        assert not request.loras or difference_of(together[0], wanted) > 1e-4


def test_original_names_of_flux_2_mean_what_diffusers_makes_of_them(tmp_path):
    transformer = tiny_klein.build_components()["transformer"]
    pairs = random_pairs({"transformer": transformer}, 1, endings=("",))
    written, _ = write_original(tmp_path / "x.safetensors", transformer, pairs)
    file = {key: tensor for key, tensor in load_file(tmp_path / "x.safetensors").items() if not key.endswith("alpha")}
    convert = lora_conversion_utils._convert_non_diffusers_flux2_lora_to_diffusers
    converted = {key.removeprefix("transformer."): tensor for key, tensor in convert(file).items()}
    assert len(converted) == 2 * len(written)
    for (_, module), (down, up) in written.items():
        assert torch.equal(converted[f"{module}.lora_A.weight"], down)
        assert torch.equal(converted[f"{module}.lora_B.weight"], up)


@pytest.mark.parametrize(
    ("layer", "family"),
    [
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", "FLUX.2"),
        ("transformer.single_transformer_blocks.0.proj_mlp", "FLUX.1"),
        ("transformer_blocks.3.img_mlp.net.2", "Qwen-Image"),
        ("transformer_blocks.3.attn.add_k_proj", "Stable Diffusion 3"),
        ("diffusion_model.layers.3.attention.qkv", "Z-Image"),
        ("lora_unet_distilled_guidance_layer_in_proj", "Chroma"),
    ],
)
def test_family_of_a_layer(layer, family):
    assert family_of(Header({f"{layer}.lora_A.weight": (4, 8)}, {})) == family
