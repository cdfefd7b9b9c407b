"""The page as HTML. Everything that came from Discord is escaped."""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cogs.core.dashboard import formats
from cogs.core.dashboard.board import Overview
from cogs.core.dashboard.status import Speed

TEMPLATES: Final = Path(__file__).with_name("templates")
FILTERS: Final = ("seconds", "milliseconds", "amount", "memory", "ago", "since", "count_of")


class Page:
    """Fills the templates. They are read when it is made, so that no request waits for the disk."""

    def __init__(self, *, with_prompts: bool = False) -> None:
        self._with_prompts = with_prompts
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        for name in FILTERS:
            environment.filters[name] = getattr(formats, name)
        self._templates = {path.name: environment.get_template(path.name) for path in TEMPLATES.iterdir()}

    def dashboard(self, overview: Overview, nonce: str) -> str:
        """Return the whole page; ``nonce`` lets its own script and style run."""
        return self._templates["dashboard.html"].render(nonce=nonce, **self._values(overview))

    def live(self, overview: Overview) -> str:
        """Return the part that the page asks for again and again."""
        return self._templates["live.html"].render(**self._values(overview))

    def login(self, nonce: str, sentence: str = "") -> str:
        """Return the page that asks for the token; ``sentence`` says what was wrong before."""
        return self._templates["login.html"].render(nonce=nonce, sentence=sentence)

    def _values(self, overview: Overview) -> dict[str, object]:
        return {
            "overview": overview,
            "several": len(overview.processes) > 1,
            "with_prompts": self._with_prompts,
            "charts": _charts(overview),
        }


def _charts(overview: Overview) -> list[tuple[str, list[formats.Bar], float | None]]:
    """Return the title, the bars and the present value of each chart."""
    minutes, recent = overview.minutes, overview.recent
    return [
        ("Steps", _bars(minutes, "steps", "steps"), recent.steps),
        ("Rows per call", _bars(minutes, "rows_per_call", "rows"), recent.rows_per_call),
        ("Seconds per step", _bars(minutes, "seconds_per_step", "s"), recent.seconds_per_step),
    ]


def _bars(minutes: list[Speed], name: str, unit: str) -> list[formats.Bar]:
    return formats.bars([getattr(minute, name) for minute in minutes], unit)
