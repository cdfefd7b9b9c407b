"""The dashboard for Grafana asks only for metrics, labels and states that the bot exports."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from cogs.core import dashboard
from cogs.core.metrics import Metrics
from cogs.core.storage.creations import State
from diffusion.serving.admission import Load

BOARD = json.loads(Path(dashboard.__file__).with_name("grafana.json").read_text("utf-8"))
FUNCTIONS = {"sum", "rate", "increase", "histogram_quantile"}
OF_PROMETHEUS = {"instance", "job"}  # labels that it adds to each metric
OF_LINUX = "process_"  # metrics that only Linux has
IS_LINUX = Path("/proc/self/stat").exists()
NAME = re.compile(r"[A-Za-z_]\w*")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


@pytest.fixture(scope="module")
def exported():
    """The labels of each exported series, by its name."""
    engine = SimpleNamespace(watchers=[], unfinished=0, hung_threads=0, load=Load, resident_bytes={"embedded": 1})
    metrics = Metrics(engine, SimpleNamespace(watchers=[]))

    async def look_once():
        watching = asyncio.create_task(metrics.watch_load())
        await asyncio.sleep(0)
        watching.cancel()

    asyncio.run(look_once())
    series = {}
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


def targets():
    return [(panel, target) for panel in BOARD["panels"] for target in panel["targets"]]


def parse(expression):
    """Return the metrics, the labels and the values of ``state`` in a PromQL expression, and the labels it groups by."""
    text = re.sub(r"\[[^\]]*\]", "", expression)  # ranges
    matchers = [match for part in re.findall(r"\{([^}]*)\}", text) for match in MATCHER.findall(part)]
    text = re.sub(r"\{[^}]*\}", "", text)
    grouped = {label for labels in re.findall(r"\bby \(([^)]*)\)", text) for label in NAME.findall(labels)}
    text = re.sub(r"\bby \([^)]*\)", "", text)
    called = set(re.findall(r"([A-Za-z_]\w*)\s*\(", text))
    assert called <= FUNCTIONS
    labels = {label for label, _ in matchers} | grouped
    states = {state for label, values in matchers if label == "state" for state in values.split("|")}
    return set(NAME.findall(text)) - FUNCTIONS, labels, states, grouped


@pytest.mark.parametrize("expression", sorted({target["expr"] for _, target in targets()}))
def test_expression_names_what_the_bot_exports(exported, expression):
    metrics, labels, states, _ = parse(expression)
    assert metrics
    assert [name for name in metrics if name not in exported and (IS_LINUX or not name.startswith(OF_LINUX))] == []
    assert labels - OF_PROMETHEUS <= set.intersection(*(exported.get(name, labels) for name in metrics))
    assert states <= set(State)


def test_a_misspelt_metric_or_label_is_noticed():
    metrics, labels, *_ = parse('sum by (stat) (rate(darkroom_request_total{instance=~"$instance"}[5m])) / 60')
    assert metrics == {"darkroom_request_total"} and labels == {"stat", "instance"}


def test_legends_name_labels_that_their_expression_keeps():
    for panel, target in targets():
        _, _, _, grouped = parse(target["expr"])
        kept = grouped if " by (" in target["expr"] else OF_PROMETHEUS
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_every_metric_of_the_bot_is_shown(exported):
    shown = {name for _, target in targets() for name in parse(target["expr"])[0]}
    families = {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in exported if name.startswith("darkroom_")}
    assert {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in shown if name.startswith("darkroom_")} == families


def test_panels_use_the_chosen_data_source_and_do_not_overlap(exported):
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    (metric, label) = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["instance"]["definition"]).groups()
    assert metric in exported and label in OF_PROMETHEUS
    for panel, target in targets():
        assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in BOARD["panels"]
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
