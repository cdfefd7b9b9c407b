import asyncio
import gc
import threading
import weakref

import pytest
import torch
from PIL import Image

from diffusion.config import EngineConfig
from diffusion.errors import (
    GenerationError,
    InvalidRequestError,
    JobCancelledError,
    NotFiniteError,
    OutOfMemoryError,
    QueueFullError,
)
from diffusion.images.masks import box_mask
from diffusion.request import ImageRequest, Limits
from diffusion.sampling.samplers import SAMPLERS
from diffusion.sampling.trajectory import denoise_all
from diffusion.serving.engine import Engine
from tests.support.models import model_of


def asked(prompt="a fox", **settings):
    return ImageRequest(prompt, **{"width": 32, "height": 32, "steps": 4, "sampler": "ddim"} | settings)


async def test_job_returns_images_seeds_and_model(tiny_model):
    async with Engine(tiny_model) as engine:
        result = await engine.submit(asked(seed=5, count=3))
    assert [image.size for image in result.images] == [(32, 32)] * 3
    assert result.seeds == (5, 6, 7)
    assert result.model == "tiny"
    assert result.seconds > 0


async def test_engine_draws_shared_images_as_when_alone(tiny_model):
    requests = [asked(seed=1), asked("a dog", seed=2, steps=7, sampler="lms"), asked(seed=3, guidance_scale=1.0)]
    async with Engine(tiny_model) as engine:
        together = await asyncio.gather(*(engine.submit(request, owner) for owner, request in enumerate(requests)))
    for request, result in zip(requests, together, strict=True):
        latents = denoise_all(tiny_model, [tiny_model.trajectory(request)])[0]
        alone = tiny_model.decode(latents)[0]
        assert max(abs(a - b) for a, b in zip(alone.tobytes(), result.images[0].tobytes(), strict=True)) <= 1


async def test_progress_counts_up_with_previews(tiny_model):
    async with Engine(tiny_model, EngineConfig(preview_seconds=0)) as engine:
        job = engine.submit(asked(steps=8))
        seen = [progress async for progress in job]
        await job
    completed = [progress.completed for progress in seen]
    assert completed == sorted(completed) and completed[-1] < 8
    assert all(progress.total == 8 for progress in seen)
    assert seen[-1].previews and seen[-1].previews[0].size == (4, 4)


async def test_progress_has_the_place_of_waiting_jobs(tiny_model):
    async with Engine(tiny_model, EngineConfig(max_rows=2)) as engine:
        jobs = [engine.submit(asked(steps=6), owner) for owner in "abc"]
        assert [job.progress.place for job in jobs] == [0, 1, 2]
        await jobs[0]
        assert jobs[2].progress.place in (0, 1)
        await jobs[2]
        assert jobs[2].progress.place is None


async def test_engine_does_not_starve_an_owner(tiny_model):
    async with Engine(tiny_model, EngineConfig(max_rows=2)) as engine:
        flood = [engine.submit(asked(), "flooder") for _ in range(6)]
        await engine.submit(asked(), "modest")
        assert sum(job.done for job in flood) <= 2
        for job in flood:
            job.cancel()


async def test_cancel_removes_the_job_at_once(tiny_model):
    async with Engine(tiny_model) as engine:
        doomed, other = engine.submit(asked(steps=150), "a"), engine.submit(asked(steps=6), "b")
        async for progress in doomed:
            if progress.completed:
                assert doomed.cancel()
        with pytest.raises(JobCancelledError):
            await doomed
        assert not doomed.cancel()
        assert len((await other).images) == 1


async def test_cancelled_await_does_not_cancel_the_job(tiny_model):
    async with Engine(tiny_model) as engine:
        job = engine.submit(asked(steps=10))
        waiter = asyncio.ensure_future(_wait(job))
        await asyncio.sleep(0)
        waiter.cancel()
        assert len((await job).images) == 1


async def _wait(job):
    return await job


async def test_job_frees_its_images_without_the_garbage_collector(tiny_model):
    gc.disable()
    try:
        async with Engine(tiny_model) as engine:
            held = []
            for cancelled in (False, True, False):
                job = engine.submit(asked())
                held.append(weakref.ref(job.image_tasks[0]))
                job.cancel() if cancelled else await job
            assert [image_task() for image_task in held[:2]] == [None, None]
    finally:
        gc.enable()


async def test_engine_cancels_unfinished_jobs_on_exit(tiny_model):
    async with Engine(tiny_model) as engine:
        job = engine.submit(asked(steps=150))
    with pytest.raises(JobCancelledError):
        await job


