"""Pictures from two machines: the same, with progress, and none lost when a machine is."""

import asyncio
import os
import signal
import urllib.error
import urllib.parse
import urllib.request
from functools import partial

import pytest
from PIL import Image

from diffusion.cluster.headers import ROUTING_KEY_HEADER, bearer
from diffusion.cluster.remote import RemoteEngine, load
from diffusion.config import EngineConfig
from diffusion.errors import InvalidRequestError, JobCancelledError, ModelLoadError, QueueFullError
from diffusion.images.masks import box_mask
from diffusion.request import Limits
from tests.support.cluster import are_alike, build_request, count_queued, list_replicas
from tests.support.machines import SECRET
from tests.support.waiting import WAIT_SECONDS, until

PICTURE = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
KINDS = {
    "several": {"count": 3},
    "another sampler": {"sampler": "euler_a", "steps": 12, "guidance_scale": 3.5},
    "from a picture": {"image": PICTURE, "start_step": 5},
    "a part of one": {"image": PICTURE, "mask": box_mask(PICTURE.size, (0, 0, 20, 32)), "start_step": 5},
    "branched": {"branches": ((5, "a blue dog"),)},
    "variants": {"variants": ("a red fox", "a blue dog"), "count": 4},
    "a morph": {"morph_to": "a blue dog", "count": 4, "steps": 8},
}


async def test_remote_engine_draws_the_same_pictures_as_a_local_one(remote, local):
    requests = [build_request(seed, **settings) for seed, settings in enumerate(KINDS.values())]
    theirs = await asyncio.gather(*(remote.submit(request, owner) for owner, request in enumerate(requests)))
    for kind, request, result in zip(KINDS, requests, theirs, strict=True):
        ours = await local.submit(request)
        assert are_alike(ours.images, result.images), kind
        assert [image.size for image in result.timelapses] == [image.size for image in ours.timelapses], kind
        assert result.request is request and result.seeds == ours.seeds and result.seconds > 0


async def test_remote_engine_reports_previews_and_seconds_left(remote):
    steps = []
    remote.watchers.append(lambda step: steps.append((step.rows, step.seconds)))
    job, seen, foreseen = remote.submit(build_request(steps=100, count=2), "alice"), [], []
    async for progress in job:
        seen.append(progress)
        foreseen.append(remote.estimate_completion()[job])
    result = await job
    completed = [progress.completed for progress in seen]
    assert completed == sorted(completed) and 0 < completed[-1] < 200
    assert {progress.total for progress in seen} == {200}
    assert seen[-1].previews[0].size == (4, 4) and len(seen[-1].previews) == 2
    assert not any(progress.resuming for progress in seen)
    assert [seconds for seconds in foreseen if seconds is not None][-1] < 5
    assert 0 < sum(rows == 4 for rows, _ in steps) <= 100 and all(seconds > 0 for _, seconds in steps)
    assert [image.size for image in result.images] == [(32, 32)] * 2
    assert remote.unfinished == 0 and remote.jobs_of("alice") == 0


async def test_remote_engine_cancels_on_the_replica(remote, machines):
    job = remote.submit(build_request(steps=150, count=4))
    async for progress in job:
        if progress.completed:
            break
    assert job.cancel()
    with pytest.raises(JobCancelledError):
        await job
    assert remote.unfinished == 0
    await until(lambda: _idle(machines))


async def test_cluster_draws_on_both_machines(remote, machines):
    assert len({replica["node"] for replica in await list_replicas(machines)}) == 2
    jobs = [remote.submit(build_request(seed, steps=150), owner=seed) for seed in range(24)]
    await until(lambda: _all_busy(machines))
    await asyncio.gather(*jobs)


async def test_remote_engine_rejects_invalid_requests_on_both_sides(remote, machines):
    with pytest.raises(InvalidRequestError, match="multiple of 8"):
        remote.submit(build_request(width=30))
    remote.config = EngineConfig(limits=Limits(side=2048))
    with pytest.raises(InvalidRequestError, match="at most 2048"):  # the replica's own limits, whatever the bot allows
        await remote.submit(build_request(width=3072, height=32))
    with pytest.raises(ModelLoadError, match="does not serve this model"):
        await asyncio.to_thread(load, machines.url, "unknown", SECRET)


