"""A local HTTP server that speaks as much of the Hub's API as huggingface_hub asks of it."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "a" * 40


@contextmanager
def serve(repos: dict[str, Path], failing: int | None = None):
    """Yields the server's address; repos: `organisation/name` -> folder with its files. failing: the status of every answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, body: bool):
            if failing is not None:
                self._send(failing, b"{}", {}, body)
                return
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in repos:
                self._info("/".join(parts[2:4]), parts[4:], body)
            elif len(parts) > 4 and parts[2] == "resolve" and "/".join(parts[:2]) in repos:
                self._file(repos["/".join(parts[:2])] / "/".join(parts[4:]), body)
            else:
                self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"}, body)

        def _info(self, name: str, rest: list[str], body: bool):
            files = sorted(p.relative_to(repos[name]).as_posix() for p in repos[name].rglob("*") if p.is_file())
            if rest[:1] == ["tree"]:
                answer = [
                    {"type": "file", "path": f, "size": (repos[name] / f).stat().st_size, "oid": "0" * 40}
                    for f in files
                ]
            else:
                answer = {
                    "id": name,
                    "modelId": name,
                    "sha": REVISION,
                    "private": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                }
                answer["siblings"] = [{"rfilename": f, "size": (repos[name] / f).stat().st_size} for f in files]
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body)

        def _file(self, path: Path, body: bool):
            if not path.is_file():
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body)
                return
            data = path.read_bytes()
            etag = hashlib.sha256(data).hexdigest()
            self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION}, body)

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
