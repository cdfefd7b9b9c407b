"""``python -m diffusion.cluster serve``: replicas of the engine on Ray Serve, for bots whose ENGINE it prints."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

NO_RAY = "Replicas run on Ray: pip install -e '.[cluster]'"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m diffusion.cluster", description=__doc__)
    serve = parser.add_subparsers(required=True).add_parser("serve", help="deploy, and tell where the replicas are asked")
    add = serve.add_argument
    add("--model", action="append", metavar="NAME[=SOURCE]", help="what to serve, as MODELS names it; again for a further one")
    add("--replicas", default="1", metavar="N[-MOST]", help="of each model; with MOST as many as the queue is worth")
    add("--queued-rows", type=int, metavar="ROWS", help="that each replica is worth; a picture is twice its steps")
    add("--gpus", type=float, default=0, help="that each replica takes, also a share such as 0.5")
    add("--cpus", type=float, default=1, help="that each replica takes")
    add("--host", default="127.0.0.1", help="the address to be asked at")
    add("--port", type=int, default=8000)
    add("--address", help="of the Ray cluster; left out, one is started on this machine and ends with this command")
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help="a further option of diffusion.cluster.app")
    return parser


def models(named: list[str] | None) -> dict[str, str]:
    """Read which models to serve: by name, where each comes from."""
    from diffusion.cluster.app import EMBEDDED

    pairs = (text.partition("=")[::2] for text in named or [EMBEDDED])
    return {name: source or name for name, source in pairs}


def options(asked: argparse.Namespace, model: str) -> Any:
    """Give what the command line says of ``model`` as `diffusion.cluster.app.Options`; raises `ValidationError`."""
    from diffusion.cluster.app import Options

    least, _, most = asked.replicas.partition("-")
    given = {"model": model, "replicas": least, "gpus": asked.gpus, "cpus": asked.cpus}
    given |= {"most_replicas": most} if most else {}
    given |= {"queued_rows": asked.queued_rows} if asked.queued_rows else {}
    return Options.model_validate(given | dict(text.partition("=")[::2] for text in asked.set))


def told(error: ValidationError) -> str:
    """Say which options are wrong, a line each."""
    return "\n".join(f"{'.'.join(map(str, problem['loc'])) or 'options'}: {problem['msg']}" for problem in error.errors())


def lacking(wanted: Collection[Any], there: Mapping[str, float]) -> str:
    """Say what the replicas of all these `Options` need more of than is ``there``; nothing where they fit."""
    for option, resource in (("gpus", "GPU"), ("cpus", "CPU")):
        needed = round(sum(each.replicas * getattr(each, option) for each in wanted), 4)  # as finely as Ray counts
        if needed > (has := there.get(resource, 0)):
            return f"The replicas need {needed:g} {resource}s, and there are {has:g}."
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Deploy as asked; what is wrong is told in one sentence."""
    asked = _parser().parse_args(arguments)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray import serve

        from diffusion.cluster.app import application
    except ModuleNotFoundError:
        print(NO_RAY, file=sys.stderr)
        return 2
    try:
        wanted = {name: options(asked, source) for name, source in models(asked.model).items()}
        served = {name: application(each) for name, each in wanted.items()}
    except ValidationError as error:
        print(told(error), file=sys.stderr)
        return 2
    try:
        if asked.address:
            ray.init(address=asked.address, log_to_driver=False)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        if problem := lacking(wanted.values(), ray.cluster_resources()):
            if not asked.address:
                print(problem, file=sys.stderr)
                return 1
            print(f"{problem} Waiting for further machines.", file=sys.stderr, flush=True)
        serve.start(proxy_location="HeadOnly", http_options={"host": asked.host, "port": asked.port})
        for name, deployment in served.items():
            serve.run(deployment, name=name, route_prefix=f"/{name}")
    except (ConnectionError, RuntimeError) as error:
        print(f"The replicas do not run: {error}", file=sys.stderr)
        return 1
    where = f"http://{asked.host}:{asked.port}"
    print(f"Serving {', '.join(served)} at {where}: set ENGINE={where} and MODELS={','.join(served)} for the bot.", flush=True)
    if not asked.address:
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()
        serve.shutdown()
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
