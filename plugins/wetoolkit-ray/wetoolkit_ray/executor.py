"""The executor ``ray``: one actor a worker, each holds the function and takes one item at a time.

An actor that is killed, runs out of memory or out of time costs a try of its item and is replaced by a new one. What an item
prints goes to a file on its own node, and into its row where it fails. Work that reads and writes a run folder needs that folder,
the data and the installed plugins on every node, under the same path.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from pickle import loads
from time import monotonic
from typing import Any, TypeVar

import ray
from pydantic import Field
from ray._private import ray_constants
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from wetoolkit import workers
from wetoolkit.config import Config
from wetoolkit.errors import PluginError
from wetoolkit.flight import Flight, pickled
from wetoolkit.types import Outcome
from wetoolkit.workers import Attempt

I = TypeVar("I")  # noqa: E741 - as in wetoolkit.kinds
R = TypeVar("R")
TICK = 0.2  # seconds between looks at the clock while items run under a time-out


class RayConfig(Config):
    """Workers on a Ray cluster."""

    address: str = Field("", description="of a running cluster: host:port, or auto; empty starts one on this machine, on 127.0.0.1")
    workers: int = Field(0, ge=0, description="actors; 0: as many as the cluster has room for [1]")
    retries: int = Field(1, ge=0, description="further tries after an unexpected error, a time-out or a killed worker [1]")
    timeout: float = Field(0.0, ge=0, description="an item that takes longer is ended and is an error; 0 never [s]")
    cpus: float = Field(1.0, gt=0, description="cores that an item needs [1]")
    gpus: float = Field(0.0, ge=0, description="GPUs that an item needs; below 1 they are shared [1]")
    memory: float = Field(
        0.0, ge=0, le=1e8, description="memory to be free on a node before a worker starts there; 0: not looked at [MB]"
    )
    start_timeout: float = Field(120.0, gt=0, description="how long a worker may take to start before the cluster is given up [s]")
    store: int = Field(512, ge=80, description="shared memory of a cluster of our own [MB]")


class Ray:
    """Implements ``wetoolkit.kinds.Executor``. A cluster of our own is started by the first ``map`` and ends with this process."""

    def __init__(self, config: RayConfig) -> None:
        self.config = config

    def map(self, function: Callable[[I], R], items: Sequence[I]) -> Iterator[Outcome]:
        """Outcomes in order. ``PluginError`` where the function cannot be sent, or the cluster cannot start a worker."""
        payload = pickled(function)
        if not len(items):
            return
        connect(self.config)
        count = min(self.config.workers or room(self.config), len(items))
        flight = _Flight(count, self.config.retries, payload=payload, config=self.config)
        try:
            yield from flight.run(items)
        finally:
            flight.stop()


def connect(config: RayConfig) -> None:
    """Join the cluster, or start one that listens on loopback only. A connection that this process has already is kept."""
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        if config.address:
            ray.init(address=config.address, **quiet)
        else:
            with _loopback():
                cores = max(math.ceil(config.workers * config.cpus), workers.cores())
                ray.init(num_cpus=cores, include_dashboard=False, object_store_memory=config.store << 20, **quiet)
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        what = f"no Ray cluster: {type(error).__name__}: {error}"
        way_out = "check `address` with `ray status`, or leave it empty for a cluster on this machine"
        raise PluginError(what, address=config.address or "127.0.0.1", way_out=way_out) from error
    # Ray tells of dead workers on stdout, in the midst of a table or of JSON; here it stands in the item's row.
    ray._private.worker._worker_logs_enabled = False


@contextmanager
def _loopback() -> Iterator[None]:
    """While it lasts a cluster starts as Ray starts it on macOS: on 127.0.0.1. It also reports its use to nobody.

    Ray replaces a loopback address that it is given by that of the network, so its own switch for laptops is the only way.
    """
    wanted = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in wanted}
    clusters, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    os.environ.update(wanted)
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def room(config: RayConfig) -> int:
    """How many workers the cluster has room for. ``PluginError`` where it has none."""
    have = ray.cluster_resources()
    fits = [int(have.get(name, 0.0) / asked) for name, asked in (("CPU", config.cpus), ("GPU", config.gpus)) if asked]
    if min(fits) < 1:
        asked = f"{config.cpus:g} cores and {config.gpus:g} GPUs an item"
        found = f"{have.get('CPU', 0):g} cores and {have.get('GPU', 0):g} GPUs"
        raise PluginError(f"{asked} where the cluster has {found}", way_out="lower `cpus` or `gpus`, or add nodes")
    return min(fits)


class _Worker:
    """What lives in an actor: the process is prepared as that of the executor ``process``."""

    def prepare(self, payload: bytes, folder: str, path: Sequence[str]) -> tuple[str, int]:
        """Take the function, found along the sender's ``path``; say on which node this runs, in which process."""
        sys.path += [place for place in path if place not in sys.path]
        Path(folder).mkdir(parents=True, exist_ok=True)
        workers.install(payload, folder)
        return ray.get_runtime_context().get_node_id(), os.getpid()

    def work(self, item: bytes) -> bytes:
        """One pickled item in, one pickled Attempt out."""
        return workers.work(item)


