"""A model hub on loopback: repositories of files, as huggingface_hub asks for them through ``HF_ENDPOINT``."""

import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

COMMIT = "c" * 40
LICENCE_ACCEPTED = "hf_accepted"


class Mirror(http.server.BaseHTTPRequestHandler):
    """Answers for the files of the folders in ``repositories`` under their names.

    ``gated``: only with the token `LICENCE_ACCEPTED`. ``breaks``: how many downloads of the UNet break off half way.
    ``closed``: after them the hub answers 503. ``size``: how large the weights are said to be. ``downloads`` fills with the
    names of the files that were asked for, each with the byte it was asked from.
    """

    repositories: dict[str, Path]
    folder: Path
    gated, breaks, closed, size = False, 0, False, None
    downloads: list[tuple[str, int]]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].strip("/")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and not token.startswith("hf_"):
            self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return
        self.repository = next((name for name in self.repositories if f"/{name}/" in f"/{path}/"), "")
        if not self.repository:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        self.folder = self.repositories[self.repository]
        files = sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())
        if path in (f"api/models/{self.repository}", f"api/models/{self.repository}/revision/main"):
            siblings = [{"rfilename": name, "size": self._size(name)} for name in files]
            self._send(200, json.dumps({"id": self.repository, "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"api/models/{self.repository}/tree/"):
            tree = [{"type": "file", "path": name, "size": self._size(name), "oid": COMMIT} for name in files]
            self._send(200, json.dumps(tree).encode())
        elif path.startswith(f"{self.repository}/resolve/") and path.split("/resolve/")[1].partition("/")[2] in files:
            self._send_file(path.split("/resolve/")[1].partition("/")[2], token)
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _size(self, name):
        if self.size is not None and name.endswith(".safetensors"):
            return self.size
        return (self.folder / name).stat().st_size

    def _send_file(self, name, token):
        kind = type(self)
        if self.gated and token != LICENCE_ACCEPTED:
            self._send(403 if token else 401, b"{}", {"X-Error-Code": "GatedRepo"})
            return
        if self.closed and not self.breaks and self.command == "GET":
            self._send(503, b"{}")
            return
        body = (self.folder / name).read_bytes()
        headers = {"ETag": f'"{etag(self.folder / name)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.command == "GET":
            self.downloads.append((name, start))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if self.command == "GET" and self.breaks and name == "unet/diffusion_pytorch_model.safetensors":
            kind.breaks -= 1
            self._send(206 if start else 200, body[start:], headers, sent=(len(body) - start) // 2)
            self.close_connection = True
        else:
            self._send(206 if start else 200, body[start:], headers)

    def _send(self, status, body, headers=None, sent=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])

    def log_message(self, *_):
        pass


@lru_cache
def etag(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def mirror(folder, repository=None, **behaviour):
    """Serve ``folder`` as ``repository``, or several by name; gives the address for ``HF_ENDPOINT``."""
    repositories = {repository: folder} if repository else folder
    handler = type("Handler", (Mirror,), {"repositories": repositories, "downloads": []} | behaviour)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
