"""Files of LoRAs: which are read, by their names and sizes, and which are refused by a sentence."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.errors import InvalidRequestError
from diffusion.lora.catalogue import LoraCatalogue
from diffusion.lora.header import Header
from diffusion.lora.kinds import family_of, triggers_of
from diffusion.lora.layer_index import LayerIndex
from diffusion.lora.loaded import layer_index
from diffusion.lora.original_names import original_name
from diffusion.lora.weights import read_weights
from diffusion.request import ImageRequest
from tests.support.lora_files import write_diffusers, write_kohya

LAYER = "lora_unet_mid_block_attentions_0_proj_in"
SDXL_LAYER = "lora_unet_input_blocks_7_1_transformer_blocks_0_attn1_to_q"


@pytest.fixture(scope="module")
def index(networks):
    return layer_index(networks, "Stable Diffusion 1")


def offered(folder, index):
    catalogue = LoraCatalogue([folder], index)
    catalogue.refresh()
    return catalogue


def weights_of(path, index):
    return read_weights(path.stem, offered(path.parent, index).file(path.stem))


def assert_same(found, wanted):
    assert {(layer.network, layer.module) for layer in found.layers} == {(each.network, each.module) for each in wanted.layers}
    by_place = {(layer.network, layer.module): layer for layer in wanted.layers}
    for layer in found.layers:
        other = by_place[layer.network, layer.module]
        assert torch.equal(layer.down, other.down) and torch.equal(layer.up, other.up)


def renamed(path, rename):
    save_file({rename(name): tensor for name, tensor in load_file(path).items()}, path)
    return path


@pytest.mark.parametrize("name", ["style", "texts", "convs"])
def test_kohya_and_diffusers_files_are_identical(name, pairs, index, tmp_path):
    kohya = weights_of(write_kohya(tmp_path / "kohya.safetensors", pairs[name]), index)
    assert len(kohya.layers) == len(pairs[name])
    assert_same(weights_of(write_diffusers(tmp_path / "diffusers.safetensors", pairs[name]), index), kohya)


def test_names_of_older_tools_are_read(pairs, index, tmp_path):
    attention = {place: pair for place, pair in pairs["texts"].items() if "to_" in place[1]}
    wanted = weights_of(write_diffusers(tmp_path / "new.safetensors", attention, alpha=4.0), index)
    path = write_diffusers(tmp_path / "old.safetensors", attention)

    def rename(name):
        for part, old in ((".lora_A.", "_lora.down."), (".lora_B.", "_lora.up.")):
            name = name.replace(f".0{part}", part).replace(part, old)
        return name.replace("unet.", "").replace(".to_", ".processor.to_")

    assert_same(weights_of(renamed(path, rename), index), wanted)


def test_names_of_the_original_unet_are_read(pairs, networks, index, tmp_path):
    wanted = weights_of(write_kohya(tmp_path / "new.safetensors", pairs["style"]), index)
    layers = networks["unet"].config.layers_per_block
    names = {
        f"lora_unet_{module.replace('.', '_')}": f"lora_unet_{original_name(module, layers).replace('.', '_')}"
        for _, module in pairs["style"]
    }
    path = write_kohya(tmp_path / "old.safetensors", pairs["style"])

    def rename(name):
        layer, _, part = name.partition(".")
        return f"{names[layer]}.{part}"

    assert_same(weights_of(renamed(path, rename), index), wanted)


@pytest.mark.parametrize(
    ("module", "original"),
    [
        ("down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q", "input_blocks.4.1.transformer_blocks.1.attn1.to_q"),
        ("down_blocks.2.resnets.1.conv_shortcut", "input_blocks.8.0.skip_connection"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("mid_block.attentions.0.proj_in", "middle_block.1.proj_in"),
        ("mid_block.resnets.1.time_emb_proj", "middle_block.2.emb_layers.1"),
        ("up_blocks.0.attentions.2.proj_out", "output_blocks.2.1.proj_out"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks.5.2.conv"),
        ("up_blocks.2.resnets.0.conv1", "output_blocks.6.0.in_layers.2"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_norm_out", ""),
    ],
)
def test_original_name(module, original):
    assert original_name(module, 2) == original


def test_a_kernel_between_two_projections_is_folded(networks, index, tmp_path):
    torch.manual_seed(0)
    convolution = networks["unet"].mid_block.resnets[0].conv1
    out, read, *_ = convolution.weight.shape
    down, mid, up = torch.randn(3, read, 1, 1), torch.randn(3, 3, 3, 3), torch.randn(out, 3, 1, 1)
    layer = "lora_unet_mid_block_resnets_0_conv1"
    path = tmp_path / "cp.safetensors"
    save_file({f"{layer}.lora_down.weight": down, f"{layer}.lora_mid.weight": mid, f"{layer}.lora_up.weight": up}, path)
    (found,) = weights_of(path, index).layers
    pixels = torch.randn(1, read, 6, 6)
    wanted = torch.conv2d(torch.conv2d(torch.conv2d(pixels, down), mid, padding=1), up)
    kernel = (found.up.T @ found.down).view_as(convolution.weight)
    torch.testing.assert_close(torch.conv2d(pixels, kernel, padding=1), wanted, rtol=1e-4, atol=1e-4)


def broken(tensors, **metadata):
    return lambda path: save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path, metadata or None)


def plain(layer, read, out):
    return {f"{layer}.lora_down.weight": (4, read), f"{layer}.lora_up.weight": (out, 4)}


def header(text, length=None):
    return lambda path: path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)


REFUSED = {
    "dora": (broken(plain(LAYER, 32, 32) | {f"{LAYER}.dora_scale": (32, 1)}), "is of the kind DoRA"),
    "peft_dora": (broken({"unet.mid_block.to_q.lora_magnitude_vector": (4,)}), "is of the kind DoRA"),
    "loha": (broken({f"{LAYER}.hada_w1_a": (4, 4)}), "is of the kind LoHa"),
    "lokr": (broken({f"{LAYER}.lokr_w1": (4, 4)}), "is of the kind LoKr"),
    "full_weights": (broken({f"{LAYER}.diff": (4, 4)}), "is of the kind LoRA with full weights"),
    "embedding": (broken({"emb_params": (1, 4)}), "is of the kind embedding"),
    "checkpoint": (broken({"model.diffusion_model.out.0.weight": (4,)}), "is of the kind whole model"),
    "unknown": (broken({"a": (4, 4)}), "is no LoRA"),
    "empty": (broken({}), "is no LoRA"),
    "sdxl": (broken(plain(SDXL_LAYER, 640, 640)), "is for Stable Diffusion XL, and this model is Stable Diffusion 1"),
    "sdxl_text": (broken(plain("lora_te2_text_model_encoder_layers_0_mlp_fc1", 8, 8)), "is for Stable Diffusion XL, and"),
    "sd2": (broken(plain("lora_unet_x_attn2_to_k", 1024, 8)), "is for Stable Diffusion 2, and"),
    "sd2_metadata": (broken(plain("lora_unet_x", 8, 8), ss_base_model_version="sd_v2_768_v"), "is for Stable Diffusion 2, and"),
    "flux": (broken(plain("lora_unet_double_blocks_0_img_attn_proj", 8, 8)), "is for FLUX.1, and"),
    "flux_diffusers": (
        broken({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 8)}),
        "is for FLUX.1, and",
    ),
    "other_layer": (broken(plain("lora_unet_some_layer", 8, 8)), "is for another model: `some_layer` is not in this one"),
    "other_width": (broken(plain(LAYER, 7, 9)), "has another size in this one"),
    "half": (broken({f"{LAYER}.lora_down.weight": (4, 32)}), "is damaged"),
    "ranks_differ": (broken({f"{LAYER}.lora_down.weight": (4, 32), f"{LAYER}.lora_up.weight": (32, 5)}), "is damaged"),
    "no_header": (lambda path: path.write_bytes(b""), "is damaged"),
    "no_json": (header(b"not json"), "is damaged"),
    "no_object": (header(b"[1, 2]"), "is damaged"),
    "deep_json": (header(b"[" * 100_000), "is damaged"),
    "long_header": (header(b"{}", 10**9), "is damaged"),
    "cut": (header(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'), "is damaged"),
    "strange_numbers": (
        header(b'{"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}'),
        "has numbers of the kind",
    ),
    "pickle_inside": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)), "is a pickle"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_file_is_refused_by_a_sentence(name, index, tmp_path):
    write, sentence = REFUSED[name]
    write(tmp_path / f"{name}.safetensors")
    problem = str(offered(tmp_path, index).loras[name].problem)
    assert f"The LoRA {name} " in problem or f"of the LoRA {name} " in problem or f"The file {name} " in problem
    assert sentence in problem
    assert offered(tmp_path, index).file(name) is None


def test_a_pickle_is_refused_by_its_suffix(index, tmp_path):
    (tmp_path / "old.pt").write_bytes(b"anything")
    assert "is a pickle" in str(offered(tmp_path, index).loras["old"].problem)


def test_a_too_large_file_is_refused_before_it_is_read(index, tmp_path):
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse
    assert "it has 3.0 GiB, and at most 2 are allowed" in str(offered(tmp_path, index).loras["huge"].problem)


def test_numbers_that_are_not_finite_are_refused(pairs, index, tmp_path):
    changes = {place: (down, up * float("inf")) for place, (down, up) in pairs["style"].items()}
    path = write_kohya(tmp_path / "inf.safetensors", changes)
    with pytest.raises(InvalidRequestError, match="is damaged"):
        weights_of(path, index)


def test_folders_within_a_folder_count_and_new_files_appear(pairs, index, tmp_path):
    (tmp_path / "styles").mkdir()
    write_kohya(tmp_path / "styles" / "ink.safetensors", pairs["style"])
    catalogue = offered(tmp_path, index)
    assert list(catalogue.loras) == ["ink"]
    write_kohya(tmp_path / "Ash.safetensors", pairs["style"])
    catalogue.refresh()
    assert list(catalogue.loras) == ["ink"]  # looked a moment ago
    catalogue.refresh(0)
    assert sorted(catalogue.loras) == ["Ash", "ink"]
    (tmp_path / "styles" / "ink.safetensors").unlink()
    catalogue.refresh(0)
    assert list(catalogue.loras) == ["Ash"]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"modelspec.trigger_phrase": "pixelart,  8 bit "}, ("pixelart", "8 bit")),
        ({"ss_tag_frequency": json.dumps({"10_a": {"pxl": 9, "cat": 2}, "5_b": {"pxl": 4}})}, ("pxl",)),
        ({"ss_tag_frequency": "{"}, ()),
        ({"ss_tag_frequency": '["a"]'}, ()),
        ({}, ()),
    ],
)
def test_trigger_words(metadata, words):
    assert triggers_of(metadata) == words


def test_a_family_without_loras_says_so(pairs, tmp_path):
    write_kohya(tmp_path / "ink.safetensors", pairs["style"])
    problem = offered(tmp_path, LayerIndex("Z-Image", {})).loras["ink"].problem
    assert str(problem) == "I cannot use LoRAs with Z-Image yet. Leave out ink."


def test_family_of_a_file_that_does_not_show_it():
    assert family_of(Header({"lora_unet_x.lora_down.weight": (4, 8)}, {})) == ""


@pytest.mark.parametrize(
    ("loras", "sentence"),
    [
        ((("../../etc/passwd", 1.0),), "has no folder in its name"),
        ((("style", 9.0),), "The weight of the LoRA style must be a number from -4 to 4"),
        ((("style", float("nan")),), "must be a number from -4 to 4"),
        ((("style", 1.0), ("style", 0.5)), "named twice"),
        (tuple((f"style{number}", 1.0) for number in range(6)), "A picture can have 5 LoRAs"),
    ],
)
def test_request_refuses(loras, sentence):
    with pytest.raises(InvalidRequestError, match=sentence):
        ImageRequest("a fox", loras=loras)