async def _status(machines, body, headers):
    def post():
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{machines.url}/tiny/pictures", body, headers), timeout=20
            ) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            refused.close()
            return refused.code

    return await asyncio.to_thread(post)


async def test_ingress_refuses_what_no_bot_sends_and_goes_on(remote, machines):
    for body in (b"", b"\x80\x04\x95", b"\0\0\0\2[]", b"\xff" * 100):
        assert await _status(machines, body, bearer(SECRET)) == 400
    assert await _status(machines, b"", {}) == await _status(machines, b"", bearer("guessed")) == 401
    assert await _status(machines, b"", {ROUTING_KEY_HEADER: f"1x4x4x4 {'9' * 400}"}) == 401
    assert len((await remote.submit(build_request())).images) == 1


async def test_headers_that_never_end_keep_no_bot_waiting(remote, machines):
    address = urllib.parse.urlsplit(machines.url)
    unfinished = [await asyncio.open_connection(address.hostname, address.port) for _ in range(200)]
    for _, writer in unfinished:
        writer.write(b"POST /tiny/pictures HTTP/1.1\r\nHost: darkroom\r\n")
    assert len((await remote.submit(build_request())).images) == 1
    for _, writer in unfinished:
        writer.close()


async def test_cluster_serves_two_models(remote, machines):
    before = remote.submit(build_request(steps=100))
    await remote.switch(partial(load, machines.url, "other", SECRET))
    after = remote.submit(build_request())
    assert ((await before).model, (await after).model) != (remote.model.name, remote.model.name)
    assert (await after).model == remote.model.name
    assert not are_alike((await before).images, (await after).images)


async def test_full_replicas_keep_accepted_requests_and_reject_others(machines):
    model, _ = await asyncio.to_thread(load, machines.url, "other", SECRET)
    async with RemoteEngine(model) as remote:
        jobs = [remote.submit(build_request(seed, steps=60, count=2), owner=seed) for seed in range(2)]
        with pytest.raises(QueueFullError, match="try again"):
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    remote.submit(build_request(), owner="late").cancel()
                    await asyncio.sleep(0.05)
        results = await asyncio.gather(*jobs)
    assert [len(result.images) for result in results] == [2, 2]


async def test_cluster_redraws_the_requests_of_a_killed_replica(remote, local, machines):
    victim = (await list_replicas(machines))[0]
    requests = [build_request(seed, steps=150, count=1 + seed % 2) for seed in range(8)]
    jobs = [remote.submit(request, owner) for owner, request in enumerate(requests)]
    resumed = [asyncio.create_task(_resumes(job)) for job in jobs]
    await until(lambda: _all_busy(machines))
    os.kill(victim["pid"], signal.SIGKILL)
    results = await asyncio.gather(*jobs)
    for request, result in zip(requests, results, strict=True):
        assert are_alike((await local.submit(request)).images, result.images)
    assert any(await asyncio.gather(*resumed)) and not all(await asyncio.gather(*resumed))
    await until(lambda: _idle(machines))
    await until(lambda: _replaced(machines, {victim["pid"]}, 2))


async def test_cluster_update_loses_no_request(machines):
    model, _ = await asyncio.to_thread(load, machines.url, "other", SECRET)
    async with RemoteEngine(model) as remote:
        (before,) = await list_replicas(machines, "other")
        job = remote.submit(build_request(steps=150), "alice")
        resumed = asyncio.create_task(_resumes(job))
        await until(lambda: job.progress.completed)
        updating = asyncio.create_task(asyncio.to_thread(machines.ask, "update", name="other"))
        meanwhile = remote.submit(build_request(1), "bob")
        await updating
        assert not await resumed  # what had begun was finished where it was
        assert len((await meanwhile).images) == 1
        assert are_alike((await job).images, (await remote.submit(job.request)).images)
    await until(lambda: _replaced(machines, {before["pid"]}, 1, "other"))


async def _resumes(job):
    return any([progress.resuming async for progress in job])


async def _idle(machines):
    return await count_queued(machines) == 0


async def _all_busy(machines):
    busy = [replica["queued"] > 0 for replica in await list_replicas(machines)]
    return len(busy) > 1 and all(busy)


async def _replaced(machines, gone, count, name="tiny"):
    pids = {replica["pid"] for replica in await list_replicas(machines, name)}
    return len(pids) == count and not pids & gone
