"""One stage's work: what is done already, what remains, in chunks that the experiment fixes, each with a file of its own.

A stage's key is the hash of its components, its settings and the digests of what it is given; a chunk's key has the chunk's own
payload in their place. So a killed run goes on where it was, and a changed setting remakes only what depends on it.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from wetoolkit.errors import ConfigError, DataError, PluginError, StoreError, WetoolkitError
from wetoolkit.experiment import Experiment, Parts
from wetoolkit.kinds import SupportsFiles
from wetoolkit.latency import Sample, append_latency, latency_table
from wetoolkit.ledger import Cost, Ledger
from wetoolkit.progress import Silent, Watch
from wetoolkit.store import StageRecord, Store, canonical, digest_of, file_digest, fingerprint, key_of, read_block, read_facts
from wetoolkit.types import Outcome, Step

T = TypeVar("T")


@dataclass(frozen=True)
class Made:
    """What a stage made: files in order, and one digest for them. ``missing`` says why there are none."""

    stage: str
    digest: str = ""
    paths: tuple[Path, ...] = ()
    items: int = 0
    failed: int = 0
    missing: str = ""


@dataclass(frozen=True)
class Failed:
    """One item that failed, with the part that failed on it."""

    stage: str
    id: str
    log: str
    component: str
    distribution: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Chunk:
    """A unit of work: its payload, and the file that its results go to."""

    index: int
    path: Path
    payload: Any
    ids: tuple[str, ...] = ()  # of the items in it, for the rows of a chunk that is lost as a whole


@dataclass(frozen=True)
class Payload:
    """What a chunk works on. ``key`` must change where the content does."""

    key: Any
    content: Any
    ids: tuple[str, ...]
    logs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """The values of a file of the stage before, or only one of them, as a chunk's payload."""

    path: Path
    row: int = -1

    def read(self, cls: type[T], world: type | None = None) -> list[T]:
        """The values."""
        values, _ = read_block(self.path, cls, world)
        return values if self.row < 0 else values[self.row : self.row + 1]

    def item(self, row: int) -> Block:
        """One of them."""
        return replace(self, row=row)


class Done(Exception):
    """The last stage that was asked for is done."""


def derive(*parts: Any) -> int:
    """A seed in [0, 2^31) from the experiment's seed and what it is for; independent of chunks and workers."""
    return int.from_bytes(hashlib.sha256(canonical(parts).encode()).digest()[:4], "little") >> 1


def attempt(failed: list[Failed], stage: str, id: str, log: str, step: Step, call: Callable[[], T]) -> list[T]:
    """``[call()]``, or ``[]`` and a row in ``failed`` that names the part, its distribution and the item."""
    try:
        return [call()]
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises is one failed item, not the end of the run
        reason = str(error) if isinstance(error, WetoolkitError) else f"{type(error).__name__}: {error}"
        failed.append(Failed(stage, id, log, step.component, step.distribution, reason, traceback.format_exc(limit=-8)))
        return []


def together(items: Sequence[T], call: Callable[[Sequence[T]], Sequence[Any]], alone: Callable[[T], Sequence[Any]]) -> list[Any]:
    """``call`` on all items at once or, where that raises, ``alone`` on each, so that one broken item costs only itself."""
    if not items:
        return []
    if len(items) > 1:
        with suppress(Exception):
            return list(call(items))
    return [result for item in items for result in alone(item)]


