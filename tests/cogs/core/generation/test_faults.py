"""What a member sees when the engine, the disk, the database or the network fails. ``pytest -s`` prints the table.

In each row alice's request meets the fault while bob waits for a picture of his own. His comes out, and hers does when she asks
again: nothing that fails takes the bot along.
"""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import discord
import pytest
import torch
from sqlalchemy import select

from cogs.core.messages import attachments, decode_process
from cogs.core.storage.creations import Creation, State
from diffusion.errors import InvalidImageError
from tests.support.jobs import never_ends, slow_down
from tests.support.messages import pictures_of, png, text_of
from tests.support.models import model_of
from tests.support.server import open_server

PROMPT = "cursed apple"
STEP_SECONDS = 8  # more than a sound step takes on a busy machine
PICTURES = "the message with its pictures"
LARGER = {"prompt": PROMPT, "size": "64"}  # of another shape than bob's, so never in a batch with it
LARGE = {"name": "similar", "prompt": PROMPT, "image": ("in.png", png((3000, 2000)))}
SIMILAR = {"name": "similar", "prompt": PROMPT, "image": ("in.png", png())}


@dataclass
class Fault:
    name: str
    inject: Callable | None  # (server, monkeypatch), before alice asks
    sees: str
    state: str | None = State.FAILED  # None: nothing was accepted
    asks: dict = field(default_factory=lambda: {"prompt": PROMPT})
    later: Callable | None = None  # the same, once she has her first answer
    engine: dict = field(default_factory=dict)


def network(misfortune):
    """Let ``misfortune`` happen to the answers of the network; it is told which rows are alice's."""

    def inject(server, monkeypatch):
        model = server.engine.model
        predict, cursed = model.predict_noise, model.family.encode(PROMPT, model.request(PROMPT)).tensors["prompt_embeds"]

        def predict_noise(latents, timesteps, conditions):
            hers = (conditions.tensors["prompt_embeds"] == cursed).flatten(1).all(1)
            return misfortune(predict(latents, timesteps, conditions), hers)

        monkeypatch.setattr(model, "predict_noise", predict_noise)

    return inject


def small_device(predictions, hers):
    if len(predictions) > 2:
        raise torch.OutOfMemoryError("out of memory")
    return predictions


def too_small_device(predictions, hers):
    if hers.any():
        raise torch.OutOfMemoryError("out of memory")
    return predictions


def overflowing(value):
    def overflow(predictions, hers):
        predictions[hers] = value
        return predictions

    return overflow


def breaking(predictions, hers):
    if hers.any():
        raise RuntimeError("a kernel failed")
    return predictions


def hanging(predictions, hers):
    if hers.any():
        time.sleep(2 * STEP_SECONDS)
    return predictions


def decoder(error):
    def inject(server, monkeypatch):
        decode = server.engine.model.decode

        def decode_others(latents):
            if latents.shape[-1] == 8:  # hers are larger
                raise error
            return decode(latents)

        monkeypatch.setattr(server.engine.model, "decode", decode_others)

    return inject


def unreadable_prompt(server, monkeypatch):
    trajectory = server.engine.model.trajectory

    def refuse(request, *others):
        if request.prompt == PROMPT:
            raise ValueError("the text encoder failed")
        return trajectory(request, *others)

    monkeypatch.setattr(server.engine.model, "trajectory", refuse)


def full_disk(server, monkeypatch):
    fsync = os.fsync

    def refuse_once(handle):
        monkeypatch.setattr(os, "fsync", fsync)
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", refuse_once)


def database_down(server, monkeypatch):
    def refuse():
        raise ConnectionRefusedError("the database is down")

    monkeypatch.setattr(server.service.database.sessions, "begin", refuse)


def download(error):
    async def fail(url):
        raise error

    def inject(server, monkeypatch):
        monkeypatch.setattr(server.env.bot.http, "get_from_cdn", fail)

    return inject


def refused(status):
    return discord.HTTPException(SimpleNamespace(status=status, reason=""), "")


def greedy_picture(server, monkeypatch):
    monkeypatch.setattr(decode_process, "MEMORY_BYTES", 2**26)


def first_answer(status, code, times):
    def inject(server, monkeypatch):
        server.env.inject_error("POST", "/interactions/*/*/callback", status=status, code=code, times=times)

    return inject


