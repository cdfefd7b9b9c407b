"""What ``python -m benchmarks`` measures: the functions of the other benchmarks, with few repeats.

Each function returns a text per figure of its scenario, in their order. The engine's networks are compiled, as after an
installation by the README.
"""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch

from benchmarks import alone, beside, company, fast, lag, limit, picture
from benchmarks.capacity import fairness, waits
from benchmarks.capacity.costs import H200, latency_model
from benchmarks.capacity.plan import latent_shape
from benchmarks.capacity.simulation import FIFO, ROUTING_BATCHING, simulate
from benchmarks.quality import decibels
from benchmarks.support.shaped_models import model_for
from benchmarks.support.table import Scenario
from diffusion.loading.folder import PRETRAINED

THROUGHOUT: Final = (0.0, 1.0)  # diffusers' pipeline guides in each step
ENGINE, EAGER, COMPILED = "engine", "diffusers", "compiled"  # ways of `company`
REQUESTS: Final = 16
NO_GPU: Final = "no GPU here"


def embedded_alone() -> list[str]:
    """Draw the embedded model's picture in 20 steps, as the pipeline does."""
    settings = {"sampler": "dpm++", "steps": 20, "guidance_interval": THROUGHOUT}
    measured = asyncio.run(alone.measure(model_for(None, compiled=True), settings, 5, eager=model_for(None)))
    return [_ratio_of(measured, name) for name in (alone.EAGER, alone.COMPILED)]


def sd1_alone() -> list[str]:
    """Draw a small picture of Stable Diffusion 1's shape with all engines that are installed."""
    settings = {"sampler": "euler", "steps": 3, "width": 256, "height": 256, "guidance_interval": THROUGHOUT}
    model, eager = model_for(None, "sd1", compiled=True), model_for(None, "sd1")
    measured = asyncio.run(alone.measure(model, settings, 3, eager=eager, with_peers=True))
    return [_ratio_of(measured, name) for name in ("OpenVINO GenAI", alone.EAGER, alone.COMPILED, "stable-diffusion.cpp")]


def _ratio_of(measured: alone.Alone, name: str) -> str:
    if name in measured.missing:
        return measured.missing[name]
    return f"{measured.ratio(name):.2f} ({measured.seconds[alone.ENGINE]:.2f} s and {measured.seconds[name]:.2f} s)"


def pictures() -> list[str]:
    """Draw pictures with the defaults, alone and eight at once."""
    model = model_for(None, compiled=True)
    teacher = model.defaults.of("standard") | {"guidance_scale": model.defaults.guidance_scale}
    ways: dict[str, dict[str, Any]] = {"default": {}, "teacher": teacher}
    has_student = model.request("red apple", seed=0) != model.request("red apple", seed=0, **teacher)
    measured = asyncio.run(picture.measure(model, ways if has_student else {"default": {}}, 8, 5))
    default = measured["default"]
    compared = ["there is no student"] * 3
    if has_student:
        by_torch = asyncio.run(picture.measure(model_for(None), {"teacher": teacher}, 1, 5))["teacher"]
        prompts = fast.choose_prompts(16)
        drawn = (fast.draw(model, prompts, **settings).images for settings in ({"variety": 0}, teacher))
        pairs = zip(*drawn, strict=True)
        shares = [f"{default.alone / each.alone:.2f} ({each.alone:.2f} s)" for each in (by_torch, measured["teacher"])]
        compared = [*shares, f"{median(starmap(decibels, pairs)):.1f} dB"]
    return [
        f"{default.alone:.2f} s, the first preview after {default.first_preview:.2f} s",
        *compared,
        f"{default.gain:.2f}x",
    ]


def recorded() -> list[str]:
    """Read what was measured of the embedded model: of its teacher's single pictures, and of sets with its defaults."""
    files = ("evaluation.json", "evaluation-defaults.json")
    teacher, sets = (json.loads((PRETRAINED / name).read_text("utf-8")) for name in files)
    recognised = [f"{each['seen']['top_5']:.1%}, {each['unseen']['both']:.1%}" for each in (teacher, sets)]
    return [*recognised, f"{sets['diversity']:.0%}, {sets['copies']:.0%}"]


def mixed(shape: str | None = None) -> list[str]:
    """Serve mixed requests at once, and one by one with both pipelines."""
    models = company.Models(model_for(None, shape, compiled=True), model_for(None, shape))
    rounds = asyncio.run(company.measure(models, REQUESTS, 2, (ENGINE, EAGER, COMPILED)))
    rate = company.rate_of(rounds[ENGINE])
    short = company.p95_of_short(rounds[ENGINE])
    return [
        f"{rate / company.rate_of(rounds[EAGER]):.2f}x ({rate:.2f} pictures a second)",
        f"{rate / company.rate_of(rounds[COMPILED]):.2f}x",
        f"{short / company.p95_of_short(rounds[EAGER]):.2f}, {short / company.p95_of_short(rounds[COMPILED]):.2f}",
    ]


def peak(shape: str | None = None) -> list[str]:
    """Call the UNet with few and many rows."""
    shares = limit.shares_of_peak(model_for(None, shape, compiled=True), (2, 16), 9)
    return [", ".join(f"{share:.2f}" for share in shares.values())]