@dataclass
class Session:
    """A run folder at work: the experiment, its parts, who watches, and which stages may run."""

    experiment: Experiment
    parts: Parts
    store: Store
    watch: Watch = field(default_factory=Silent)
    given: Mapping[str, Made] = field(default_factory=dict)  # stage -> artefacts from elsewhere that stand in for it
    first: str = ""  # first stage that may run; "" is the first of all
    last: str = ""
    lost: list[Failed] = field(default_factory=list)  # items lost with a whole chunk; tried again by the next start
    counted: int = 0  # damaged artefacts that stand in the ledger already

    @property
    def order(self) -> list[str]:
        """The stages a user can name, in their order."""
        rounds = range(1, self.experiment.rounds + 1)
        inner = [f"{stage}-{r}" for r in rounds for stage in ("mine", "reconstruct", "vary", "rollout", "train")]
        return ["pretrain", *inner, "evaluate"]

    def place(self, stage: str, last: bool = False) -> int:
        """Where a stage stands in ``order``; a name without a round is that of the first round (``last``: of the last one)."""
        found = [i for i, name in enumerate(self.order) if stage in (name, name.rpartition("-")[0])]
        if not found:
            raise ConfigError(
                f"no stage {stage!r}", known=", ".join(self.order), way_out="name one of those; a round is added as in mine-2"
            )
        return found[-1 if last else 0]

    def check_range(self) -> None:
        """``ConfigError`` for an unknown stage, and where the first one comes after the last."""
        first = self.place(self.first) if self.first else 0
        if self.last and first > self.place(self.last, last=True):
            raise ConfigError(
                f"the first stage, {self.first!r}, comes after the last, {self.last!r}", order=", ".join(self.order),
                way_out="exchange them",
            )  # fmt: skip

    def stage(
        self,
        name: str,
        make: Callable[[Work], Sequence[Path]],
        *,
        of: str = "",
        roles: Sequence[str] = (),
        inputs: Sequence[Made] = (),
        shared: Sequence[Made] = (),
        settings: Any = None,
    ) -> Made:
        """Do a stage unless it is done. ``inputs`` are spread over the chunks, ``shared`` are seen by all of them."""
        if name in self.given:
            return self.given[name]
        absent = next((made for made in (*inputs, *shared) if made.missing), None)
        e, domain = self.experiment, self.parts.registry.domain_entry(self.experiment.domain)
        common = [e.seed, e.chunk, domain.distribution]  # worlds are observed, and work is cut, in every stage
        base = [name, *common, settings, [self._step(role) for role in roles], [made.digest for made in shared]]
        key = key_of(base, [made.digest for made in inputs])
        place = self.place(of) if of else -1
        record = None if absent else self.store.finished(name, key)
        if record is not None:
            return self._made(name, record)
        if of and place < (self.place(self.first) if self.first else 0):
            stale = name in self.store.manifest.stages
            why = "was made with other settings" if stale else "has not been done in this run folder"
            return Made(name, missing=absent.missing if absent else f"stage {of!r} {why}")
        if of and place > (self.place(self.last, last=True) if self.last else len(self.order)):
            raise Done
        if absent is not None:
            raise StoreError(
                f"{absent.missing}, but {name!r} needs it", folder=self.store.folder,
                way_out="start from that stage, or pass its artefact with --input or --policy",
            )  # fmt: skip
        return self._do(name, key, base, make)

    def _step(self, role: str) -> tuple[str, ...]:
        step = self.parts.step(role)
        return step.component, step.distribution, step.config, *([self.data] if role == "dataset" else [])

    @cached_property
    def data(self) -> str:
        """What tells whether the data set's files are those of the last start."""
        return data_of(self.parts)

    def _made(self, name: str, record: StageRecord) -> Made:
        paths = tuple(self.store.folder / path for path in record.artefacts)
        return Made(name, record.digest, paths, record.items, record.failed)

    def _do(self, name: str, key: str, base: Any, make: Callable[[Work], Sequence[Path]]) -> Made:
        before = len(self.lost)
        with Ledger(self.store.folder).stage(name) as cost:
            work = Work(self, name, base, cost)
            try:
                paths = make(work)
            finally:
                if work.samples:
                    append_latency(self.store.folder, latency_table(name, cost.started, work.samples))
                cost.damaged, self.counted = self.store.damaged - self.counted, self.store.damaged
            failed = sum(len(facts.get("failed", ())) for facts in map(read_facts, filter(is_block, paths)))
            cost.failed = failed + len(self.lost) - before  # before the row is written
        sums = [self.store.digest(path) for path in paths]
        record = StageRecord(
            key=key, digest=digest_of(sums), artefacts=tuple(str(path.relative_to(self.store.folder)) for path in paths),
            items=cost.items, failed=failed,
        )  # fmt: skip
        if len(self.lost) == before:  # else the next start tries the lost chunks again
            self.store.record(name, record)
        self.parts.registry.hook.stage_finished(name, self.experiment.name, asdict(cost))
        said = f"{cost.items} items, {cost.failed} failed, {cost.cached} found done, {cost.wall:.1f} s"
        self.watch.stop(name, said)
        return self._made(name, record)


def data_of(parts: Parts) -> str:
    """The fingerprint of the data set's files; "" where it reads none."""
    dataset = parts.build("dataset")
    try:
        return fingerprint(dataset.files()) if isinstance(dataset, SupportsFiles) else ""
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=error.filename, way_out="see `wetool doctor`") from error


def is_block(path: Path) -> bool:
    """Whether a file holds a block of values with facts (policies and tables do not)."""
    return path.suffix == ".safetensors" and path.parent.name != "policies"


