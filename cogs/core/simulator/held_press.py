"""Let a press on the simulator's page end where it began, although the page is redrawn meanwhile.

A browser reports no click if the pressed button was replaced before it is released. So the page shows no new state while a
mouse button or a finger is down.
"""

from typing import Any, Final

APP_PATH: Final = "/app.js"
STATE_PATH: Final = "/api/state"
SCRIPT: Final = f"""
{{
  let released = Promise.resolve();
  let release = () => {{}};
  addEventListener("pointerdown", (event) => {{
    if (event.target.closest?.('[aria-disabled="true"]')) return;  // it waits for the state
    released = new Promise((resolve) => {{ release = resolve; }});
  }}, true);
  for (const kind of ["pointerup", "pointercancel", "dragend", "blur"]) {{
    addEventListener(kind, () => setTimeout(release), true);  // after the click
  }}
  const fetchAtOnce = window.fetch;
  window.fetch = async (...request) => {{
    const answer = await fetchAtOnce(...request);
    if (request[0] !== "{STATE_PATH}") return answer;
    const body = await answer.arrayBuffer();
    await released;
    return new Response(body, answer);
  }};
}}
"""


def hold_redraws_while_pressed(preview: Any) -> None:
    """Add the script to the page; call this before ``preview`` starts."""
    server = preview._server
    serve = server._static

    async def serve_with_script(request: Any) -> Any:
        response = await serve(request)
        if request.path == APP_PATH:
            response.text += SCRIPT
        return response

    server._static = serve_with_script
