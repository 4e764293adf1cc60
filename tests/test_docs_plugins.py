"""docs/swap-one-part.md and docs/hooks.md do what they say, from top to bottom."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from test_docs import ROOT, blocks, execute

TOY = {"WETOOLKIT_EXTRA_MODULES": "wetoolkit.testing.plugin"}


def write_files(page, folder):
    """Every block of a page that is a file."""
    for _, marker, text in blocks(page, "file="):
        (folder / marker.split("file=")[1].strip()).write_text(text)
    (folder / "docs").symlink_to(ROOT / "docs")


def test_every_part_can_be_swapped(tmp_path):
    for package in ("torch", "gymnasium", "wetoolkit_learning"):
        pytest.importorskip(package, reason="the page uses it")
    page = ROOT / "docs" / "swap-one-part.md"
    write_files(page, tmp_path)
    plugins = "wetoolkit,wetoolkit-learning"
    for language, _, text in blocks(page, "run"):
        done = execute(text, tmp_path, language, WETOOLKIT_PLUGINS=plugins, PYTHONPATH=str(tmp_path), **TOY)
    assert "done: runs/mine" in done.stdout
    manifest = (tmp_path / "runs" / "mine" / "manifest.json").read_text()
    assert json.loads(manifest) and (tmp_path / "runs" / "mine" / "report").is_dir()


class Inbox(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self):
        self.server.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def inbox():
    """A server on loopback; its ``messages`` are what it was sent."""
    server = HTTPServer(("127.0.0.1", 0), Inbox)
    server.messages = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run_toy(folder, *plugins, **environment):
    write_files(ROOT / "docs" / "hooks.md", folder)
    asked = " ".join(f"--plugin {name}" for name in plugins)
    command = f"wetool run docs/toy.toml --set dataset.logs=4 --to mine-1 {asked}"
    return execute(command, folder, WETOOLKIT_PLUGINS="wetoolkit", **TOY, **environment)


def test_a_webhook_hears_of_every_stage(tmp_path, inbox):
    run_toy(tmp_path, "to_webhook.py", RUN_WEBHOOK=f"http://127.0.0.1:{inbox.server_port}/runs", no_proxy="127.0.0.1")
    assert [message["stage"] for message in inbox.messages] == ["index", "demonstrations", "pretrain", "mine-1"]
    assert {message["run"] for message in inbox.messages} == {"toy"} and not any(m["failed"] for m in inbox.messages)


def test_a_webhook_that_nobody_hears_is_a_warning(tmp_path, inbox):
    url = f"http://127.0.0.1:{inbox.server_port}/runs"
    inbox.shutdown()
    inbox.server_close()
    done = run_toy(tmp_path, "to_webhook.py", RUN_WEBHOOK=url, no_proxy="127.0.0.1")
    assert ("its hook stage_finished failed" in done.stderr and "done" in done.stdout) or "stopped where asked" in done.stdout


def test_tensorboard_holds_the_costs(tmp_path):
    pytest.importorskip("tensorboard", reason="not installed")
    run_toy(tmp_path, "to_tensorboard.py")
    (events,) = {path.parent for path in (tmp_path / "tensorboard").rglob("*tfevents*")}
    code = (
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator as E\n"
        f"e = E({str(events)!r}); e.Reload(); print(*e.Tags()['tensors'], *e.Tags()['scalars'])"
    )
    tags = execute(code, tmp_path, "python").stdout.split()
    assert {"mine-1/wall", "pretrain/items"} <= set(tags)
    assert Path(events).name == "toy"
