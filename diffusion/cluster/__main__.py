"""Deploy replicas on Ray Serve: ``python -m diffusion.cluster serve``.

The command prints the ENGINE setting for the bot.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from diffusion.redaction import add_secrets, redact, secrets_of

if TYPE_CHECKING:
    from diffusion.cluster.app import ApplicationOptions

NO_RAY = "Replicas run on Ray: pip install -e '.[cluster]'"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m diffusion.cluster", description=__doc__)
    serve = parser.add_subparsers(required=True).add_parser("serve", help="deploy replicas and print their address")
    add = serve.add_argument
    add("--model", action="append", metavar="NAME[=SOURCE]", help="model to serve, named as in MODELS; repeat for several")
    add("--replicas", default="1", metavar="N[-MAX]", help="replicas of each model; with MAX, scale with the queue")
    add("--queued-rows", type=int, metavar="ROWS", help="queued rows per replica when scaling; a picture takes twice its steps")
    add("--gpus", type=float, default=0, help="GPUs of each replica; fractions such as 0.5 work")
    add("--cpus", type=float, default=1, help="CPUs of each replica")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8000)
    add("--address", help="address of a Ray cluster; by default a local one starts and ends with this command")
    add(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="another option, see `ApplicationOptions` in diffusion/cluster/app.py",
    )
    return parser


def parse_models(arguments: list[str] | None) -> dict[str, str]:
    """Return the source of each model to serve, by its name."""
    from diffusion.cluster.app import EMBEDDED

    pairs = (text.partition("=")[::2] for text in arguments or [EMBEDDED])
    return {name: source or name for name, source in pairs}


def parse_options(arguments: argparse.Namespace, model: str) -> "ApplicationOptions":
    """Return the options of ``model`` on the command line; raises `ValidationError`."""
    from diffusion.cluster.app import ApplicationOptions

    replicas, _, max_replicas = arguments.replicas.partition("-")
    values = {"model": model, "replicas": replicas, "gpus": arguments.gpus, "cpus": arguments.cpus}
    if max_replicas:
        values["max_replicas"] = max_replicas
    if arguments.queued_rows:
        values["queued_rows"] = arguments.queued_rows
    return ApplicationOptions.model_validate(values | dict(text.partition("=")[::2] for text in arguments.set))


def format_validation_error(error: ValidationError) -> str:
    """Return one line per invalid option."""
    lines = []
    for problem in error.errors():
        option = ".".join(map(str, problem["loc"])) or "options"
        lines.append(f"{option}: {problem['msg']}")
    return "\n".join(lines)


def missing_resources(options: Collection["ApplicationOptions"], available: Mapping[str, float]) -> str:
    """Return a sentence about the resource that the replicas lack, or an empty text."""
    gpus = sum(each.replicas * each.gpus for each in options)
    cpus = sum(each.replicas * each.cpus for each in options)
    for resource, needed in (("GPU", gpus), ("CPU", cpus)):
        there = available.get(resource, 0)
        if round(needed, 4) > there:  # Ray counts in ten-thousandths
            return f"Resources missing: the replicas need {needed:g} {resource}, the cluster has {there:g}."
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parsed = _parser().parse_args(arguments)
    add_secrets(secrets_of())
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray import serve

        from diffusion.cluster.app import build_application
    except ModuleNotFoundError:
        print(NO_RAY, file=sys.stderr)
        return 2
    try:
        wanted = {name: parse_options(parsed, source) for name, source in parse_models(parsed.model).items()}
        served = {name: build_application(each) for name, each in wanted.items()}
    except ValidationError as error:
        print(format_validation_error(error), file=sys.stderr)
        return 2
    try:
        if parsed.address:
            ray.init(address=parsed.address, log_to_driver=False)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        if problem := missing_resources(wanted.values(), ray.cluster_resources()):
            if not parsed.address:
                print(problem, file=sys.stderr)
                return 1
            print(f"{problem} Waiting for more machines.", file=sys.stderr, flush=True)
        serve.start(proxy_location="HeadOnly", http_options={"host": parsed.host, "port": parsed.port})
        for name, deployment in served.items():
            serve.run(deployment, name=name, route_prefix=f"/{name}")
    except (ConnectionError, RuntimeError) as error:
        print(redact(f"The replicas could not start: {error}"), file=sys.stderr)
        return 1
    url = f"http://{parsed.host}:{parsed.port}"
    print(f"Serving {', '.join(served)} at {url}: set ENGINE={url} and MODELS={','.join(served)} for the bot.", flush=True)
    if not parsed.address:
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()
        serve.shutdown()
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
