"""LoRAs in one call against diffusers' own, one at a time; needs peft (`pip install peft`)."""

import copy
import warnings

import pytest
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from tests.support import tiny_xl
from tests.support.lora_files import ATTENTION, TEXT, random_pairs, write_kohya_xl
from tests.support.parity import difference_of, drawn_by_diffusers

pytest.importorskip("peft")
ROWS = [(), (("style", 0.8),), (("texts", -0.6), ("style", 0.5)), (("convs", 1.2),)]
XL_ROWS = [(), (("a", 0.7),), (("b", -0.5), ("a", 0.4))]


def load(pipeline, folder):
    pipeline.set_progress_bar_config(disable=True)
    with warnings.catch_warnings(action="ignore"):  # peft warns about several LoRAs
        for path in sorted(folder.iterdir()):
            pipeline.load_lora_weights(folder, weight_name=path.name, adapter_name=path.stem)
    return pipeline


def assert_equal(model, pipeline, requests):
    together = denoise_all(model, [model.trajectory(request) for request in requests])
    for request, found in zip(requests, together, strict=True):
        pipeline.disable_lora()
        if request.loras:
            pipeline.enable_lora()
            pipeline.set_adapters([name for name, _ in request.loras], [weight for _, weight in request.loras])
        difference = difference_of(found, drawn_by_diffusers(pipeline, request))
        print(f"{request.loras}: {difference:.1e}")
        assert difference <= 1e-5


def test_rows_equal_set_adapters(components, folder, model):
    parts = {name: copy.deepcopy(part) for name, part in components.items() if name != "classifier"}
    pipeline = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    requests = [ImageRequest("a fox", "dog", 32, 32, 3, 7.5, "ddim", seed, loras=loras) for seed, loras in enumerate(ROWS)]
    assert_equal(model, load(pipeline, folder), requests)


def test_rows_of_stable_diffusion_xl_equal_set_adapters(tmp_path):
    parts = tiny_xl.build_components()
    networks = {name: parts[name] for name in ("unet", "text_encoder", "text_encoder_2")}
    for seed, name in enumerate("ab"):
        pairs = random_pairs(networks, seed, endings=(*ATTENTION, *TEXT))
        write_kohya_xl(tmp_path / f"{name}.safetensors", pairs, parts["unet"].config.layers_per_block)
    model = tiny_xl.model_of({name: copy.deepcopy(part) for name, part in parts.items()})
    model.offer_loras([tmp_path])
    pipeline = tiny_xl.pipeline_of(StableDiffusionXLPipeline, parts, model, "euler")
    requests = [ImageRequest("a fox", "dog", 32, 32, 3, 7.5, "euler", seed, loras=loras) for seed, loras in enumerate(XL_ROWS)]
    assert_equal(model, load(pipeline, tmp_path), requests)
