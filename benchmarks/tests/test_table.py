import pytest

from benchmarks.support.table import BEGIN, END, Row, Scenario, render, replace_between_markers, run

FIGURES = (("pictures", ">= 2x"), ("seconds", ""))


def measure():
    return ["3x", "0.1 s"]


def fail():
    raise OSError("no such device")


@pytest.fixture(scope="module")
def parts():
    scenarios = [Scenario("good", FIGURES, measure), Scenario("bad", FIGURES, fail)]
    return [(scenario, rows) for scenario, rows, _ in run(scenarios)]


def test_each_figure_has_a_row_with_its_goal(parts):
    assert parts[0][1] == [Row("pictures", ">= 2x", "3x"), Row("seconds", "", "0.1 s")]


def test_scenario_that_fails_says_so_in_its_rows(parts):
    assert [row.measured for row in parts[1][1]] == ["failed: OSError: no such device"] * 2


def test_table_names_figure_goal_value_and_command(parts):
    lines = render(parts, "a machine").splitlines()
    assert lines[0] == "a machine"
    assert lines[4] == "| pictures | >= 2x | 3x | `good` |"


def test_table_replaces_what_is_between_the_markers_alone():
    text = f"before\n{BEGIN}\nold\n{END}\nafter"
    assert replace_between_markers(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter"


def test_readme_without_markers_is_refused():
    with pytest.raises(ValueError, match="markers"):
        replace_between_markers("text", "new")
