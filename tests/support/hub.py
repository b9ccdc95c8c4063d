"""A hub on this machine that speaks Hugging Face's protocol, as far as a download needs it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """One repository, `somebody/small`.

    `lies` makes it serve other bytes than it announces, `also` is announced and not there, and `hold` is called before
    it sends weights.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.asked: list[str] = []
        self.lies = False
        self.also: list[dict[str, object]] = []
        self.hold: Callable[[], object] = lambda: None

    def files(self) -> list[dict[str, object]]:
        """What it announces; large files go by their SHA-256."""
        found: list[dict[str, object]] = []
        for file in sorted(self.folder.iterdir()):
            content = file.read_bytes()
            about: dict[str, object] = {"size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324
            if file.suffix in {".safetensors", ".gguf", ".bin"}:
                sha256 = hashlib.sha256(content).hexdigest()
                about["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(content), "pointerSize": 134}
            found.append({"type": "file", "path": file.name, "rfilename": file.name, **about})
        return found + self.also

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        self.asked.append(path)
        if path.startswith("/api/models/somebody/small/tree/"):
            return 200, json.dumps(self.files()).encode(), {}
        if path in {f"/api/models/somebody/small{at}" for at in ("", "/revision/main", f"/revision/{COMMIT}")}:
            siblings = [{**one, "blobId": one["oid"]} for one in self.files()]
            about = {"id": "somebody/small", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
            return 200, json.dumps(about).encode(), {}
        if path.startswith(f"/somebody/small/resolve/{COMMIT}/"):
            return self._file(path.rpartition("/")[2])
        kind = "RevisionNotFound" if "/somebody/small" in path else "RepoNotFound"
        return 404, b'{"error": "not here"}', {"X-Error-Code": kind}

    def _file(self, name: str) -> tuple[int, bytes, dict[str, str]]:
        about = next(one for one in self.files() if one["path"] == name)
        content = (self.folder / name).read_bytes()
        if self.lies and "lfs" in about:
            content = content[:-1] + bytes([content[-1] ^ 1])
        tag = about["lfs"]["sha256"] if "lfs" in about else about["oid"]  # type: ignore[index]
        return 200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    """Serve the folder until the block ends."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._send(body=False)

        def do_GET(self) -> None:
            self._send(body=True)

        def _send(self, *, body: bool) -> None:
            status, content, headers = made.answer(urlsplit(self.path).path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self._write(content)

        def _write(self, content: bytes) -> None:
            if urlsplit(self.path).path.endswith(".safetensors"):
                made.hold()
            with suppress(ConnectionError):  # the client may have been interrupted
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """The test's output is not the place."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        made = Hub(folder, f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
