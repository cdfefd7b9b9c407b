"""Members choose between several models, which are loaded as their jobs need them."""

import asyncio
import gc
import weakref

import pytest
import torch

from diffusion.config import EngineConfig
from diffusion.errors import InvalidRequestError, ModelLoadError, OutOfMemoryError
from diffusion.loading.memory import model_bytes
from diffusion.request import ImageRequest
from diffusion.serving import lanes
from diffusion.serving.engine import Engine
from diffusion.serving.offers import Offer, find_name
from tests.support.lora_files import random_pairs, write_kohya
from tests.support.several_models import Shelf, named_model
from tests.support.waiting import until

SETTINGS = {"width": 32, "height": 32, "steps": 3, "sampler": "ddim"}


@pytest.fixture(scope="module")
def drawn_alone():
    """What each model draws for a seed, alone."""
    models = {"first": named_model("first", "epsilon"), "other": named_model("other")}
    return lambda name, seed: models[name].generate(["a red fox"], seeds=[seed], **SETTINGS)[0].tobytes()


def request(seed=1, model="", **settings):
    return ImageRequest("a red fox", seed=seed, model=model, **SETTINGS | settings)


def engine_of(shelf, room=2.5):
    """Return an engine that draws with the first model, and has room for so many."""
    model = shelf.described["first"]
    return Engine(model, EngineConfig(models_max_bytes=int(room * model_bytes(model))), name="first")


@pytest.fixture
def shelf():
    return Shelf(first="epsilon", other="v_prediction")


def loaded(engine):
    return {lane.name for lane in engine._residents.lanes if lane.is_loaded}


@pytest.mark.parametrize("room", [2.5, 1.5])
async def test_each_job_is_drawn_by_its_model(shelf, drawn_alone, room):
    most = set()
    async with engine_of(shelf, room) as engine:
        await engine.offer(shelf.offers())
        engine.watchers.append(lambda step: most.add(len(loaded(engine))))
        names = ["first", "other", ""] * 3
        jobs = [engine.submit(request(seed, name), owner=seed % 2) for seed, name in enumerate(names)]
        results = [await job for job in jobs]
    assert [result.model for result in results] == ["first", "other", "first"] * 3
    for seed, result in enumerate(results):
        alone = drawn_alone(result.model, seed)
        assert max(abs(a - b) for a, b in zip(alone, result.images[0].tobytes(), strict=True)) <= 1
    assert max(most) == (2 if room > 2 else 1)
    assert shelf.loads == ["other"] or room < 2


async def test_models_that_do_not_fit_together_do_not_thrash(shelf):
    async with engine_of(shelf, 1.5) as engine:
        await engine.offer(shelf.offers())
        jobs = [engine.submit(request(seed, ("first", "other")[seed % 2]), owner=seed) for seed in range(20)]
        for job in jobs:
            await job
    assert len(shelf.loads) <= 3


async def test_a_model_that_fits_stays(shelf):
    async with engine_of(shelf) as engine:
        await engine.offer(shelf.offers())
        for name in ("other", "first", "other"):
            await engine.submit(request(model=name))
        assert shelf.loads == ["other"] and loaded(engine) == {"first", "other"}


async def test_a_model_that_leaves_frees_its_memory(shelf):
    async with engine_of(shelf, 1.5) as engine:
        await engine.offer(shelf.offers())
        await engine.submit(request(model="other"))
        network = weakref.ref(engine._residents.lane("other").model.family.denoiser)
        await engine.submit(request(model="first"))
        await until(lambda: gc.collect() is None or network() is None)
        assert loaded(engine) == {"first"}


async def test_validation_is_that_of_the_chosen_model(shelf):
    shelf.described["other"].samplers = {"euler": 1000}
    async with engine_of(shelf) as engine:
        await engine.offer(shelf.offers())
        with pytest.raises(InvalidRequestError, match="There is no sampler DDIM"):
            engine.submit(request(model="other"))
        assert engine.model_of("other").samplers == {"euler": 1000}


async def test_an_unknown_model_is_refused_by_name(shelf):
    async with engine_of(shelf) as engine:
        with pytest.raises(InvalidRequestError, match="There is no model `other` here"):
            engine.submit(request(model="other"))
        await engine.offer(shelf.offers())
        with pytest.raises(InvalidRequestError, match=r"There is no model `third` here. Choose one of `first`, `other`\."):
            engine.submit(request(model="third"))


async def test_a_model_that_cannot_be_described_is_not_offered(shelf, caplog):
    def fail():
        raise ModelLoadError("broken", "its unet is missing.")

    async with engine_of(shelf) as engine:
        await engine.offer(shelf.offers() | {"broken": Offer(fail, fail)})
        assert set(engine.models) == {"first", "other"}
    assert "its unet is missing" in caplog.text


