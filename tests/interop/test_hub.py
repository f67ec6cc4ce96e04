"""Downloads, with the real client against a small server that speaks as the Hub does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = {"step1": "1" * 40, "step2": "2" * 40}
FILES = {
    "step1": {
        "config.json": b'{"model_type": "gpt_neox"}',
        "model.safetensors": b"weights one",
        "pytorch_model.bin": b"a pickle",
        "README.md": b"not wanted",
        "modeling.py": b"raise SystemExit",
    },
    "step2": {
        "config.json": b'{"model_type": "gpt_neox"}',
        "pytorch_model.bin": b"weights two",
        "adapter/model.safetensors": b"weights of something else",
        "pytorch_model-adapter/weights.bin": b"weights of something else",
        "training_args.bin": b"x",
    },
}


class Hub(BaseHTTPRequestHandler):
    """Of the Hub: the description of a revision, the list of its files, and these."""

    asked: list[str]

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, *, with_body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"] and "tree" in parts:
            self.list(parts[-1])
        elif parts[:2] == ["api", "models"]:
            self.describe(parts[-1])
        elif "resolve" in parts:
            self.give(parts[-2], parts[-1], with_body)
        else:
            self.send_error(404)

    def describe(self, revision: str) -> None:
        name = next((one for one, commit in COMMIT.items() if revision in (one, commit)), None)
        if name is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        siblings = [{"rfilename": file} for file in FILES[name]]
        self.reply(json.dumps({"id": "owner/model", "sha": COMMIT[name], "siblings": siblings}).encode(), {})

    def list(self, commit: str) -> None:
        name = next(one for one in COMMIT if COMMIT[one] == commit)
        tree = [{"type": "file", "path": file, "size": len(body), "oid": file} for file, body in FILES[name].items()]
        self.reply(json.dumps(tree).encode(), {})

    def give(self, commit: str, file: str, with_body: bool) -> None:
        name = next(one for one in COMMIT if COMMIT[one] == commit)
        if with_body:
            self.asked.append(f"{name}/{file}")
        self.reply(FILES[name][file], {"X-Repo-Commit": commit, "ETag": f'"{name}-{file}"'}, with_body)

    def reply(self, body: bytes, headers: dict[str, str], with_body: bool = True) -> None:
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what it wants to know."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """Address of the server, and the files that were asked of it."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (Hub,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(root: Path, revision: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    spec = {"kind": "huggingface", "repository": "owner/model", "revision": revision, "path": None, "content": None}
    command = ["fetch-checkpoint", "--spec", json.dumps(spec), "--output", f"store/checkpoints/{revision}.json"]
    # Of its own process: the client reads its settings when it is imported.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-m", "glidepath", *command],
        cwd=root,
        env={**environment, "HF_ENDPOINT": endpoint, "HF_HOME": str(root / "hub"), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
    )


def test_a_revision_is_downloaded_once_by_commit_and_without_what_is_not_needed(
    hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    endpoint, asked = hub
    for revision, weights in (("step1", "model.safetensors"), ("step2", "pytorch_model.bin")):
        done = fetch(tmp_path, revision, endpoint)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / f"store/checkpoints/{revision}.json").read_text())
        assert record["commit"] == COMMIT[revision]
        assert record["path"] == f"store/checkpoints/owner--model@{COMMIT[revision]}"
        assert {entry["file"]: entry["bytes"] for entry in record["files"]} == {
            name: len(FILES[revision][name]) for name in ("config.json", weights)
        }
        folder = tmp_path / record["path"]
        assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(["config.json", weights])
    assert sorted(set(asked)) == [
        "step1/config.json", "step1/model.safetensors", "step2/config.json", "step2/pytorch_model.bin",
    ]  # fmt: skip
    asked.clear()
    (tmp_path / "store/checkpoints/step1.json").unlink()
    assert fetch(tmp_path, "step1", endpoint).returncode == 0
    assert asked == []


def test_a_revision_that_is_not_there_is_refused_in_a_sentence(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    done = fetch(tmp_path, "step3", hub[0])
    assert done.returncode == 2
    assert done.stderr.startswith(
        "glidepath fetch-checkpoint: repository 'owner/model', revision 'step3', cannot be had"
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store/checkpoints/step3.json").exists()