@dataclass
class _Actor:
    """One worker, as this process sees it."""

    handle: Any
    ready: Any  # reference to what ``prepare`` returns
    since: float  # when it was asked to start, or its item was sent
    node: str = ""
    pid: int = 0
    index: int | None = None  # the item it works on


@dataclass
class _Flight(Flight):
    """One ``map`` over actors."""

    payload: bytes = b""
    config: RayConfig = field(default_factory=RayConfig)
    folder: str = field(default_factory=lambda: str(Path(tempfile.gettempdir()) / f"wetool-ray-{uuid.uuid4().hex}"))
    running: dict[Any, _Actor] = field(default_factory=dict)  # reference that is waited for -> its actor
    idle: list[_Actor] = field(default_factory=list)
    nodes: set[str] = field(default_factory=set)
    stillborn: int = 0  # actors that died before they were ready, one after the other

    def advance(self) -> None:
        """See ``Flight``."""
        while len(self.running) + len(self.idle) < min(self.workers, len(self.sent)):
            self._start()
        while self.waiting and self.idle:
            self._send(self.idle.pop(), self.waiting.pop(0))
        tick = TICK if self.config.timeout or any(actor.index is None for actor in self.running.values()) else None
        for reference in ray.wait(list(self.running), num_returns=1, timeout=tick)[0]:
            self._collect(reference, self.running.pop(reference))
        self._end_the_late()

    def _start(self) -> None:
        c = self.config
        options: dict[str, Any] = {"num_cpus": c.cpus, "num_gpus": c.gpus, "max_restarts": 0}
        if c.memory:
            options["memory"] = int(c.memory * 2**20)
        handle = ray.remote(_Worker).options(**options).remote()
        ready = handle.prepare.remote(self.payload, self.folder, sys.path)
        self.running[ready] = _Actor(handle, ready, monotonic())

    def _send(self, actor: _Actor, index: int) -> None:
        actor.index, actor.since = index, monotonic()
        self.running[actor.handle.work.remote(self.sent[index])] = actor

    def _collect(self, reference: Any, actor: _Actor) -> None:
        """Take in a worker that is ready, an answer, or a death."""
        index = actor.index
        try:
            answer = ray.get(reference)
        except (RayActorError, OutOfMemoryError) as error:
            self._bury(actor, error)
            return
        except RayError as error:  # a result that cannot be moved
            assert index is not None
            self.note(index, Attempt(error=" ".join(f"{type(error).__name__}: {error}".split())))
        else:
            if index is None:
                (actor.node, actor.pid), self.stillborn = answer, 0
                self.nodes.add(actor.node)
            else:
                self.note(index, loads(answer))  # noqa: S301 - from our own worker
        actor.index = None
        self.idle.append(actor)

    def _bury(self, actor: _Actor, error: Exception) -> None:
        if actor.index is not None:
            hint = "memory ran out on its node" if isinstance(error, OutOfMemoryError) else "killed or crashed"
            what = f"WorkerDied: the worker process ended ({hint})"
            self.note(actor.index, Attempt(error=what, detail=self._last_words(actor) or str(error), again=True))
            return
        self.stillborn += 1
        if self.stillborn > 3:
            raise PluginError(f"workers die before they are ready: {error}", way_out="see the logs of the Ray cluster") from error

    def _end_the_late(self) -> None:
        """Kill workers whose item takes too long; give up where none can be started."""
        now, limit = monotonic(), self.config.timeout
        for reference, actor in list(self.running.items()):
            if actor.index is None:
                if now - actor.since > self.config.start_timeout and not self.nodes:
                    raise PluginError(
                        f"no worker could start in {self.config.start_timeout:g} s", cluster=str(ray.cluster_resources()),
                        way_out="ask for fewer `cpus`, `gpus` or less `memory`, add nodes, or raise `start_timeout`",
                    )  # fmt: skip
            elif limit and now - actor.since > limit and not ray.wait([reference], timeout=0)[0]:
                del self.running[reference]
                words = self._last_words(actor)
                ray.kill(actor.handle)
                self.note(
                    actor.index,
                    Attempt(error=f"TimeoutError: took longer than {limit:g} s", detail=words, again=True, seconds=limit),
                )

    def _last_words(self, actor: _Actor) -> str:
        """What a worker printed for its last item, read on its node; "" where the node is gone as well."""
        try:
            printed: str = ray.get(_on(actor.node, _read).remote(str(workers.output_file(self.folder, actor.pid))), timeout=30)
        except (RayError, GetTimeoutError):
            return ""
        return f"output of the item:\n{printed}" if printed else ""

    def stop(self) -> None:
        """End every worker and remove what they printed."""
        for actor in [*self.running.values(), *self.idle]:
            ray.kill(actor.handle)
        with suppress(RayError):
            ray.wait([_on(node, _remove).remote(self.folder) for node in sorted(self.nodes)] or [ray.put(0)], timeout=10)


def _on(node: str, function: Callable[..., Any]) -> Any:
    """A task of a function on one node, which takes no core from the work."""
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, scheduling_strategy=strategy)


def _read(path: str) -> str:
    """The end of a file; "" where there is none."""
    file = Path(path)
    return file.read_text(errors="replace")[-workers.LONGEST :] if file.exists() else ""


def _remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
