"""LoRAs in memory: bounded, dropped by use, read ahead of their picture."""

import asyncio
import copy
import os
import threading

import pytest
import torch
from safetensors.torch import save_file

from diffusion.errors import DarkroomError, GenerationError, InvalidRequestError
from diffusion.lora import loaded, weights
from diffusion.lora.adapted_layer import Home, bytes_per_column
from diffusion.lora.catalogue import LoraCatalogue
from diffusion.lora.loaded import COLUMNS, WEIGHTS, LoadedLoras, arrange, layer_index
from diffusion.lora.weights import read_weights
from diffusion.request import ImageRequest
from diffusion.serving.engine import Engine
from tests.support.lora_files import random_pairs, write_kohya
from tests.support.models import model_of

RANK = 4
SAME = {"width": 32, "height": 32, "steps": 3, "guidance_scale": 7.5, "sampler": "ddim"}


def asked(name, **settings):
    return ImageRequest("a fox", "", 32, 32, 3, 7.5, "ddim", loras=((name, 1.0),), **settings)


@pytest.fixture
def unet(networks):
    return {"unet": copy.deepcopy(networks["unet"])}


@pytest.fixture
def three(unet, tmp_path):
    """The catalogue of three LoRAs for the same layers, and the memory of one."""
    for seed, name in enumerate("abc"):
        write_kohya(tmp_path / f"{name}.safetensors", random_pairs(unet, seed, RANK))
    catalogue = LoraCatalogue([tmp_path], layer_index(unet, "tiny"))
    catalogue.refresh()
    layers = catalogue.file("a").layers
    modules = [unet["unet"].get_submodule(layer.module) for layer in layers]
    return catalogue, RANK * sum(bytes_per_column(module, Home.of(unet["unet"])) for module in modules)


def use(loras, name):
    return loras.row([(name, 1.0)])


def test_the_least_recently_used_lora_leaves_first(unet, three):
    catalogue, size = three
    loras = LoadedLoras(unet, catalogue, 2 * size)
    for name in "abac":
        use(loras, name)
        assert loras.bytes <= 2 * size
    assert loras.is_read([("a", 1.0)]) and loras.is_read([("c", 1.0)]) and not loras.is_read([("b", 1.0)])


def test_loras_of_running_pictures_stay(unet, three):
    catalogue, size = three
    loras = LoadedLoras(unet, catalogue, 2 * size)
    running = [use(loras, "a"), use(loras, "b")]
    with pytest.raises(GenerationError, match="no memory for another LoRA"):
        use(loras, "c")
    running.pop()
    use(loras, "c")
    assert loras.loaded == 2 and loras.is_read([("a", 1.0)])


def test_loras_that_never_fit_together_are_refused(unet, three):
    catalogue, size = three
    loras = LoadedLoras(unet, catalogue, size)
    with pytest.raises(InvalidRequestError, match="These LoRAs together need more memory"):
        loras.row([("a", 1.0), ("b", 1.0)])
    use(loras, "b")


def test_a_lora_that_never_fits_is_refused_by_name(unet, three):
    catalogue, size = three
    with pytest.raises(InvalidRequestError, match="The LoRA a needs more memory"):
        use(LoadedLoras(unet, catalogue, size - 1), "a")


def test_other_layers_make_room_for_each_other(unet, three, tmp_path):
    catalogue, size = three
    write_kohya(tmp_path / "convs.safetensors", random_pairs(unet, 9, RANK, ("conv1", "conv2")))
    catalogue.refresh(0)
    loras = LoadedLoras(unet, catalogue, 4 * size)
    for name in ("a", "b", "convs", "a"):
        use(loras, name)
        assert loras.bytes <= 4 * size


def test_numbers_that_half_precision_cannot_hold_are_refused(unet, three, tmp_path):
    catalogue, size = three
    large = {place: (down, up * 1e6) for place, (down, up) in random_pairs(unet, 1).items()}
    write_kohya(tmp_path / "large.safetensors", large)
    catalogue.refresh(0)
    use(LoadedLoras(unet, catalogue, 2 * size), "large")
    with pytest.raises(InvalidRequestError, match="is damaged"):
        use(LoadedLoras({"unet": copy.deepcopy(unet["unet"]).half()}, catalogue, 2 * size), "large")


