"""A stand-in for the Hugging Face hub's API, of what uploading and downloading a model take: https://huggingface.co/docs/hub/api."""

import base64
import hashlib
import json
import re
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """At `url`, with its repositories' files by path, and large ones, as Git LFS has them, by their sha256."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.large: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(self.path.partition("?")[0])
        routes = {
            "POST /api/repos/create": self.create,
            "POST /api/validate-yaml": lambda body: self.answer(200, {"errors": [], "warnings": []}),
            r"GET /api/models/(\w+/\w+)(?:/revision/\w+)?": self.about,
            r"GET /api/models/(\w+/\w+)/tree/\w+(?:/(.*))?": self.tree,
            r"POST /api/models/(\w+/\w+)/paths-info/\w+": self.paths,
            r"POST /api/models/(\w+/\w+)/preupload/main": self.preupload,
            r"POST /api/models/(\w+/\w+)/commit/main": self.commit,
            r"POST /(\w+/\w+)\.git/info/lfs/objects/batch": self.batch,
            r"PUT /large/(\w+)": self.put,
            r"(?:GET|HEAD) /(\w+/\w+)/resolve/\w+/(.*)": self.resolve,
        }
        for route, answer in routes.items():
            if found := re.fullmatch(route, f"{self.command} {path}"):
                return answer(body, *found.groups(default=""))
        self.answer(404, b"")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def answer(self, status: int, content: bytes | list | dict, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def create(self, body: bytes) -> None:
        made = json.loads(body)
        name = f"{made['organization']}/{made['name']}"
        exists = name in self.server.repositories
        self.server.repositories[name]
        self.answer(409 if exists else 200, {"url": f"{self.server.url}/{name}", "name": name})

    def about(self, body: bytes, name: str) -> None:
        if name not in self.server.repositories:
            return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        siblings = [{"rfilename": path} for path in self.server.repositories[name]]
        self.answer(200, {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False})

    def entries(self, name: str) -> dict[str, dict]:
        found: dict[str, dict] = {}
        for path, content in self.server.repositories[name].items():
            found[path] = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            while "/" in path:
                path = path.rpartition("/")[0]
                found[path] = {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        return found

    def tree(self, body: bytes, name: str, folder: str) -> None:
        inside = [entry for path, entry in self.entries(name).items() if path.rpartition("/")[0] == folder]
        self.answer(200 if inside else 404, inside)

    def paths(self, body: bytes, name: str) -> None:
        wanted = json.loads(body)["paths"]
        self.answer(200, [entry for path, entry in self.entries(name).items() if path in wanted])

    def preupload(self, body: bytes, name: str) -> None:
        files = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(".onnx") else "regular", "shouldIgnore": False}
            for file in json.loads(body)["files"]
        ]
        self.answer(200, {"files": files})

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            {**file, "actions": {"upload": {"href": f"{self.server.url}/large/{file['oid']}"}}} for file in json.loads(body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects}, Content_Type="application/vnd.git-lfs+json")

    def put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.large[oid] = body
        self.answer(200, b"")

    def commit(self, body: bytes, name: str) -> None:
        files = self.server.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})

    def resolve(self, body: bytes, name: str, path: str) -> None:
        content = self.server.repositories[name].get(path)
        if content is None:
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        begin, end = 0, len(content)
        if ranged := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            begin, end = int(ranged[1]), min(end, int(ranged[2]) + 1)
        self.answer(206 if ranged else 200, content[begin:end], ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=COMMIT)