NOT_DOWNLOADED = "could not download the picture from Discord"
WRONG = "Something went wrong while the picture was made. Please try again."
FAULTS = [
    Fault("out of memory in company", network(small_device), PICTURES, State.DELIVERED),
    Fault("out of memory even alone", network(too_small_device), "not enough memory for a picture of this size"),
    Fault("out of memory at decoding", decoder(MemoryError()), "not enough memory for a picture of this size", asks=LARGER),
    Fault("NaN in one row", network(overflowing(torch.nan)), "The calculation of this picture overflowed"),
    Fault("infinity in one row", network(overflowing(-torch.inf)), "The calculation of this picture overflowed"),
    Fault("a step raises an error", network(breaking), WRONG, asks=LARGER),
    Fault("the start raises an error", unreadable_prompt, WRONG),
    Fault("decoding raises an error", decoder(RuntimeError("no")), WRONG, asks=LARGER),
    Fault("a step hangs", network(hanging), "got stuck on this picture", asks=LARGER, engine={"step_seconds": STEP_SECONDS}),
    Fault("the disk is full", full_disk, "My disk is full, so I cannot keep pictures"),
    Fault("the disk is full for an attached picture", full_disk, "My disk is full, so I cannot keep pictures", asks=SIMILAR),
    Fault("the database fails on accepting", database_down, "I cannot save requests at the moment", None),
    Fault("the database fails while a picture is made", None, PICTURES, State.DELIVERED, later=database_down),
    Fault("the attachment is gone (404)", download(refused(404)), NOT_DOWNLOADED, asks=SIMILAR),
    Fault("Discord fails at the attachment (500)", download(refused(500)), NOT_DOWNLOADED, asks=SIMILAR),
    Fault("the network fails at the attachment", download(TimeoutError()), NOT_DOWNLOADED, asks=SIMILAR),
    Fault("the attachment takes too much memory", greedy_picture, "too much time or memory to be read", asks=LARGE),
    Fault("the queue is full", None, "The queue is full", None, engine={"max_waiting": 1}),
    Fault("the interaction expired unanswered (10062)", first_answer(404, 10062, 2), "nothing"),
    Fault("Discord fails at the first answer (500)", first_answer(500, 0, 1), "nothing", State.CANCELLED),
]


async def ask(server, name="imagine", **options):
    return await server.alice.slash(server.channel, name, **{"steps": 4} | options)


def sight(result):
    """Put in words what alice has before her."""
    answers = [answer for answer in (result.response, *result.followups) if answer is not None]
    if any(map(pictures_of, answers)):
        return PICTURES
    return "\n".join(map(text_of, answers)).rpartition("\n")[2] or "nothing"


async def states(server):
    """How what was accepted has ended, oldest first."""
    async with server.service.database.sessions() as session:
        return [row.state for row in await session.scalars(select(Creation).order_by(Creation.id))]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault_is_reported_and_spares_other_requests(tiny_components, monkeypatch, fault):
    async with open_server(model_of(tiny_components), **fault.engine) as server:
        slow_down(server, monkeypatch)
        waiting = await server.bob.slash(server.channel, "imagine", prompt="red apple", steps=30)
        with monkeypatch.context() as faulty:
            if fault.inject:
                fault.inject(server, faulty)
            result = await ask(server, **fault.asks)
            if fault.later:
                fault.later(server, faulty)
            await server.until_finished(waiting.response)
            await server.until_idle()
        server.env.backend.faults.clear()
        seen = sight(result)
        again = await ask(server, **fault.asks)
        await server.until_finished(again.response)
        await server.until_idle()
        print(f"\n| {fault.name} | {seen} | {fault.state} |", end="")
        assert fault.sees in seen and (fault.sees == PICTURES) == (seen == PICTURES)
        assert await states(server) == [state for state in (State.DELIVERED, fault.state, State.DELIVERED) if state]


async def test_download_times_out(monkeypatch):
    monkeypatch.setattr(attachments, "DOWNLOAD_SECONDS", 0.05)
    with pytest.raises(InvalidImageError, match=NOT_DOWNLOADED):
        await attachments.download(attachments.PostedFile("in.png", "", 0, never_ends))
