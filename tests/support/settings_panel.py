"""Use of the panels of `/settings` and `/setup`."""

from tests.support.interactions import SELECT, TEXT_INPUT


def page_id(scope, page):
    """The custom_id of the button that opens a page."""
    return f"darkroom:settings:{'member' if scope == 'mine' else scope}:{page.lower()}"


async def submit_page(actor, channel, scope, page, **values):
    """Open the panel, press the button of ``page`` and send its form; gives the panel and what came of the form."""
    shown = await actor.slash(channel, f"settings {scope}" if scope == "mine" else f"setup {scope}")
    form = await actor.click(shown.response, custom_id=page_id(scope, page))
    return shown.response, await actor.submit_modal(form, form_values(form) | values)


def form_values(form):
    """What a form that is opened holds already, as Discord's clients send it."""
    controls = [label["component"] for label in form.modal["components"]]
    texts = {control["custom_id"]: control.get("value") or "" for control in controls if control["type"] == TEXT_INPUT}
    chosen = {
        control["custom_id"]: [option["value"] for option in control["options"] if option.get("default")]
        for control in controls
        if control["type"] == SELECT
    }
    return texts | chosen
