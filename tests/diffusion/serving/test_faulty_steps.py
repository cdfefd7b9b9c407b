"""A step that raises, hangs or runs out of memory fails only the image that causes it."""

import asyncio
import gc
import threading

import pytest
import torch
from PIL import Image

from diffusion.config import EngineConfig
from diffusion.errors import GenerationError
from diffusion.request import ImageRequest
from diffusion.serving import engine as engine_module
from diffusion.serving.engine import Engine
from diffusion.serving.fitting import MEMORY_RETRY_SECONDS, FittingRows
from diffusion.serving.worker_thread import CallHungError, ReplaceableWorker
from tests.support.models import model_of

SHAPE, OTHER = (1, 4, 4, 4), (1, 4, 8, 8)


def asked(prompt="a fox", **settings):
    return ImageRequest(prompt, **{"width": 32, "height": 32, "steps": 4, "sampler": "ddim"} | settings)


def cursed(model, misfortune):
    """Return a ``model`` whose calls with a row of the prompt "cursed" meet ``misfortune``."""
    predict = model.predict_noise
    embedding = model.family.encode("cursed", model.request("cursed")).tensors["prompt_embeds"]

    def predict_noise(latents, timesteps, conditions):
        if (conditions.tensors["prompt_embeds"] == embedding).flatten(1).all(1).any():
            misfortune()
        return predict(latents, timesteps, conditions)

    model.predict_noise = predict_noise
    return model


def pixels(result):
    return [image.tobytes() for image in result.images]


async def outcomes(model, config=None):
    """Draw seven innocent pictures and a cursed one in one batch; return what became of each, the cursed one last."""
    requests = [*(asked(seed=seed) for seed in range(7)), asked("cursed")]
    async with Engine(model, config) as engine:
        jobs = [engine.submit(request, owner) for owner, request in enumerate(requests)]
        return await asyncio.gather(*jobs, return_exceptions=True)


async def test_step_that_raises_fails_only_its_cause(tiny_components, caplog):
    def fail():
        raise RuntimeError("a kernel failed")

    *innocents, guilty = await outcomes(cursed(model_of(tiny_components), fail))
    assert isinstance(guilty, GenerationError)
    async with Engine(model_of(tiny_components)) as engine:
        alone = await asyncio.gather(*(engine.submit(asked(seed=seed), seed) for seed in range(7)))
    for drawn, expected in zip(innocents, alone, strict=True):
        assert max(abs(a - b) for a, b in zip(pixels(drawn)[0], pixels(expected)[0], strict=True)) <= 1


async def test_step_that_fails_once_fails_no_image_in_company(tiny_components, caplog):
    failures = iter([RuntimeError("out of luck")])

    def fail_once():
        if error := next(failures, None):
            raise error

    assert all(len(result.images) == 1 for result in await outcomes(cursed(model_of(tiny_components), fail_once)))


async def test_step_that_hangs_fails_only_its_cause(tiny_components, caplog):
    released = threading.Event()
    model = cursed(model_of(tiny_components), lambda: released.wait(60))
    *innocents, guilty = await outcomes(model, EngineConfig(step_seconds=4))
    released.set()
    assert all(len(result.images) == 1 for result in innocents)
    assert "stuck on this picture" in str(guilty)
    assert "threads left behind: 2" in caplog.text


async def test_start_that_hangs_fails_only_its_cause(tiny_components, caplog):
    model, released = model_of(tiny_components), threading.Event()
    start = model.trajectory

    def hang_if_cursed(request, index):
        if request.prompt == "cursed":
            released.wait(60)
        return start(request, index)

    model.trajectory = hang_if_cursed
    *innocents, guilty = await outcomes(model, EngineConfig(step_seconds=4))
    released.set()
    assert isinstance(guilty, GenerationError) and "stuck" in str(guilty)
    assert [len(each.images) for each in innocents] == [1] * 7


async def test_engine_stops_when_too_many_threads_hang(tiny_components, caplog):
    released = threading.Event()
    model = cursed(model_of(tiny_components), lambda: released.wait(30))
    async with Engine(model, EngineConfig(step_seconds=0.1)) as engine:
        for _ in range(engine_module.MAX_HUNG_THREADS):
            with pytest.raises(GenerationError):
                await engine.submit(asked("cursed"))
        assert engine.hung_threads == engine_module.MAX_HUNG_THREADS and not engine.alive
        with pytest.raises(GenerationError, match="hangs again and again"):
            engine.submit(asked())
        released.set()
        while engine.hung_threads:
            await asyncio.sleep(0.01)
        assert engine.alive
        engine.config = EngineConfig()
        assert len((await engine.submit(asked())).images) == 1


async def test_safety_check_that_hangs_stops_no_steps(tiny_components, caplog):
    released = threading.Event()
    async with Engine(model_of(tiny_components), EngineConfig(step_seconds=0.3), lambda images: released.wait(30)) as engine:
        screening = asyncio.ensure_future(engine.screen_images([Image.new("RGB", (8, 8))]))
        await asyncio.sleep(0)
        engine.config = EngineConfig()
        job = engine.submit(asked())  # its first step waits behind the check
        with pytest.raises(GenerationError):
            await screening
        assert len((await job).images) == 1
    released.set()


async def test_guidance_rows_step_one_by_one_when_two_do_not_fit(tiny_components, caplog):
    expected = model_of(tiny_components)
    model, sizes = model_of(tiny_components), []
    predict = model.predict_noise

    def tiny_device(latents, *others):
        sizes.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return predict(latents, *others)

    model.predict_noise = tiny_device
    async with Engine(model) as engine:
        result = await engine.submit(asked())
    async with Engine(expected) as engine:
        whole = await engine.submit(asked())
    assert sizes == [2] + [1] * 8
    assert max(abs(a - b) for a, b in zip(pixels(result)[0], pixels(whole)[0], strict=True)) <= 1


def test_fitting_rows_are_of_one_shape_and_forgotten():
    now = 0.0
    fitting = FittingRows(lambda: now)
    fitting.record(SHAPE, 4)
    assert fitting.by_shape() == {SHAPE: 4} and fitting.rows(OTHER) > 1000
    now = MEMORY_RETRY_SECONDS + 1
    assert fitting.by_shape() == {} and fitting.rows(SHAPE) > 1000


@pytest.mark.parametrize("hangs", [False, True])
async def test_error_of_a_call_reaches_its_caller_alone(hangs):
    """Nothing is logged of an error that the caller has, or that comes too late from a call that was given up."""
    worker, released, unhandled = ReplaceableWorker("test"), threading.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))

    def fail():
        if hangs:
            released.wait(60)
        raise ValueError("no")

    with pytest.raises(CallHungError if hangs else ValueError):
        await worker.call(0.1 if hangs else 60, fail)
    released.set()
    while worker.hung_threads:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    worker.shutdown()
    gc.collect()
    assert not unhandled
