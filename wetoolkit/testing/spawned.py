"""A fresh interpreter that unpickles what it is sent and pickles it again: what a spawned worker does with a part."""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

SECONDS = 120.0  # torch alone may need ten on a busy machine
_LOOP = """
import os, pickle, sys
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what an import prints must not mix with the answers
requests = sys.stdin.buffer
while len(head := requests.read(8)) == 8:
    try:
        answer = b"+" + pickle.dumps(pickle.loads(requests.read(int.from_bytes(head, "little"))))
    except BaseException as error:
        answer = b"-" + f"{type(error).__name__}: {error}".encode()
    answers.write(len(answer).to_bytes(8, "little") + answer)
    answers.flush()
"""


@dataclass
class _Child:
    """One interpreter, kept for the next part: packages like torch are imported once."""

    process: subprocess.Popen[bytes] | None = None
    path: tuple[str, ...] = ()

    def ask(self, data: bytes) -> bytes:
        process = self._running()
        assert process.stdin and process.stdout
        process.stdin.write(len(data).to_bytes(8, "little") + data)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], SECONDS)[0]:
            self.close()
            return f"-it was not unpickled within {SECONDS:g} s".encode()
        head = process.stdout.read(8)
        return process.stdout.read(int.from_bytes(head, "little")) if len(head) == 8 else b"-its interpreter died"

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None or self.path != tuple(sys.path):
            self.close()
            self.path = tuple(sys.path)
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, self.path))}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen([sys.executable, "-c", _LOOP], env=environment, **pipes)  # type: ignore[call-overload]
        assert self.process is not None
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@cache
def _child() -> _Child:
    child = _Child()
    atexit.register(child.close)
    return child


def through_a_fresh_interpreter(data: bytes) -> tuple[bytes, str]:
    """The pickle ``data`` loaded and pickled again by an interpreter that has imported nothing yet, or ("", why not)."""
    answer = _child().ask(data)
    return (answer[1:], "") if answer[:1] == b"+" else (b"", answer[1:].decode(errors="replace"))
