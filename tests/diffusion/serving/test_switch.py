"""Another model takes over while pictures are being made."""

import asyncio
import threading
import weakref

import pytest
import torch
from diffusers import AutoencoderKL

from diffusion.config import EngineConfig
from diffusion.errors import DarkroomError, InvalidRequestError, ModelLoadError
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import ImageRequest
from diffusion.serving.engine import Engine
from tests.support.models import build_classifier, model_of
from tests.support.waiting import until

ONE_AT_A_TIME = EngineConfig(max_rows=2)


def request(seed, **settings):
    return ImageRequest("a red fox", width=32, height=32, steps=8, sampler="ddim", seed=seed, **settings)


def other(**components):
    model = model_of(build_tiny_components("v_prediction") | components)
    model.name = "other"
    return model


def alone(model, asked):
    own = {"seeds": [asked.seed], "width": 32, "height": 32, "steps": 8, "sampler": "ddim"}
    return model.generate([asked.prompt], **own)[0].tobytes()


async def begun(engine, job):
    """Wait until ``job`` has begun, and pause the engine, so that nothing else begins."""
    async for progress in job:
        if progress.completed:
            engine.pause()
            return


async def switched(engine, load):
    """Switch while the engine is paused, then let it draw on."""
    before = engine.model
    switching = asyncio.create_task(engine.switch(load))
    await until(lambda: engine.model is not before or switching.done())
    engine.resume()
    await switching


async def test_switch_finishes_each_image_with_one_model():
    first, second = model_of(build_tiny_components()), other()
    async with Engine(first, ONE_AT_A_TIME) as engine:
        jobs = [engine.submit(request(seed), owner=seed) for seed in range(3)]
        await begun(engine, jobs[0])
        await switched(engine, lambda: (second, None))
        results = [await job for job in jobs]
        late = await engine.submit(request(7))
    assert [result.model for result in (*results, late)] == ["tiny", "other", "other", "other"]
    for result, model in zip((*results, late), (first, second, second, second), strict=True):
        assert result.images[0].tobytes() == alone(model, result.request)


async def test_switch_finishes_started_jobs_with_the_old_model():
    async with Engine(model_of(build_tiny_components()), ONE_AT_A_TIME) as engine:
        several, waiting = engine.submit(request(1, count=3), "alice"), engine.submit(request(2), "alice")
        await begun(engine, several)
        await switched(engine, lambda: (other(), None))
        assert ((await several).model, (await waiting).model) == ("tiny", "other")


async def test_switch_loads_while_images_go_on():
    loading = threading.Event()

    def load():
        assert loading.wait(20)
        return other(), None

    async with Engine(model_of(build_tiny_components())) as engine:
        switching = asyncio.create_task(engine.switch(load))
        await asyncio.sleep(0)
        assert (await engine.submit(request(1))).model == "tiny"
        with pytest.raises(DarkroomError, match="being loaded already"):
            await engine.switch(load)
        loading.set()
        await switching
        assert (await engine.submit(request(1))).model == "other"


async def test_switch_fails_waiting_jobs_that_the_new_model_rejects():
    guide_labels = model_of(build_tiny_components() | {"classifier": build_classifier()})
    async with Engine(guide_labels, ONE_AT_A_TIME) as engine:
        first, steered, plain = (
            engine.submit(asked, owner) for owner, asked in enumerate((request(1), request(2, guide_label="food"), request(3)))
        )
        await begun(engine, first)
        await switched(engine, lambda: (other(), None))
        with pytest.raises(InvalidRequestError, match="This model has no classifier"):
            await steered
        assert (await plain).model == "other"


async def test_switch_assigns_new_latent_shapes_to_waiting_jobs():
    finer = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=4,
    )
    async with Engine(model_of(build_tiny_components()), ONE_AT_A_TIME) as engine:
        first, waiting = engine.submit(request(1), 1), engine.submit(request(2), 2)
        await begun(engine, first)
        await switched(engine, lambda: (other(vae=finer), None))
        assert (await waiting).images[0].size == (32, 32)


@pytest.mark.parametrize(
    "error",
    [
        ModelLoadError("nowhere", "there is no such folder."),
        torch.OutOfMemoryError("no such folder"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_switch_keeps_the_old_model_when_loading_fails(error):
    def load():
        raise error

    async with Engine(model_of(build_tiny_components())) as engine:
        job = engine.submit(request(1))
        with pytest.raises(type(error), match="no such folder"):
            await engine.switch(load)
        assert (await job).model == (await engine.submit(request(2))).model == "tiny"


async def test_switch_releases_the_old_model():
    first = model_of(build_tiny_components())
    networks = [weakref.ref(network) for network in (first.family.unet, first.family.vae, first.family.text_encoder)]
    async with Engine(first) as engine:
        del first
        await engine.submit(request(1))
        await engine.switch(lambda: (other(), None))
        assert [network() for network in networks] == [None] * 3


async def test_screen_images_uses_the_check_of_the_model_that_drew():
    async with Engine(
        model_of(build_tiny_components()), safety_check=lambda images: [{"first": 1.0} for _ in images]
    ) as engine:
        result = await engine.submit(request(1))
        await engine.switch(lambda: (other(), None))
        assert await engine.screen_images(result.images, result.safety_check) == [{"first": 1.0}]
        later = await engine.submit(request(1))
        assert await engine.screen_images(later.images, later.safety_check) == [{}]