def small_beside_large() -> list[str]:
    """Draw a small picture beside another member's large one."""
    measured = asyncio.run(beside.measure(model_for(None, compiled=True), 3, beside.LIMITS.side))
    return [f"{measured.ratio:.1f}x ({measured.alone:.2f} s alone)"]


def simulated_waits() -> list[str]:
    """Simulate short requests beside long ones."""
    latency = latency_model(H200)
    trace = waits.steady_trace(600, 0.95, latency, members=1000)
    fifo, batching = (
        waits.Waits.of(simulate(trace, way, 1, latency, latent_shape, max_rows=None)) for way in (FIFO, ROUTING_BATCHING)
    )
    return [f"{batching.short_p95 / fifo.short_p95:.3f} ({batching.short_p95:.1f} s)"]


def simulated_shares() -> list[str]:
    """Simulate members who all ask for more than can be drawn."""
    return [f"{fairness.largest_share(8, 60.0):.2f}x"]


def quality_fast() -> list[str]:
    """Draw with guidance in every second network call."""
    model = model_for(None, compiled=True)
    psnr, rows = fast.compare(model, model.defaults.sampler, 8)
    return [f"{psnr:.1f} dB, {rows:.2f} of the rows"]


def loop_lag() -> list[str]:
    """Draw for members while another process computes."""
    with tempfile.TemporaryDirectory() as folder, lag.another_process():
        drawing = asyncio.run(lag.measure(8, 20.0, None, Path(folder)))
    return [f"{drawing.busy.p99:.1f} ms ({drawing.idle.p99:.1f} ms with nothing to draw)"]


def gpu() -> list[str]:
    """Draw with Stable Diffusion 1's shape on a GPU, if there is one."""
    if not torch.cuda.is_available():
        return [NO_GPU] * 3
    settings = {"sampler": "dpm++", "steps": 20, "guidance_interval": THROUGHOUT}
    model, eager = model_for(None, "sd1", compiled=True), model_for(None, "sd1")
    measured = asyncio.run(alone.measure(model, settings, 3, eager=eager))
    seconds = measured.seconds[alone.ENGINE]
    return [f"{seconds:.3f} s, {measured.ratio(alone.COMPILED):.2f} of it", mixed("sd1")[1], *peak("sd1")]


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        "alone --compile",
        (
            ("embedded picture, 20 steps, against diffusers' pipeline with the same settings", "<= 0.40"),
            ("the same against the pipeline compiled alike", "<= 0.95"),
        ),
        embedded_alone,
    ),
    Scenario(
        "picture --compile",
        (
            ("embedded picture with the defaults", ""),
            ("the same against its teacher's by torch alone, as drawn before there was a student", "<= 0.25"),
            ("the same against its teacher's, compiled alike", ""),
            ("median PSNR of student and teacher", ">= 30 dB"),
            ("8 members at once, against one after another", ">= 1.5x"),
        ),
        pictures,
    ),
    Scenario(
        "diffusion.training evaluate",
        (
            ("recogniser, of the teacher: seen subjects; unseen combinations, both right", ">= 97 %, >= 92 %"),
            ("the same of sets with the defaults, half of them flat", ""),
            ("diversity across seeds and copies of training pictures in those sets", ">= 45 %, <= 10 %"),
        ),
        recorded,
    ),
    Scenario(
        "company --compile",
        (
            (f"{REQUESTS} mixed requests at once, against diffusers one by one", ">= 4x"),
            ("the same against diffusers one by one, compiled alike", ">= 2x"),
            ("time until 95 % of the short ones are done, against both", ""),
        ),
        mixed,
    ),
    Scenario(
        "alone --compile --peers --shape sd1",
        (
            ("Stable Diffusion 1's shape, 256x256, 3 steps of Euler, against OpenVINO GenAI", "<= 0.95"),
            ("the same against diffusers' pipeline", "<= 0.65"),
            ("the same against the pipeline compiled alike", ""),
            ("the same against stable-diffusion.cpp", "<= 0.40"),
        ),
        sd1_alone,
    ),
    Scenario("limit", (("embedded UNet over the machine's peak rate, 2 and 16 rows", ">= 0.55, >= 0.70"),), peak),
    Scenario(
        "beside --compile",
        (("small picture beside another member's of 1024x1024 in 150 steps of Heun, against alone", "<= 3x"),),
        small_beside_large,
    ),
    Scenario(
        "capacity.waits",
        (("simulated: 95 % of 10-step requests beside 50-step ones, three sizes, against first in, first out", "<= 0.06"),),
        simulated_waits,
    ),
    Scenario(
        "capacity.fairness",
        (("simulated: the most time that one busy member gets, over a fair share", "<= 1.2x"),),
        simulated_shares,
    ),
    Scenario("fast", (("quality `fast` against `standard`: median PSNR, rows of all calls", ""),), quality_fast),
    Scenario("lag --beside", (("event loop's lag beside a busy process, 99 %", "<= 10 ms"),), loop_lag),
    Scenario(
        "alone --compile --shape sd1",
        (
            ("GPU: Stable Diffusion 1's shape, 512x512, 20 steps, and against the pipeline compiled alike", "<= 0.15 s"),
            (f"GPU: {REQUESTS} mixed requests at once, against that pipeline one by one", ">= 3x"),
            ("GPU: UNet over peak rate, 2 and 16 rows", ">= 0.45, >= 0.60"),
        ),
        gpu,
    ),
)