async def test_submit_refuses_when_the_queue_is_full(tiny_model):
    async with Engine(tiny_model, EngineConfig(max_waiting=3)) as engine:
        engine.submit(asked(count=3))
        with pytest.raises(QueueFullError, match="try again"):
            engine.submit(asked())


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"count": 4}, "count may be at most 3"), ({"morph_to": "a dog", "count": 4}, "frames may be at most 3")],
)
async def test_submit_rejects_more_than_the_queue_can_hold(tiny_model, settings, words):
    async with Engine(tiny_model, EngineConfig(max_waiting=3)) as engine:
        with pytest.raises(InvalidRequestError, match=words):
            engine.submit(asked(**settings))


async def test_submit_rejects_many_variants_before_reading_them(tiny_components):
    model = model_of(tiny_components)
    model.validate = None  # which would read them
    async with Engine(model) as engine:
        with pytest.raises(InvalidRequestError, match="at most 100"):
            engine.submit(asked(variants=("a",) * 100_000, count=100_000))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 30}, "multiple of 8"),
        ({"height": 520}, "at most 512"),
        ({"width": 264, "height": 256}, "as many pixels as 256x256"),
        ({"steps": 40}, "at most 30"),
        ({"prompt": "fox " * 301}, "the rest would be ignored"),
        ({"negative_prompt": "fox " * 301}, "negative prompt"),
    ],
)
async def test_submit_validates_against_model_and_limits(tiny_model, settings, words):
    async with Engine(tiny_model, EngineConfig(limits=Limits(side=256, steps=30, count=4))) as engine:
        with pytest.raises(InvalidRequestError, match=words):
            engine.submit(asked(**settings))


async def test_engine_fails_only_the_broken_image(tiny_model, monkeypatch, caplog):
    encode = tiny_model.encode_image

    def broken(image, generator):
        raise RuntimeError("the encoder broke")

    monkeypatch.setattr(tiny_model, "encode_image", broken)
    async with Engine(tiny_model) as engine:
        other = engine.submit(asked(), "a")
        failing = engine.submit(asked(image=Image.new("RGB", (32, 32))), "b")
        with pytest.raises(GenerationError, match="try again"):
            await failing
        assert len((await other).images) == 1
        monkeypatch.setattr(tiny_model, "encode_image", encode)
        assert len((await engine.submit(asked(image=Image.new("RGB", (32, 32))))).images) == 1


async def test_engine_survives_a_failing_step(tiny_components, caplog):
    model = model_of(tiny_components)
    predict, calls = model.predict_noise, []

    def fails_once(*rows):
        calls.append(rows)
        if len(calls) == 2:
            raise RuntimeError("out of luck")
        return predict(*rows)

    model.predict_noise = fails_once
    async with Engine(model) as engine:
        with pytest.raises(GenerationError):
            await engine.submit(asked())
        assert len((await engine.submit(asked())).images) == 1


async def test_out_of_memory_halves_the_calls(tiny_components, caplog):
    model = model_of(tiny_components)
    predict, sizes = model.predict_noise, []

    def small_device(latents, *others):
        sizes.append(len(latents))
        if len(latents) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return predict(latents, *others)

    model.predict_noise = small_device
    requests = [asked(seed=seed) for seed in range(4)]
    async with Engine(model) as engine:
        results = await asyncio.gather(*(engine.submit(request, request.seed) for request in requests))
        assert all(len(result.images) == 1 for result in results)
        assert sizes[:6] == [8, 4, 2, 2, 2, 2] and max(sizes[6:]) <= 2
        sizes.clear()
        await asyncio.gather(*(engine.submit(request, request.seed) for request in requests))
        assert max(sizes) <= 2


async def test_out_of_memory_for_one_row_fails_the_job(tiny_components, caplog):
    model = model_of(tiny_components)

    def no_memory(*rows):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    model.predict_noise = no_memory
    async with Engine(model) as engine:
        with pytest.raises(OutOfMemoryError, match="smaller"):
            await engine.submit(asked())


async def test_step_fails_only_the_image_that_overflows(tiny_components, caplog):
    model = model_of(tiny_components)
    predict = model.predict_noise

    def overflows_in_the_second(latents, *others):
        predictions = predict(latents, *others)
        if len(latents) == 4:
            predictions[2, 0, 0, 0] = torch.nan
        return predictions

    model.predict_noise = overflows_in_the_second
    async with Engine(model) as engine:
        sound, broken = engine.submit(asked(), "a"), engine.submit(asked(), "b")
        with pytest.raises(NotFiniteError, match="overflowed"):
            await broken
        assert len((await sound).images) == 1