def test_layers_are_untouched_until_a_lora_is_used(unet, three):
    catalogue, size = three
    loras = LoadedLoras(unet, catalogue, size)
    assert not any(module._forward_hooks for module in unet["unet"].modules())
    use(loras, "a")
    assert any(module._forward_hooks for module in unet["unet"].modules())


def test_arrange_puts_rows_with_loras_first():
    weights = torch.tensor([[0.0] * 3, [0.5] * 3, [0.0] * 3, [0.0] * 3, [0.0, 1, 0]])
    columns = torch.arange(15).view(5, 3)
    found, order = arrange({"embeds": torch.arange(5), COLUMNS: columns, WEIGHTS: weights})
    assert order.tolist() == found["embeds"].tolist() == [1, 4, 0, 2, 3]
    assert found[COLUMNS].tolist() == [[3, 4, 5, 0], [12, 13, 14, 0]] and found[WEIGHTS].shape == (2, 4)
    assert arrange({"embeds": torch.ones(5), COLUMNS: columns, WEIGHTS: 0 * weights})[0].keys() == {"embeds"}
    found, order = arrange({COLUMNS: columns[1:4], WEIGHTS: weights[1:4]})
    assert order is None and len(found[COLUMNS]) == 1


def test_a_replaced_file_draws_anew(components, networks, tmp_path):
    pairs = random_pairs(networks, 1, endings=("to_q", "q_proj"))
    path = write_kohya(tmp_path / "style.safetensors", pairs)
    model = model_of({name: copy.deepcopy(part) for name, part in components.items()})
    model.offer_loras([tmp_path])
    settings = {"seeds": [1], "steps": 2, "width": 32, "height": 32, "loras": (("style", 1.0),)}
    first = model.generate(["a fox"], **settings)[0].tobytes()
    write_kohya(path, {place: (down, 9 * up) for place, (down, up) in pairs.items() if place[0] == "text_encoder"})
    os.utime(path, ns=(1, 1))
    model._loras.catalogue.refresh(0)
    replaced = model.generate(["a fox"], **settings)[0].tobytes()
    fresh = model_of(components)
    fresh.offer_loras([tmp_path])
    assert first != replaced == fresh.generate(["a fox"], **settings)[0].tobytes()


@pytest.fixture
def engine_model(components, folder):
    model = model_of(components)
    model.offer_loras([folder])
    return model


async def test_the_engine_reads_loras_while_others_are_drawn(engine_model, monkeypatch):
    threads = []

    def read(name, file, most):
        threads.append(threading.current_thread().name)
        return read_weights(name, file, most)

    monkeypatch.setattr(loaded, "read_weights", read)
    async with Engine(engine_model) as engine:
        jobs = [engine.submit(asked("texts", seed=seed), owner=seed) for seed in range(2)]
        plain = engine.submit(ImageRequest("a fox", "", 32, 32, 3, 7.5, "ddim"))
        results = await asyncio.gather(*jobs, plain)
    assert threads == ["reading"]
    assert results[0].images[0].tobytes() != results[2].images[0].tobytes()


async def test_pictures_wait_until_there_is_memory_for_their_loras(components, three, tmp_path):
    _, size = three
    model = model_of({name: copy.deepcopy(part) for name, part in components.items()})
    model.offer_loras([tmp_path])
    requests = [asked(name, seed=3) for name in "abac"]
    alone = {request.loras: model.generate(["a fox"], seeds=[3], **SAME, loras=request.loras)[0] for request in requests}
    model.offer_loras([tmp_path], max_bytes=size)
    async with Engine(model) as engine:
        plain = engine.submit(ImageRequest("a fox", "", 64, 32, 9, sampler="ddim"), owner="plain")
        jobs = [engine.submit(request, owner=owner) for owner, request in enumerate(requests)]
        for request, job in zip(requests, jobs, strict=True):
            ours, theirs = (image.tobytes() for image in ((await job).images[0], alone[request.loras]))
            assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1
        assert (await plain).images
    assert model._loras.bytes <= size


