"""Decoding has calls of its own, and slow starts are spread over steps."""

import asyncio

import pytest
import torch
from PIL import Image

from diffusion.config import EngineConfig
from diffusion.request import ImageRequest
from diffusion.sampling.trajectory import denoise_all
from diffusion.serving.batcher import MAX_DECODED
from diffusion.serving.engine import Engine


def asked(**settings):
    return ImageRequest("a fox", **{"width": 32, "height": 32, "steps": 3, "sampler": "ddim"} | settings)


@pytest.fixture
def decoded(tiny_model, monkeypatch):
    """How many pictures each call decoded."""
    counts, decode = [], tiny_model.decode

    def count(latents):
        counts.append(len(latents))
        return decode(latents)

    monkeypatch.setattr(tiny_model, "decode", count)
    return counts


async def draw(model, requests):
    async with Engine(model, EngineConfig(max_rows=64)) as engine:
        engine.pause()
        jobs = [engine.submit(request, owner) for owner, request in enumerate(requests)]
        engine.resume()
        return await asyncio.gather(*jobs)


async def test_pictures_that_end_together_are_decoded_in_few_calls(tiny_model, decoded):
    await draw(tiny_model, [asked(seed=seed) for seed in range(MAX_DECODED + 2)])
    assert decoded == [MAX_DECODED, 2]


async def test_lone_picture_is_decoded_as_by_the_model_itself(tiny_model, decoded):
    (result,) = await draw(tiny_model, [asked()])
    (latents,) = denoise_all(tiny_model, [tiny_model.trajectory(asked())])
    assert result.images[0].tobytes() == tiny_model.decode(latents)[0].tobytes()


async def test_decoding_alone_after_memory_ran_out_together(tiny_model, monkeypatch, caplog):
    decode, tried = tiny_model.decode, []

    def fits_one(latents):
        tried.append(len(latents))
        if len(latents) > 1:
            raise torch.OutOfMemoryError("too much")
        return decode(latents)

    monkeypatch.setattr(tiny_model, "decode", fits_one)
    await draw(tiny_model, [asked(seed=seed) for seed in range(6)])
    assert tried == [4, 1, 1, 1, 1, 1, 1]
    assert "each is decoded alone" in caplog.text


async def test_pictures_to_start_from_are_encoded_one_in_a_step(tiny_model, monkeypatch):
    similar = asked(steps=3, image=Image.new("RGB", (32, 32), "red"))
    encode = tiny_model.encode_image
    in_steps = [0]

    def count(*args):
        in_steps[-1] += 1
        return encode(*args)

    monkeypatch.setattr(tiny_model, "encode_image", count)
    async with Engine(tiny_model) as engine:
        await asyncio.gather(*(engine.submit(similar.replace(seed=seed), seed) for seed in range(3)))
        assert in_steps == [3]  # nobody else waited
        engine.watchers.append(lambda _: in_steps.append(0))
        others = engine.submit(asked(steps=150), "b")
        async for progress in others:
            if progress.completed:
                break
        jobs = [engine.submit(similar.replace(seed=10 + seed), seed) for seed in range(3)]
        await asyncio.gather(*jobs)
        others.cancel()
    assert sum(in_steps) == 6 and max(in_steps[1:]) == 1


async def test_progress_is_complete_only_with_the_picture(tiny_model):
    async with Engine(tiny_model) as engine:
        job = engine.submit(asked())
        completed = [progress.completed async for progress in job]
        await job
    assert max(completed) == 2