async def test_a_model_that_cannot_be_loaded_fails_its_jobs_alone(shelf):
    def fail():
        raise ModelLoadError("other", "its weights are damaged.")

    offers = shelf.offers()
    offers["other"] = Offer(fail, offers["other"].describe)
    async with engine_of(shelf) as engine:
        await engine.offer(offers)
        jobs = [engine.submit(request(model=name), owner=number) for number, name in enumerate(["first", "other", "other"])]
        assert (await jobs[0]).images
        for job in jobs[1:]:
            with pytest.raises(ModelLoadError, match="its weights are damaged"):
                await job
        assert (await engine.submit(request())).images


async def test_models_take_turns_if_memory_runs_out_while_one_loads(shelf):
    offers = shelf.offers()

    def load():
        if len(loaded(engine)) > 0:
            raise ModelLoadError("other", "out of memory") from torch.OutOfMemoryError()
        return shelf.load("other")

    offers["other"] = Offer(load, offers["other"].describe)
    async with engine_of(shelf) as engine:
        await engine.offer(offers)
        jobs = [engine.submit(request(model=name), owner=name) for name in ("first", "other", "first", "other")]
        assert [(await job).model for job in jobs] == ["first", "other", "first", "other"]


async def test_a_model_too_large_for_the_device_fails_its_jobs(shelf):
    def load():
        raise torch.OutOfMemoryError("out of memory")

    offers = shelf.offers()
    offers["other"] = Offer(load, offers["other"].describe)
    async with engine_of(shelf, 1.5) as engine:
        await engine.offer(offers)
        with pytest.raises(OutOfMemoryError):
            await engine.submit(request(model="other"))
        assert (await engine.submit(request())).model == "first"


async def test_a_chosen_default_draws_the_jobs_that_name_no_model(shelf):
    async with engine_of(shelf) as engine:
        await engine.offer(shelf.offers())
        engine.pause()
        jobs = [engine.submit(request(model=name), owner=name) for name in ("", "first")]
        await engine.switch(lambda: shelf.load("other"), "other")
        engine.resume()
        assert [(await job).model for job in jobs] == ["other", "first"]
        assert set(engine.models) == {"first", "other"} and shelf.loads == ["other"]


async def test_jobs_go_on_when_those_of_another_model_are_cancelled(shelf, monkeypatch):
    monkeypatch.setattr(lanes, "TURN_LOADS", 0)
    async with engine_of(shelf, 1.5) as engine:
        await engine.offer(shelf.offers())
        engine.pause()
        own = [engine.submit(request(seed, "first", steps=20), owner=seed) for seed in range(2)]
        other = engine.submit(request(model="other"))
        assert not engine._residents.lane("first").is_open or other.cancel()
        other.cancel()
        engine.resume()
        assert [(await job).model for job in own] == ["first"] * 2


async def test_the_forecast_of_a_model_includes_its_loading(shelf):
    async with engine_of(shelf) as engine:
        await engine.offer(shelf.offers())
        for name in ("first", "other"):
            await asyncio.gather(*(engine.submit(request(seed, name, steps=6)) for seed in range(2)))
        engine._residents.lane("other").evict()
        engine._residents.lane("other").measured_load_seconds = 50.0
        here, there = (engine.submit(request(model=name), owner=name) for name in ("first", "other"))
        seconds = engine.estimate_completion()
        assert seconds[here] < 10 and 40 < seconds[there] < 60
        here.cancel()
        there.cancel()


async def test_loras_are_read_once_their_model_is_loaded(shelf, tmp_path):
    write_kohya(tmp_path / "style.safetensors", random_pairs({"unet": shelf.described["other"].family.denoiser}, 1))

    def load():
        model, check = shelf.load("other")
        model.offer_loras([tmp_path])
        return model, check

    shelf.described["other"].offer_loras([tmp_path])
    offers = shelf.offers()
    offers["other"] = Offer(load, offers["other"].describe)
    async with engine_of(shelf, 1.5) as engine:
        await engine.offer(offers)
        usable = [lora.name for lora in engine.model_of("other").loras.values() if not lora.problem]
        jobs = [
            engine.submit(request(seed, "other", loras=tuple((name, 1.0) for name in usable)), owner=seed) for seed in range(2)
        ]
        jobs.append(engine.submit(request(model="first")))
        assert usable == ["style"] and [(await job).model for job in jobs] == ["other", "other", "first"]


async def test_models_that_are_offered_no_more_finish_their_jobs(shelf):
    async with engine_of(shelf) as engine:
        await engine.offer(shelf.offers())
        job = engine.submit(request(model="other"))
        await engine.offer({"first": shelf.offers()["first"]})
        with pytest.raises(InvalidRequestError, match="There is no model `other`"):
            engine.submit(request(model="other"))
        assert (await engine.submit(request(model="first"))).model == "first"  # although another's work is counted
        assert (await job).model == "other"


@pytest.mark.parametrize(
    ("typed", "found"),
    [("someone/one", "someone/one"), ("ONE", "someone/one"), ("finer", "finer"), ("two", None), ("nothing", None)],
)
def test_find_name_takes_what_members_type(typed, found):
    assert find_name(["someone/one", "finer", "a/two", "b/two"], typed) == found
