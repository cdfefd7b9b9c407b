"""Deploy replicas on Ray Serve: ``python -m diffusion.cluster serve``.

The command prints the settings ENGINE and ENGINE_SECRET for the bot.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Collection, Mapping

from dotenv import dotenv_values
from pydantic import ValidationError

from diffusion.cluster.local_ray import LOOPBACK, child_processes, prepare_environment, shut_down, wait_until_stopped
from diffusion.cluster.options import EMBEDDED, SECRET_VARIABLE, ApplicationOptions
from diffusion.redaction import add_secrets, redact, secrets_of

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
        help="another option, see `ApplicationOptions` in diffusion/cluster/options.py",
    )
    return parser


def parse_models(arguments: list[str] | None) -> dict[str, str]:
    """Return the source of each model to serve, by its name."""
    pairs = (text.partition("=")[::2] for text in arguments or [EMBEDDED])
    return {name: source or name for name, source in pairs}


def parse_options(arguments: argparse.Namespace, model: str, secret: str) -> ApplicationOptions:
    """Return the options of ``model`` on the command line; raises `ValidationError`."""
    replicas, _, max_replicas = arguments.replicas.partition("-")
    values = {"model": model, "secret": secret, "replicas": replicas, "gpus": arguments.gpus, "cpus": arguments.cpus}
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


def missing_resources(options: Collection[ApplicationOptions], available: Mapping[str, float]) -> str:
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
    known_secret = os.environ.get(SECRET_VARIABLE) or dotenv_values(".env").get(SECRET_VARIABLE) or ""
    secret = known_secret or secrets.token_urlsafe(24)
    add_secrets([secret, *secrets_of()])
    try:
        wanted = {name: parse_options(parsed, source, secret) for name, source in parse_models(parsed.model).items()}
    except ValidationError as error:
        print(format_validation_error(error), file=sys.stderr)
        return 2
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not parsed.address:
        prepare_environment()
    try:
        import ray
        from ray import serve

        from diffusion.cluster.app import build_application
    except ModuleNotFoundError:
        print(NO_RAY, file=sys.stderr)
        return 2
    try:
        if parsed.address:
            ray.init(address=parsed.address, log_to_driver=False)
        else:
            ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address=LOOPBACK)
        if problem := missing_resources(wanted.values(), ray.cluster_resources()):
            if not parsed.address:
                print(problem, file=sys.stderr)
                return 1
            print(f"{problem} Waiting for more machines.", file=sys.stderr, flush=True)
        serve.start(proxy_location="HeadOnly", http_options={"host": parsed.host, "port": parsed.port})
        for name, options in wanted.items():
            serve.run(build_application(options), name=name, route_prefix=f"/{name}")
    except (ConnectionError, RuntimeError) as error:
        print(redact(f"The replicas could not start: {error}"), file=sys.stderr)
        return 1
    url = f"http://{parsed.host}:{parsed.port}"
    models = ",".join(wanted)
    shown = f"the same {SECRET_VARIABLE}" if known_secret else f"{SECRET_VARIABLE}={secret}"
    print(f"Serving {', '.join(wanted)} at {url}: set ENGINE={url}, MODELS={models} and {shown} for the bot.", flush=True)
    if parsed.address:
        return 0
    processes = child_processes()
    status = 0
    if wait_until_stopped(processes):
        shut_down(lambda: (serve.shutdown(), ray.shutdown()), processes)
    else:
        print("Ray has ended, and the replicas with it. Start this command again.", file=sys.stderr, flush=True)
        shut_down(lambda: None, processes)
        status = 1
    sys.stdout.flush()
    os._exit(status)  # at the exit of Python, Ray would wait for a head that is gone


if __name__ == "__main__":
    sys.exit(main())
