"""Pictures are enlarged tile by tile, between the steps of others."""

import copy

import pytest
import torch
from PIL import Image

from diffusion.cluster.schema import RemoteModel, encode_spec
from diffusion.errors import GenerationError, InvalidRequestError
from diffusion.images.files import encode_result
from diffusion.images.io import read_image
from diffusion.images.parameters import read_parameters
from diffusion.images.upscaler import Upscaler
from diffusion.request import ImageRequest
from diffusion.serving.engine import Engine
from tests.support.upscalers import nearest


@pytest.fixture
def model(tiny_model):
    model = copy.copy(tiny_model)
    model.offer_upscaler(nearest())
    return model


def wanted(model, width=200, height=100, factor=2):
    picture = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    return model.request("a fox", seed=5, upscale=1, image=picture).enlarged_by_upscaler(picture, factor)


async def test_engine_enlarges_between_the_steps_of_others(model):
    async with Engine(model) as engine:
        steps = []
        engine.watchers.append(lambda step: steps.append(len(step.shape)))
        drawn = engine.submit(model.request("a dog", steps=12), "alice")
        enlarged = engine.submit(wanted(model), "bob")
        assert enlarged.progress.total == 6
        result = await enlarged
        assert result.images[0].size == (400, 200) and result.model == "nearest"
        await drawn
    assert steps.count(2) == 6, "one tile a step"
    assert 4 in steps[: len(steps) - steps[::-1].index(2)], "no step of the other came between"
    assert not result.timelapses


async def test_engine_writes_what_enlarged_a_picture_into_its_file(model):
    async with Engine(model) as engine:
        request = wanted(model)
        file = encode_result(await engine.submit(request))[0]
    picture = read_image(file)
    assert picture.size == (400, 200)
    assert picture.resize((200, 100), Image.Resampling.NEAREST).tobytes() == request.image.tobytes()
    assert read_parameters(file)["prompt"] == "a fox"
    assert b"Postprocess upscale by: 2, Postprocess upscaler: nearest" in file and b"Model:" not in file


async def test_an_enlargement_loads_no_other_model(model):
    async with Engine(model) as engine:
        request = wanted(model).replace(model="another one")
        assert (await engine.submit(request)).images[0].size == (400, 200)
        assert request.drawn().model == "another one"


async def test_price_of_an_enlargement_follows_its_tiles(model):
    async with Engine(model) as engine:
        small, large = wanted(model, 96, 96), wanted(model, 192, 192)
        await engine.submit(small)
        await engine.submit(small)
        assert engine.price(large) == pytest.approx(4 * engine.price(small))
        assert engine.prices.latency.seconds(model.latent_shape(32, 32), 1) is None, "tiles tell nothing about steps"


async def test_engine_refuses_without_an_upscaler_and_beyond_its_scale(model, tiny_model):
    async with Engine(tiny_model) as engine:
        with pytest.raises(InvalidRequestError, match="There is no upscaler here"):
            engine.submit(wanted(model))
    model.offer_upscaler(nearest(2))
    with pytest.raises(InvalidRequestError, match="can enlarge by 2x"):
        model.validate(wanted(model, factor=4))


def test_request_refuses_a_result_beyond_the_limit(model):
    with pytest.raises(InvalidRequestError, match="would be larger than 2048x2048: its longer side would be 2400"):
        wanted(model, 600, 100, 4)


async def test_engine_reports_an_upscaler_that_cannot_calculate(model):
    def network(pixels):
        return torch.full((1, 3, 4 * pixels.shape[2], 4 * pixels.shape[3]), torch.nan)

    model.offer_upscaler(Upscaler(network, scale=4, name="broken", like=torch.empty(0)))
    async with Engine(model) as engine:
        with pytest.raises(GenerationError, match="The upscaler could not calculate this picture"):
            await engine.submit(wanted(model))
        assert len((await engine.submit(model.request("a dog", steps=2))).images) == 1


def test_remote_model_offers_what_its_replica_does(model):
    remote = RemoteModel("http://replica", encode_spec(model, can_screen=False))
    assert remote.upscales == (2, 4)
    remote.validate(wanted(model))
    assert remote.call_shape(wanted(model)) == model.call_shape(wanted(model))


def test_drawn_returns_to_the_prompt_or_else_to_the_picture(model):
    request = wanted(model)
    assert request.drawn() == request.replace(image=None, upscale=1, by_upscaler=False)
    assert request.replace(prompt="").drawn().image is request.image
    plain = ImageRequest("a fox")
    assert plain.drawn() is plain
