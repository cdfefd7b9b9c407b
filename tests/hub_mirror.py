"""A model hub on loopback: one repository of files, as huggingface_hub asks for them through ``HF_ENDPOINT``."""

import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path

COMMIT = "c" * 40


class Mirror(http.server.BaseHTTPRequestHandler):
    """Answers for the files of ``folder`` under the name ``repository``."""

    folder: Path
    repository: str

    def do_HEAD(self):  # noqa: N802
        self.do_GET()

    def do_GET(self):  # noqa: N802
        path = self.path.partition("?")[0].strip("/")
        files = sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())
        if path in (f"api/models/{self.repository}", f"api/models/{self.repository}/revision/main"):
            siblings = [{"rfilename": name} for name in files]
            self._send(200, json.dumps({"id": self.repository, "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"api/models/{self.repository}/tree/"):
            tree = [
                {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": COMMIT} for name in files
            ]
            self._send(200, json.dumps(tree).encode())
        elif path.startswith(f"{self.repository}/resolve/") and path.split("/resolve/")[1].partition("/")[2] in files:
            self._send(200, (self.folder / path.split("/resolve/")[1].partition("/")[2]).read_bytes())
        elif path.startswith((self.repository, f"api/models/{self.repository}")):
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def mirror(folder, repository):
    """Serve ``folder`` as ``repository``; gives the address for ``HF_ENDPOINT``."""
    handler = type("Handler", (Mirror,), {"folder": folder, "repository": repository})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