@dataclass
class Work:
    """What a stage may use while it works."""

    session: Session
    name: str
    base: Any
    cost: Cost
    samples: list[Sample] = field(default_factory=list)  # of latency, as the jobs answer them

    def begin(self, items: int) -> None:
        """Say how many items there are."""
        self.cost.items += items
        self.session.watch.start(self.name, items)
        self.session.parts.registry.hook.stage_started(self.name, self.session.experiment.name, items)

    def path(self, folder: str, suffix: str = "safetensors") -> Path:
        """The file of a stage that makes one thing, named by its key."""
        return self.session.store.path(folder, f"{self.name}-{key_of(self.base)[:16]}.{suffix}")

    def chunks(self, folder: str, payloads: Sequence[Payload], job: Callable[[], Callable[[Chunk], Any]]) -> list[Path]:
        """The files of all chunks, in order, made by ``job()(chunk)`` where they are not there yet."""
        self.begin(sum(len(payload.ids) for payload in payloads))
        store, todo, paths = self.session.store, [], []
        for number, payload in enumerate(payloads):
            name = f"{self.name}-{number:04d}-{key_of(self.base, payload.key)[:16]}.safetensors"
            chunk = Chunk(number, store.path(folder, name), payload.content, payload.ids)
            paths.append(chunk.path)
            if store.digest(chunk.path) is None:
                todo.append(chunk)
        self.cost.cached += sum(len(payload.ids) for payload in payloads) - sum(len(chunk.ids) for chunk in todo)
        lost = [(chunk, outcome) for chunk, outcome in self._map(job, todo) if not outcome.ok]
        saved = self._one_by_one(job, payloads, lost)
        return [found for path in paths for found in saved.get(path, [path])]

    def _one_by_one(
        self, job: Callable[[], Callable[[Chunk], Any]], payloads: Sequence[Payload], lost: Sequence[tuple[Chunk, Outcome]]
    ) -> dict[Path, list[Path]]:
        """Try the items of lost chunks alone, so that one that hangs or kills its worker costs only itself. Lost path -> files."""
        singles = {chunk.path: self._singles(chunk, payloads[chunk.index]) for chunk, _ in lost if len(chunk.ids) > 1}
        due = [single for group in singles.values() for single in group if self.session.store.digest(single.path) is None]
        gone = [pair for pair in lost if len(pair[0].ids) == 1] + [pair for pair in self._map(job, due) if not pair[1].ok]
        for chunk, outcome in gone:
            self._lose(chunk, payloads[chunk.index], outcome)
        absent = {chunk.path for chunk, _ in gone}
        return {path: [single.path for single in group if single.path not in absent] for path, group in singles.items()} | {
            chunk.path: [] for chunk, _ in lost if len(chunk.ids) == 1
        }

    def _singles(self, chunk: Chunk, payload: Payload) -> list[Chunk]:
        """A chunk for each item of a chunk."""
        found = []
        for row, id in enumerate(chunk.ids):
            name = f"{self.name}-{chunk.index:04d}-{row:03d}-{key_of(self.base, payload.key, row)[:16]}.safetensors"
            content = chunk.payload.item(row) if hasattr(chunk.payload, "item") else chunk.payload[row : row + 1]
            found.append(Chunk(chunk.index, chunk.path.with_name(name), content, (id,)))
        return found

    def _map(self, job: Callable[[], Callable[[Chunk], Any]], todo: Sequence[Chunk]) -> Iterator[tuple[Chunk, Outcome]]:
        done = self.cost.cached
        self.session.watch.step(done, self.cost.items)
        if not todo:
            return
        executor = self.session.parts.build("executor")
        for chunk, outcome in zip(todo, executor.map(job(), todo), strict=True):
            done += len(chunk.ids)
            self.cost.peak_rss = max(self.cost.peak_rss, outcome.peak_rss)
            self.samples += outcome.value or ()
            self.session.watch.step(min(done, self.cost.items), self.cost.items)
            if outcome.error.startswith(StoreError.__name__):  # a full disk fails everything that follows as well
                raise StoreError(outcome.error, stage=self.name, way_out="start again once it is mended: what is finished is kept")
            yield chunk, outcome

    def _lose(self, chunk: Chunk, payload: Payload, outcome: Outcome) -> None:
        step = self.session.parts.step("executor")
        logs = dict(zip(payload.ids, payload.logs, strict=True)) if payload.logs else {}
        for id in chunk.ids:
            log, reason = logs.get(id, ""), f"its worker was lost: {outcome.error}"
            self.session.lost.append(Failed(self.name, id, log, step.component, step.distribution, reason, outcome.detail))

    def progress(self, done: int, of: int, message: str) -> None:
        """The ``Progress`` callback for algorithms."""
        self.session.watch.step(done, of, message)


def file_made(stage: str, paths: Sequence[Path]) -> Made:
    """Artefacts from elsewhere in the place of a stage's own."""
    for path in paths:
        if not path.is_file():
            raise StoreError("no such artefact", file=path, way_out="give files that a stage wrote")
    return Made(stage, digest_of([file_digest(path) for path in paths]), tuple(paths), len(paths))


def named(error: Exception, step: Step) -> WetoolkitError:
    """An error of a part as one of ours that names the part."""
    if isinstance(error, WetoolkitError):
        error.context = {**error.context, "component": step.component, "distribution": step.distribution}
        return error
    return PluginError(
        f"{type(error).__name__}: {error}", component=step.component, distribution=step.distribution,
        way_out="--debug shows where; report it to that distribution",
    )  # fmt: skip


def pieces(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Consecutive pieces of ``size`` items, the last may be smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]
