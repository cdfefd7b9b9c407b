"""Short calls run beside a long one of another network, so that a small picture need not wait for a large one's step."""

import asyncio
import threading

import pytest
from PIL import Image

from diffusion.config import EngineConfig
from diffusion.errors import GenerationError
from diffusion.loading.memory import model_bytes
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import ImageRequest
from diffusion.serving import batcher as batcher_module
from diffusion.serving.engine import Engine
from tests.support.models import taught_model_of
from tests.support.several_models import Shelf
from tests.support.waiting import until

SMALL, LARGE = 32, 64


class Held:
    """Lets the steps of large pictures by ``model`` wait until ``let_go`` is set."""

    def __init__(self, model):
        self.let_go = threading.Event()
        self.begun = threading.Event()
        self._predict = model.predict_noise
        model.predict_noise = self

    def __call__(self, latents, timesteps, conditions):
        if latents.shape[-1] == LARGE // 8:
            self.begun.set()
            self.let_go.wait(60)
        return self._predict(latents, timesteps, conditions)


@pytest.fixture
def model():
    return taught_model_of(build_tiny_components("v_prediction"))


@pytest.fixture(autouse=True)
def always_long(monkeypatch):
    """Networks of toy size take the same time for all shapes."""
    monkeypatch.setattr(batcher_module, "LONG_CALL_SECONDS", 0.0)
    monkeypatch.setattr(batcher_module, "SHORT_SHARE", 1e6)


@pytest.fixture
def held(model):
    held = Held(model)
    yield held
    held.let_go.set()


def small(model, **settings):
    return model.request("a fox", **settings)


def large(model, **settings):
    return model.request("a castle", width=LARGE, height=LARGE, **{"steps": 4, "sampler": "ddim"} | settings)


async def begun(held):
    await until(held.begun.is_set)


async def test_student_draws_beside_a_long_call_of_its_teacher(model, held):
    alone = model.generate(["a fox"], seeds=[3])[0]
    async with Engine(model) as engine:
        other = engine.submit(large(model), "another member")
        await begun(held)
        async with asyncio.timeout(30):
            result = await engine.submit(small(model, seed=3), "a member")
        assert not held.let_go.is_set() and not other.done
        held.let_go.set()
        assert (await other).images[0].size == (LARGE, LARGE)
    assert result.images[0].tobytes() == alone.tobytes()


async def test_large_picture_is_the_same_with_others_beside_it(model, held):
    held.let_go.set()
    expected = model.generate(["a castle"], seeds=[5], width=LARGE, height=LARGE, steps=12, sampler="ddim")[0]
    async with Engine(model) as engine:
        job = engine.submit(large(model, seed=5, steps=12), "another member")
        await asyncio.gather(*(engine.submit(small(model, seed=seed), seed) for seed in range(6)))
        result = await job
    assert result.images[0].tobytes() == expected.tobytes()


async def test_calls_of_one_network_never_run_side_by_side(model, held):
    async with Engine(model) as engine:
        other = engine.submit(large(model), "another member")
        await begun(held)
        by_teacher = engine.submit(small(model, negative_prompt="rain"), "a member")
        by_student = await engine.submit(small(model), "a third member")
        assert by_student.images and by_teacher.progress.completed == 0
        held.let_go.set()
        assert (await by_teacher).images and (await other).images


async def test_other_models_draw_beside_a_long_call():
    shelf = Shelf(first="epsilon", other="v_prediction")
    first, other = shelf.described["first"], shelf.load("other")[0]
    held = Held(first)
    shelf.load = lambda name: ({"first": first, "other": other}[name], None)
    settings = {"width": SMALL, "height": SMALL, "steps": 3, "sampler": "ddim"}
    async with Engine(first, EngineConfig(models_max_bytes=3 * model_bytes(first)), name="first") as engine:
        await engine.offer(shelf.offers())
        job = engine.submit(large(first), "another member")
        await begun(held)
        async with asyncio.timeout(30):
            result = await engine.submit(ImageRequest("a fox", model="other", **settings), "a member")
        assert result.model == "other" and not job.done
        held.let_go.set()
        await job


async def test_longer_work_waits_for_the_step(model, held, monkeypatch):
    monkeypatch.setattr(batcher_module, "SHORT_SHARE", 0.0)
    async with Engine(model) as engine:
        other = engine.submit(large(model), "another member")
        await begun(held)
        job = engine.submit(small(model), "a member")
        await asyncio.sleep(0.2)
        assert job.progress.completed == 0
        held.let_go.set()
        assert (await job).images and (await other).images


async def test_calls_side_by_side_teach_no_prices(model, held):
    async with Engine(model) as engine:
        observed = []
        engine.prices.latency.observe = lambda *step: observed.append(step)
        other = engine.submit(large(model, steps=2), "another member")
        await begun(held)
        await engine.submit(small(model), "a member")
        assert observed == []
        held.let_go.set()
        await other
    assert [shape[-1] for shape, _, _ in observed] == [LARGE // 8, LARGE]  # its second step, and decoding it


async def test_steps_under_way_are_told_together(model, held):
    told = []
    async with Engine(model) as engine:
        engine.before_steps.append(lambda jobs: told.append(set(jobs)))
        other = engine.submit(large(model, steps=2), "another member")
        await begun(held)
        job = engine.submit(small(model), "a member")
        await job
        assert told == [{other}, {other, job}]
        held.let_go.set()
        await other
        await until(lambda: told[-1] == set())


async def test_pictures_are_checked_beside_a_long_call(model, held):
    async with Engine(model, safety_check=lambda images: [{"nudity": True} for _ in images]) as engine:
        other = engine.submit(large(model), "another member")
        await begun(held)
        async with asyncio.timeout(30):
            flags = await engine.screen_images([Image.new("RGB", (8, 8))])
        assert len(flags) == 1 and not other.done
        held.let_go.set()
        await other


async def test_pause_begins_nothing_beside(model, held):
    async with Engine(model) as engine:
        other = engine.submit(large(model), "another member")
        await begun(held)
        engine.pause()
        job = engine.submit(small(model), "a member")
        await asyncio.sleep(0.2)
        assert job.started is None
        held.let_go.set()
        engine.resume()
        assert (await job).images and (await other).images


async def test_hung_call_beside_fails_alone(model, held, caplog):
    student, hangs = model._student_network, threading.Event()

    def hang(*arguments, **conditions):
        if not hangs.is_set():
            hangs.set()
            held.let_go.wait(60)
        return student(*arguments, **conditions)

    model._student_network = hang
    async with Engine(model, EngineConfig(step_seconds=4)) as engine:
        engine.submit(large(model, steps=2), "another member")
        await begun(held)
        with pytest.raises(GenerationError, match="stuck"):
            await engine.submit(small(model), "a member")
        assert engine.hung_threads >= 1
        held.let_go.set()


async def test_leaving_the_engine_ends_both_calls(model, held):
    async with Engine(model) as engine:
        jobs = [engine.submit(large(model), "another member")]
        await begun(held)
        jobs.append(engine.submit(small(model), "a member"))
        await until(lambda: jobs[1].started is not None)
        held.let_go.set()
    assert all(job.done for job in jobs)