async def test_a_picture_that_waits_for_memory_can_be_cancelled(components, three, tmp_path):
    model = model_of({name: copy.deepcopy(part) for name, part in components.items()})
    model.offer_loras([tmp_path], max_bytes=three[1])
    async with Engine(model) as engine:
        running = model._loras.row([("a", 1.0)])
        waiting = engine.submit(asked("b"), owner=1)
        await waiting.wait_to_begin(60)
        assert (await engine.submit(ImageRequest("a fox", "", 32, 32, 3, sampler="ddim"), owner=2)).images
        assert waiting.cancel()
        del running
        assert (await engine.submit(asked("c"), owner=3)).images


async def test_a_lora_that_cannot_be_read_fails_its_job_alone(engine_model, monkeypatch):
    def fail(name, file, most):
        raise InvalidRequestError("loras", "gone")

    monkeypatch.setattr(loaded, "read_weights", fail)
    async with Engine(engine_model) as engine:
        bad, good = engine.submit(asked("convs")), engine.submit(ImageRequest("a fox", "", 32, 32, 2, sampler="ddim"))
        with pytest.raises(DarkroomError, match="gone"):
            await bad
        assert (await good).images
    assert not engine.unfinished


async def test_a_cancelled_job_is_not_drawn_once_its_lora_is_read(engine_model):
    async with Engine(engine_model) as engine:
        job = engine.submit(asked("style"))
        assert job.cancel()
        await engine.submit(ImageRequest("a fox", "", 32, 32, 2, sampler="ddim"))
        assert not engine.unfinished


async def test_a_switch_keeps_waiting_jobs_with_loras_that_the_new_model_has(engine_model, components, folder):
    other = model_of({name: copy.deepcopy(part) for name, part in components.items()})
    other.offer_loras([folder])
    without = model_of(components)
    async with Engine(engine_model) as engine:
        engine.pause()
        job = engine.submit(asked("style"))
        await engine.switch(lambda: (other, None))
        engine.resume()
        assert (await job).images
        engine.pause()
        refused = engine.submit(asked("texts"))
        await engine.switch(lambda: (without, None))
        with pytest.raises(InvalidRequestError, match="There are no LoRAs for this model here"):
            await refused


async def test_a_switch_while_loras_are_read_draws_the_job_once(engine_model, components, folder, monkeypatch):
    other = model_of({name: copy.deepcopy(part) for name, part in components.items()})
    other.offer_loras([folder])
    reading, switched = threading.Event(), threading.Event()

    def read(name, file, most):
        reading.set()
        assert switched.wait(20)
        return read_weights(name, file, most)

    monkeypatch.setattr(loaded, "read_weights", read)
    async with Engine(engine_model) as engine:
        job = engine.submit(asked("style"))
        assert await asyncio.to_thread(reading.wait, 20)
        await engine.switch(lambda: (other, None))
        switched.set()
        rows = []
        engine.watchers.append(lambda step: rows.append(step.rows))
        assert (await job).images
        await engine.submit(ImageRequest("a fox", "", 32, 32, 2, sampler="ddim"), owner=1)
    assert len(rows) == job.request.steps + 2 and set(rows) == {2}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("styl", "There is no LoRA `styl` here. Choose one of `convs`, `style`, `texts`"),
        ("bad", "The LoRA bad is of the kind LoHa"),
    ],
)
def test_the_model_refuses_by_name(engine_model, folder, tmp_path, name, sentence):
    save_file({"lora_unet_x.hada_w1_a": torch.zeros(4, 4)}, tmp_path / "bad.safetensors")
    engine_model.offer_loras([folder, tmp_path])
    with pytest.raises(InvalidRequestError, match=sentence):
        engine_model.validate(asked(name))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=repr)
def test_a_lora_for_which_memory_ends_is_not_called_damaged(unet, three, monkeypatch, error):
    def run_out(*_):
        raise error

    monkeypatch.setattr(weights, "safe_open", run_out)
    with pytest.raises(GenerationError, match="no memory for another LoRA at the moment"):
        LoadedLoras(unet, three[0]).read([("a", 1.0)])
