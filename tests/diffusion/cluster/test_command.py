"""The command that deploys."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from diffusion.cluster.__main__ import missing_resources
from diffusion.cluster.remote import load
from diffusion.request import ImageRequest
from tests.support.machines import HOST, QUIET, ROOT


def command(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "diffusion.cluster", *arguments],
        cwd=ROOT,
        env=os.environ | QUIET | {"RAY_AUTH_TOKEN": secrets.token_hex(), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def ray():
    pytest.importorskip("uvicorn", reason="replicas need pip install -e '.[cluster]'")


def test_serve_prints_its_address_and_runs_until_stopped(tiny_folder):
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    options = ("--set", "device=cpu", "--set", "max_side=512", "--cpus", "0.5")
    with command("serve", "--model", f"tiny={tiny_folder}", "--port", str(port), *options) as running:
        try:
            url = f"http://{HOST}:{port}"
            told = next((line for line in running.stdout if line.startswith("Serving")), "")
            assert told == f"Serving tiny at {url}: set ENGINE={url} and MODELS=tiny for the bot.\n"
            model, check = load(url, "tiny")
            assert (model.sample_side, check) == (32, None)
            model.validate(ImageRequest("a fox", width=32, height=32))
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0


@pytest.mark.parametrize("wrong", [("--replicas", "many"), ("--set", "unknown=1"), ("--replicas", "8-2"), ("--replicas", "0")])
def test_serve_explains_invalid_options_in_a_sentence(wrong):
    with command("serve", *wrong) as running:
        told = running.stderr.read()
        assert running.wait(60) == 2
    assert "Traceback" not in told and len(told.strip().splitlines()) == 1, told


def test_missing_resources_names_what_the_machines_lack():
    def wanted(**given):
        return SimpleNamespace(**{"replicas": 1, "gpus": 0, "cpus": 1} | given)

    there = {"CPU": 2.0, "GPU": 1.0}
    assert missing_resources([wanted(replicas=2, gpus=0.5)], there) == ""
    assert missing_resources([wanted(replicas=20, cpus=0.1)], there) == ""
    sentence = "Resources missing: the replicas need {}, the cluster has {}."
    assert missing_resources([wanted(gpus=1), wanted(gpus=0.5)], there) == sentence.format("1.5 GPU", 1)
    assert missing_resources([wanted(replicas=3)], there) == sentence.format("3 CPU", 2)
    assert missing_resources([wanted(gpus=1)], {"CPU": 2.0}) == sentence.format("1 GPU", 0)
