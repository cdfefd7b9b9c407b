"""Bodies of requests held against Discord's published description of its interface, an OpenAPI document."""

import copy
import json
import re

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:discord"
NUMBERS = re.compile(r"\d{15,}")  # ids, which do not make bodies differ


class Description:
    """What Discord takes, by route."""

    def __init__(self, document):
        document = copy.deepcopy(document)
        # discord.py 2.7.1 writes some ids as numbers, which Discord reads as it reads texts.
        document["components"]["schemas"]["SnowflakeType"] = {"type": ["string", "integer"], "pattern": "^(0|[1-9][0-9]*)$"}
        self.paths = document["paths"]
        self.registry = Registry().with_resource(DOCUMENT, Resource(document, DRAFT202012))
        self.validators = {}

    @classmethod
    def read(cls, path):
        return cls(json.loads(path.read_text("utf-8")))

    def route(self, method, path):
        """The route of a request as the description writes it, with the fewest variables; None for none."""
        segments = path.strip("/").split("/")
        fitting = [template for template in self.paths if self._fits(template.strip("/").split("/"), segments, method)]
        return min(fitting, key=lambda template: template.count("{"), default=None)

    def _fits(self, template, segments, method):
        if len(template) != len(segments):
            return False
        pairs = zip(template, segments, strict=True)
        return (
            all(part == segment or part.startswith("{") for part, segment in pairs)
            and method.lower() in self.paths["/" + "/".join(template)]
        )

    def fault(self, method, path, body):
        """What Discord would not take of a request, in words; None where it takes everything."""
        route = self.route(method, path)
        if route is None:
            return f"{method} {path}: no such route"
        if body is None:
            return None
        content = self.paths[route][method.lower()].get("requestBody", {}).get("content")
        if not content:
            return f"{method} {route}: takes no body"
        kind = "application/json" if "application/json" in content else next(iter(content))
        parts = content[kind]["schema"].get("properties", {})
        files = {name: "" for name, part in parts.items() if part.get("contentEncoding")}  # which are sent beside the body
        body = files | body if files else body
        error = best_match(self._validator(route, method.lower(), kind).iter_errors(body))
        return error and f"{method} {route}: {error.json_path}: {error.message[:300]}"

    def _validator(self, *place):
        if place not in self.validators:
            steps = ["paths", place[0], place[1], "requestBody", "content", place[2], "schema"]
            pointer = "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)
            reference = {"$ref": f"{DOCUMENT}#/{pointer.replace('{', '%7B').replace('}', '%7D')}"}
            self.validators[place] = Draft202012Validator(reference, registry=self.registry)
        return self.validators[place]


class Recorder:
    """Takes down all that a bot sends to the simulated Discord, each distinct body once."""

    def __init__(self, dispatch):
        self.dispatch = dispatch
        self.requests = {}
        self.count = 0

    def __call__(self, backend, method, path, **options):
        body = json.dumps(options.get("json"), sort_keys=True)
        self.requests.setdefault((method, NUMBERS.sub("1", f"{path} {body}")), (method, path, body))
        self.count += 1
        return self.dispatch(backend, method, path, **options)

    def faults(self, description):
        """All that Discord would not take."""
        found = (description.fault(method, path, json.loads(body)) for method, path, body in self.requests.values())
        return sorted(set(filter(None, found)))

    def routes(self, description):
        return sorted({f"{method} {description.route(method, path)}" for method, path, _ in self.requests.values()})