async def test_engine_abandons_a_hung_step(tiny_components, caplog):
    model = model_of(tiny_components)
    predict, released, calls = model.predict_noise, threading.Event(), []

    def hangs_once(*rows):
        calls.append(rows)
        if len(calls) == 1:
            released.wait(30)
        return predict(*rows)

    model.predict_noise = hangs_once
    async with Engine(model, EngineConfig(step_seconds=4)) as engine:
        with pytest.raises(GenerationError, match="stuck"):
            await engine.submit(asked())
        assert len((await engine.submit(asked())).images) == 1
    released.set()


async def test_engine_calls_networks_in_one_thread_without_gradients(tiny_components):
    model = model_of(tiny_components)
    predict, seen = model.predict_noise, set()

    def watched(*rows):
        seen.add((threading.current_thread().name, torch.is_grad_enabled()))
        return predict(*rows)

    model.predict_noise = watched
    async with Engine(model) as engine:
        await asyncio.gather(*(engine.submit(asked(), owner) for owner in range(3)))
    assert len(seen) == 1
    name, grad = seen.pop()
    assert name.startswith("diffusion") and not grad


async def test_estimate_completion_needs_timed_steps(tiny_model):
    async with Engine(tiny_model, EngineConfig(max_rows=2)) as engine:
        jobs = [engine.submit(asked(steps=150, count=2), "a")]
        assert engine.estimate_completion() == dict.fromkeys(jobs)
        async for progress in jobs[0]:
            if progress.completed > 2:
                break
        expected = engine.estimate_wait(asked(steps=60), "b")
        jobs.append(engine.submit(asked(steps=60), "b"))
        long, short = (engine.estimate_completion()[job] for job in jobs)
        assert 0 < short < long  # the long one pauses
        assert expected == pytest.approx(short, rel=0.5)
        assert engine.jobs_of("a") == 1 and engine.jobs_of("c") == 0
        for job in jobs:
            job.cancel()
        assert engine.estimate_completion() == {}
        with pytest.raises(InvalidRequestError):
            engine.estimate_wait(asked(steps=10**6))


async def test_first_call_of_a_number_of_rows_teaches_no_prices(tiny_components):
    model = model_of(tiny_components)
    async with Engine(model) as engine:
        observed = []
        engine.prices.latency.observe = lambda shape, rows, seconds: observed.append(rows)
        await engine.submit(asked(steps=4))
        assert observed == [2, 2, 2, 1]  # and decoding it
        await engine.submit(asked(steps=4, seed=2, guidance_scale=1.0))
        assert observed[4:] == [1, 1, 1, 1]
        await engine.submit(asked(steps=4, seed=3))
        assert observed[8:] == [2, 2, 2, 1]  # without the step that starts it


async def test_max_rows_of_the_settings_replaces_what_is_useful(tiny_model):
    async with Engine(tiny_model) as engine:
        for max_rows in (None, 3):
            engine.config = EngineConfig(max_rows=max_rows)
            await engine.submit(asked(steps=1))
            assert engine._batcher.max_rows == max_rows


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_evaluations_equals_the_network_calls(tiny_model, sampler, start):
    image = Image.new("RGB", (32, 32)) if start else None
    request = asked(sampler=sampler, steps=5, image=image, start_step=start)
    assert tiny_model.trajectory(request).total == request.evaluations


async def test_timelapse_has_one_preview_per_step(tiny_model):
    async with Engine(tiny_model) as engine:
        for sampler in SAMPLERS:
            result = await engine.submit(asked(count=2, width=48, steps=5, sampler=sampler))
            assert [image.size for image in result.timelapses] == [(6, 4 * 5)] * 2
    first, last = (result.timelapses[0].crop((0, top, 6, top + 4)) for top in (0, 16))
    assert first.tobytes() != last.tobytes()


async def test_engine_restores_unmasked_pixels(tiny_model):
    picture = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    async with Engine(tiny_model) as engine:
        result = await engine.submit(asked(image=picture, mask=box_mask((32, 32), (0, 0, 16, 32))))
    rest = (16, 0, 32, 32)
    assert result.images[0].crop(rest).tobytes() == picture.crop(rest).tobytes()
