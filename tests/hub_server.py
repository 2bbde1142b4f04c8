"""A model hub in a thread: the few calls that huggingface_hub makes for us, and what can go wrong with each."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass
class HubModel:
    """A model on the hub. Its revisions are named commits; each commit holds files by name."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    token: str | None = None
    """The token that opens a gated model."""
    breaks: int = 0
    """How many of the next downloads break off in the middle."""

    def commit(self, files: dict[str, bytes], *, revision: str = "main") -> str:
        """Add a commit on top of a revision and return it."""
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        commit = sha256(content).hexdigest()[:40]
        self.commits[commit] = files
        self.revisions[revision] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.revisions.get(revision)


class HubServer:
    """Serves `models` at `url` for as long as the `with` block lasts, and writes down every request."""

    def __init__(self) -> None:
        self.models: dict[str, HubModel] = {}
        self.moved: dict[str, str] = {}
        """Old names that are answered with a redirect to the new one, as `gpt2` is on the real hub."""
        self.requests: list[str] = []
        self.status: int | None = None
        """With this set, every answer is that error."""
        self.error_message: str | None = None
        """What that error says for itself."""
        self.warning: str | None = None
        """With this set, every answer asks the client to print it."""
        self.listing: bytes | None = None
        """With this set, it is what every question for a model's files gets for an answer."""
        self.serves_ranges = True
        """Without this, every question for a part of a file is answered with the whole of it, as some proxies do."""
        self.drips: str | None = None
        """What is sent a few bytes at a time: `headers`, `body`, or nothing."""
        self.drop = (1, 0.05)
        """How many bytes, and the seconds between them."""
        self.bytes_sent = 0
        """The bytes of files that went out."""
        self.connections = 0
        """How often a client connected; a connection serves several requests, one after another."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.hub = self
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, files: dict[str, bytes]) -> HubModel:
        model = self.models[name] = HubModel()
        model.commit(files)
        return model

    def __enter__(self) -> Self:
        # Polled often, so that leaving the block doesn't wait for half a second.
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    hub: HubServer

    def get_request(self) -> tuple[socket, object]:
        self.hub.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that has read enough hangs up, and what else goes wrong a test sees on its own side."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two writes; with Nagle's algorithm the second would wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class calls it so)
        """Nothing: requests are in `hub.requests`."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.status is not None:
            self._refuse(self.hub.status, None)
        elif path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
        else:
            self._file(path.removeprefix("/"))

    def _list(self, path: str) -> None:
        if self.hub.listing is not None:
            self._send(200, self.hub.listing)
            return
        name, _, revision = path.partition("/revision/")
        found = self._commit(name, revision or "main")
        if found is not None:
            commit, files = found
            # Sizes are listed where they are asked for, as on the real hub.
            sizes = "blobs=" in urlsplit(self.path).query
            siblings = [{"rfilename": file, **({"size": len(data)} if sizes else {})} for file, data in files.items()]
            self._send(200, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())

    def _file(self, path: str) -> None:
        name, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        found = self._commit(name, revision)
        if found is None:
            return
        commit, files = found
        model = self.hub.models[name]
        if model.gated and self.headers.get("Authorization") != f"Bearer {model.token}":
            self._refuse(403 if "Authorization" in self.headers else 401, "GatedRepo")
        elif file not in files:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        else:
            self._send_file(model, commit, files[file])

    def _commit(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit that is asked for, or None once the request has been refused."""
        if name in self.hub.moved:
            self._send(307, b"", {"Location": self.path.replace(name, self.hub.moved[name], 1)})
            return None
        model = self.hub.models.get(name)
        if model is None:
            # The real hub doesn't tell strangers whether a private model is there.
            self._refuse(404 if "Authorization" in self.headers else 401, "RepoNotFound")
            return None
        commit = model.resolve(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return None
        return commit, model.commits[commit]

    def _send_file(self, model: HubModel, commit: str, data: bytes) -> None:
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sha256(data).hexdigest()}"'}
        begin, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(begin), min(int(last or len(data)) + 1, len(data))
        # An upper end tells a range from a whole download; huggingface_hub's own, which go on after a break, have none.
        partial = (start > 0 or bool(last)) and self.hub.serves_ranges
        start, end = (start, end) if partial else (0, len(data))
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        breaks = self.command == "GET" and model.breaks > 0
        model.breaks -= breaks
        # A retry that goes on after the first half gets nothing more, as on a line that is down.
        sent = data[start : min(end, len(data) // 2)] if breaks else data[start:end]
        self.hub.bytes_sent += len(sent) if self.command == "GET" else 0
        self._send(206 if partial else 200, sent, headers, length=end - start)

    def _refuse(self, status: int, code: str | None, headers: dict[str, str] | None = None) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": self.hub.error_message}
        self._send(status, b"", {name: text for name, text in said.items() if text} | (headers or {}))

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        length = len(body) if length is None else length
        self.send_response(status)
        said = {"X-HF-Warning": f"topic; {self.hub.warning}"} if self.hub.warning else {}
        for name, value in {**(headers or {}), **said, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        if self.hub.drips == "headers":
            self._drip(b"".join(self._headers_buffer))
            self._headers_buffer = []
        self.end_headers()
        if self.command == "GET":
            (self._drip if self.hub.drips == "body" else self.wfile.write)(body)
            # Less than was promised: closing the line is what breaks it off.
            self.close_connection = self.close_connection or len(body) < length

    def _drip(self, content: bytes) -> None:
        size, pause = self.hub.drop
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            time.sleep(pause)
