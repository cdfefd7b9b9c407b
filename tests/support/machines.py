"""Two machines of a Ray cluster in one: ``python -m tests.support.machines`` runs them and does what its standard input asks.

It runs in a process of its own, so that the process of the tests is to it what a bot is: Ray is not loaded there.
"""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
SECRET = "open sesame"
# Ray tells nobody that it is used, takes 127.0.0.1 for an address like others, which it does where it does not expect clusters,
# and each process has one thread, as many as a replica of one CPU has.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_raylet_start_wait_time_s": "300",  # on a busy machine
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "50",
    "RAY_worker_niceness": "0",  # replicas would wait for all tests that run beside theirs
    "OMP_NUM_THREADS": "1",
}

deployed = {}  # the options of each application


class Machines:
    """The other process, as the tests know it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.machines"],
            cwd=ROOT,
            env=os.environ | QUIET | {"RAY_AUTH_TOKEN": secrets.token_hex(), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self._answer()

    def ask(self, what, **details):
        """Have ``what`` done there and give what came of it."""
        self._process.stdin.write(json.dumps({"what": what, **details}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self):
        """End the cluster and wait until it is gone."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _answer(self):
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise AssertionError(f"the cluster ended with {self._process.wait()}")


def deploy(applications):
    """Serve models whose steps take longer, each with its options."""
    from ray import serve

    from diffusion.cluster.app import build_application
    from diffusion.cluster.options import ApplicationOptions
    from tests.support.slow_replica import Slow

    deployed.update({name: ApplicationOptions(secret=SECRET, **options) for name, options in applications.items()})
    targets = [
        serve.RunTarget(build_application(deployed[name], Slow), name=name, route_prefix=f"/{name}") for name in applications
    ]
    serve.run_many(targets)


def update(name):
    """Serve another version of a model, which takes on more, and wait until it does."""
    deploy({name: deployed[name].model_dump(exclude={"secret"}) | {"version": "2", "max_waiting": 100}})


def replicas(name):
    """Return the process, the machine and the queue of each replica."""
    import ray

    found = []
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if f"::{name}#replica#" in actor["name"]:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):  # one that ends, or has not begun
                handle = ray.get_actor(actor["name"], actor["namespace"])
                pid, node = ray.get(handle.__ray_call__.remote(_whereabouts), timeout=20)
                stats = ray.get(handle.record_routing_stats.remote(), timeout=20)
                found.append({"name": actor["name"], "pid": pid, "node": node, "queued": stats["queued"]})
    return found


def _whereabouts(replica):
    import ray

    return os.getpid(), ray.get_runtime_context().get_node_id()


def main():
    """Run until standard input ends."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 100 << 20, "node_ip_address": HOST}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": HOST, "port": _free_port()})
    from ray.serve.context import _get_global_client

    answer(f"http://{HOST}:{_get_global_client().http_config.port}")
    for line in sys.stdin:
        asked = json.loads(line)
        answer({"deploy": deploy, "update": update, "replicas": replicas}[asked.pop("what")](**asked))
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


def answer(value):
    print("ANSWER", json.dumps(value), flush=True)


def _free_port():
    with socket.socket() as chosen:
        chosen.bind((HOST, 0))
        return chosen.getsockname()[1]


if __name__ == "__main__":
    main()
