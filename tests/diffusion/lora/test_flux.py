"""LoRAs of FLUX.1, whose files may join several layers in one."""

import copy
import warnings

import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file, save_file

from diffusion.lora.original_names import original_layers
from diffusion.lora.weights import read_weights
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support import tiny_flux
from tests.support.lora_files import TEXT, merge, random_pairs, write_diffusers
from tests.support.parity import difference_of, pipeline_of

SCALE = 2 / 4  # alpha / rank of the files
REQUESTS = [
    ImageRequest("a fox", "", 32, 32, 2, 3.5, "flow_euler", seed=1),
    ImageRequest("a dog", "", 32, 32, 3, 2.0, "flow_euler", seed=2, loras=(("diffusers", 0.7),)),
]


@pytest.fixture(scope="module")
def flux():
    return tiny_flux.build_components()


@pytest.fixture(scope="module")
def joined(flux):
    """Random changes by layers of the original code, and the modules that each stands for."""
    transformer = flux["transformer"]
    generator = torch.Generator().manual_seed(1)
    changes = {}
    for name, modules in original_layers([name for name, _ in transformer.named_modules()]).items():
        weights = [transformer.get_submodule(module).weight for module in modules]
        outputs = sum(len(weight) for weight in weights)
        down, up = torch.randn(4, weights[0].shape[1], generator=generator), torch.randn(outputs, 4, generator=generator)
        changes[name] = (0.1 * down, 0.1 * up, dict(zip(modules, map(len, weights), strict=True)))
    return changes


@pytest.fixture(scope="module")
def flux_pairs(flux, joined):
    pairs = {}
    for down, up, modules in joined.values():
        for module, part in zip(modules, up.split(list(modules.values())), strict=True):
            pairs["transformer", module] = (down.clone(), part.clone())
    return pairs | random_pairs({"text_encoder": flux["text_encoder"]}, 2, endings=TEXT)


@pytest.fixture(scope="module")
def flux_folder(joined, flux_pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_diffusers(folder / "diffusers.safetensors", flux_pairs)
    tensors = {}
    for name, (down, up, _) in joined.items():
        layer = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up, f"{layer}.alpha": torch.tensor(2.0)}
    save_file(tensors, folder / "kohya.safetensors")
    return folder


@pytest.fixture(scope="module")
def flux_model(flux, flux_folder):
    model = tiny_flux.model_of({name: copy.deepcopy(part) for name, part in flux.items()})
    model.offer_loras([flux_folder])
    return model


def test_kohya_and_diffusers_files_are_identical(flux_model):
    catalogue = flux_model._loras.catalogue
    assert not any(lora.problem for lora in catalogue.loras.values())
    kohya, diffusers = (
        {layer.module: layer for layer in read_weights(name, catalogue.file(name)).layers if layer.network == "transformer"}
        for name in ("kohya", "diffusers")
    )
    assert kohya.keys() == diffusers.keys() and "single_transformer_blocks.0.proj_mlp" in kohya
    for module, layer in kohya.items():
        assert torch.equal(layer.down, diffusers[module].down) and torch.equal(layer.up, diffusers[module].up)


def test_mixed_rows_equal_merged_weights(flux, flux_pairs, flux_model):
    together = denoise_all(flux_model, [flux_model.trajectory(request) for request in REQUESTS])
    parts = {name: copy.deepcopy(part) for name, part in flux.items()}
    merge({name: parts[name] for name in ("transformer", "text_encoder")}, flux_pairs, 0.7 * SCALE)
    for request, found, components in zip(REQUESTS, together, (flux, parts), strict=True):
        alone = tiny_flux.model_of(components)
        (wanted,) = denoise_all(alone, [alone.trajectory(request.replace(loras=()))])
        print(f"{request.loras}: {difference_of(found, wanted):.1e}")
        assert difference_of(found, wanted) <= 1e-5


def test_rows_equal_set_adapters(flux, flux_pairs, tmp_path):
    pytest.importorskip("peft")
    pipeline = pipeline_of(FluxPipeline, {name: copy.deepcopy(part) for name, part in flux.items()})
    tensors = load_file(write_diffusers(tmp_path / "x.safetensors", flux_pairs))
    save_file(tensors, tmp_path / "x.safetensors")  # without the settings, of which peft needs all
    model = tiny_flux.model_of({name: copy.deepcopy(part) for name, part in flux.items()})
    model.offer_loras([tmp_path])
    request = REQUESTS[1].replace(loras=(("x", 0.3),))
    with warnings.catch_warnings(action="ignore"):
        pipeline.load_lora_weights(tmp_path, weight_name="x.safetensors", adapter_name="x")
    pipeline.set_adapters("x", 0.3)
    wanted = pipeline(
        request.prompt,
        height=32,
        width=32,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        latents=FluxPipeline._pack_latents(torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2)), 1, 4, 4, 4),
        output_type="latent",
    ).images
    (found,) = denoise_all(model, [model.trajectory(request)])
    assert difference_of(found, FluxPipeline._unpack_latents(wanted, 32, 32, 8)) <= 1e-5
