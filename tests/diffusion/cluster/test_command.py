"""The command that deploys."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import psutil
import pytest

from diffusion.cluster.__main__ import main, missing_resources
from diffusion.cluster.local_ray import shut_down
from diffusion.cluster.remote import load
from diffusion.errors import ModelLoadError
from diffusion.request import ImageRequest
from tests.support.machines import HOST, ROOT


def command(*arguments, home):
    """Start the command with an environment that sets nothing for Ray but that its processes need not wait for other tests."""
    quick = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "diffusion.cluster", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)} | quick,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(autouse=True)
def ray():
    pytest.importorskip("uvicorn", reason="replicas need pip install -e '.[cluster]'")


def listening(running):
    """Return the addresses where the command and its processes listen, by process."""
    found = {}
    for process in (psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.setdefault(process.name(), set()).add(connection.laddr.ip.removeprefix("::ffff:"))
    return found


def head_of(running):
    return next(child for child in psutil.Process(running.pid).children(recursive=True) if child.name() == "gcs_server")


def test_serve_listens_on_this_machine_alone_and_ends_even_without_its_head(tiny_folder, tmp_path):
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    options = ("--set", "device=cpu", "--set", "compile=false", "--set", "max_side=512", "--cpus", "0.5")
    with command("serve", "--model", f"tiny={tiny_folder}", "--port", str(port), *options, home=tmp_path) as running:
        try:
            url = f"http://{HOST}:{port}"
            told = next((line for line in running.stdout if line.startswith("Serving")), "")
            found = re.fullmatch(
                rf"Serving tiny at {url}: set ENGINE={url}, MODELS=tiny and ENGINE_SECRET=(\S{{32}}) for the bot\.\n", told
            )
            model, check = load(url, "tiny", found[1])
            assert (model.sample_side, check) == (32, None)
            model.validate(ImageRequest("a fox", width=32, height=32))
            with pytest.raises(ModelLoadError, match="asks for another ENGINE_SECRET"):
                load(url, "tiny", "guessed")
            listeners = listening(running)
            assert len(listeners) > 3 and set().union(*listeners.values()) == {HOST}, listeners
            assert head_of(running).environ()["RAY_AUTH_MODE"] == "token"
            assert (tmp_path / ".ray" / "auth_token").read_text()
            children = psutil.Process(running.pid).children(recursive=True)
            head_of(running).kill()
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(60)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive


def test_shut_down_kills_what_does_not_end():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    shut_down(threading.Event().wait, [psutil.Process(child.pid)], seconds=0.1)
    assert child.wait(30) == -signal.SIGKILL


def test_shut_down_lets_what_ends_in_time_end():
    ended = threading.Event()
    shut_down(ended.set, [])
    assert ended.is_set()


@pytest.mark.parametrize("wrong", [("--replicas", "many"), ("--set", "unknown=1"), ("--replicas", "8-2"), ("--replicas", "0")])
def test_serve_explains_invalid_options_in_a_sentence(wrong, capsys):
    assert main(["serve", *wrong]) == 2
    told = capsys.readouterr().err
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
