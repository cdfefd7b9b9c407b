"""What a model needs is known before it is loaded, and what saves memory is chosen by it."""

import threading

import pytest
import torch

from diffusion.errors import ModelLoadError
from diffusion.loading import budget
from diffusion.loading.budget import plan
from diffusion.loading.memory import bytes_by_part, model_bytes
from diffusion.loading.model import describe_model, load_model
from diffusion.loading.placement import Placement
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from diffusion.serving.engine import Engine
from tests.support.lora_files import random_pairs, write_kohya
from tests.support.models import model_of
from tests.support.tiny_families import BUILDERS

CPU, CARD, META = torch.device("cpu"), torch.device("cuda"), torch.device("meta")
ENCODERS = "the text encoders stay on the CPU"
IN_8_BITS = "the network is stored in 8 bits"
BY_LAYER = "each layer of the network is on the card only while it computes"
STEPS = {"steps": 2, "seed": 1, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def described():
    return describe_model(dtype=torch.float32)


@pytest.fixture
def calls(monkeypatch):
    """Let all calls take 2 MiB, which takes no time to compute."""
    for name in ("step_bytes", "decode_bytes", "encode_bytes"):
        monkeypatch.setattr(budget, name, lambda *_, **__: 2**21)


@pytest.fixture
def need(described, calls):
    return plan(described, "some", CPU, 2**40).need


@pytest.fixture(scope="module")
def plain():
    return load_model(None, "cpu", torch.float32)


def drawn_latents(model, **settings):
    """Return the latents of one picture of ``model``."""
    trajectory = model.trajectory(model.request("red apple", **STEPS | settings))
    return denoise_all(model, [trajectory])[0]


@pytest.mark.parametrize(
    ("device", "share", "chosen"),
    [
        (CARD, 1.0, []),
        (CARD, 0.95, [ENCODERS]),
        (CARD, 0.6, [ENCODERS, IN_8_BITS]),
        (CARD, 0.3, [ENCODERS, IN_8_BITS, BY_LAYER]),
        (CPU, 0.95, [IN_8_BITS]),
    ],
    ids=str,
)
def test_what_saves_memory_is_chosen_in_order_and_by_need(described, need, device, share, chosen):
    found = plan(described, "some", device, int(share * need.bytes))
    assert [text for text in budget.OPTIONS.values() if text in found.sentence] == chosen
    assert found.need.bytes <= share * need.bytes
    assert found.sentence.startswith("The model some needs 0.12 GiB (text encoders 0.0078, network 0.099, autoencoder 0.01, ")
    assert "and MODELS_MAX_GB allows 0." in found.sentence and ("So it needs 0." in found.sentence) == bool(chosen)


def test_tiles_are_chosen_where_decoding_takes_the_most(described, calls, monkeypatch):
    monkeypatch.setattr(budget, "decode_bytes", lambda family, *_, **__: 2**20 if family.tile_side == 512 else 2**30)
    found = plan(described, "some", CPU, 2**28)
    assert found.placement == Placement(CPU, in_tiles=True)
    assert "the autoencoder takes pictures in tiles of 512 pixels" in found.sentence


def test_model_that_cannot_fit_is_refused_by_what_it_needs(described, calls, monkeypatch):
    with pytest.raises(ModelLoadError, match=r"it needs 0\.12 GiB \(.*\), or 0\.\d+ if the network is .* Raise MODELS_MAX_GB"):
        plan(described, "some", CPU, 2**24)
    monkeypatch.setattr(budget, "total_bytes", lambda _: budget.RESERVED_BYTES + 2**23)
    with pytest.raises(ModelLoadError, match=r"and this card has 0\.51\. Choose a smaller model, half precision"):
        plan(described, "some", CARD)


def test_weights_in_8_bits_take_a_quarter_and_draw_alike(plain, described, calls):
    model = load_model(None, Placement(CPU, in_8_bits=True), torch.float32)
    assert model.dtype == torch.float32 and not model.family.is_static
    assert bytes_by_part(model)["network"] < 0.27 * bytes_by_part(plain)["network"]
    assert budget.Needs(described, CPU).of(Placement(CPU, in_8_bits=True)).weights == bytes_by_part(model)
    expected, found = drawn_latents(plain), drawn_latents(model)
    difference = (found - expected).norm() / expected.norm()
    print(f"in 8 bits: latents differ by {difference:.3f}")
    assert 0 < difference < 0.1


def test_weights_that_come_layer_by_layer_draw_the_same(plain):
    model = load_model(None, Placement(CPU, layer_by_layer=True), torch.float32)
    assert torch.equal(drawn_latents(model), drawn_latents(plain))


def test_loras_are_added_in_the_precision_of_calls(tmp_path, plain):
    model = load_model(None, Placement(CPU, in_8_bits=True, layer_by_layer=True), torch.float32)
    write_kohya(tmp_path / "ink.safetensors", random_pairs({"unet": plain.family.unet}, 0, 4))
    changes = []
    for each in (model, plain):
        each.offer_loras([tmp_path])
        without, changed = (drawn_latents(each, loras=loras) for loras in ((), (("ink", 1.0),)))
        changes.append(changed - without)
    plain.offer_loras([])
    assert (changes[0] - changes[1]).norm() < 0.2 * changes[1].norm()


@pytest.mark.parametrize("kind", [None, *BUILDERS], ids=str)
def test_encoders_on_the_cpu_make_conditions_for_the_device(kind, tmp_path):
    source = BUILDERS[kind].save(BUILDERS[kind].build_components(), tmp_path) if kind else None
    model = load_model(source, Placement(META, encoders_on_cpu=True), torch.float32)  # the only second device everywhere
    assert model.device == META and model_bytes(model) < sum(bytes_by_part(model).values())
    request = model.request("a (red:1.2) fox", negative_prompt="blue", guidance_scale=3.0)
    rows = model.family.rows(request, model.family.encode(request.prompt, request))
    assert len(rows) == model.rows(request)
    assert {each.device for each in rows.tensors.values()} == {META}


@pytest.mark.parametrize("placement", [Placement(CPU, encoders_on_cpu=True), Placement(CPU)])
async def test_texts_are_encoded_while_others_draw(placement, monkeypatch):
    """By encoders on the CPU while the denoiser is on a GPU, and by large ones where all is on the CPU."""
    model = model_of(build_tiny_components())
    monkeypatch.setattr("diffusion.loading.placement.LARGE_ENCODERS", 1000)
    placement.finish(model.family)
    threads = []
    model.family.text_encoder.register_forward_pre_hook(lambda *_: threads.append(threading.current_thread().name))
    request = ImageRequest("a fox", "blue", 32, 32, 3, 7.5, "ddim", branches=((1, "an owl"),))
    async with Engine(model) as engine:
        await engine.submit(request)
        assert threads == ["reading"] * 3
        await engine.submit(request)
        assert len(threads) == 3


def test_small_encoders_encode_between_two_steps():
    model = model_of(build_tiny_components())
    Placement(CPU).finish(model.family)
    assert not model.family.encodes_apart
