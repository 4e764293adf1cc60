"""The values that cross the seams between plugins: frozen, domain-free, and able to ``validate()`` themselves.

Conventions: SI units, radians, right-handed, z up. Batches come first, then agents, time and channels. Masks named ``valid`` stand
in place of NaN. ``W`` is the world type of a domain; the core never looks inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol

import numpy as np

from wetoolkit.base import UNSTORED, Array, Bool, Clock, Float, Int, Lineage, Ref, Step, W, World, require, require_finite
from wetoolkit.pictures import Glimpse, Picture, Sight
from wetoolkit.scores import Metric, Role, Scores, Term


@dataclass(frozen=True)
class Scenario(Generic[W]):
    """A stretch of a log with one present step: what was, and (for scoring and training only) what came after."""

    id: str
    domain: str
    split: str
    log: str  # recording it was cut from; intervals are clustered by it
    clock: Clock
    origin: tuple[float, float, float]  # metres, float64: added to the world's coordinates gives the log's own
    lineage: Lineage
    world: W
    # What shows recorded pictures; whoever loads the scenario sets it.
    sight: Sight | None = field(default=None, compare=False, repr=False, metadata=UNSTORED)

    def validate(self) -> None:
        require(bool(self.id), "the id is empty", "scenario.id", "give every scenario an id that is unique in its dataset")
        self.clock.validate()
        require_finite(np.asarray(self.origin, np.float64), "scenario.origin")
        self.world.validate()

    def situation(self, step: int | None = None) -> Situation[W]:
        """The scenario at its present step, or at another."""
        return Situation(self.id, self.log, self.world, self.clock.now if step is None else step, sight=self.sight)


@dataclass(frozen=True)
class Failure:
    """A present step at which a policy (or the log itself) fails or nearly does, as found by a miner."""

    scenario: Ref
    kind: str  # "collision", "off_road", ...
    step: int  # index in the scenario's clock
    severity: float  # in [0, 1]
    evidence: Mapping[str, float | str] = field(default_factory=dict)

    def validate(self) -> None:
        require(0.0 <= self.severity <= 1.0, f"severity is {self.severity}", "failure.severity", "scale it into [0, 1]")
        require(self.step >= 0, f"step is {self.step}", "failure.step", "give an index into the scenario's clock")
        require(bool(self.kind), "the kind is empty", "failure.kind", "name the way it fails")


@dataclass(frozen=True)
class Scene(Generic[W]):
    """A world one can act in from ``clock.now`` on. Heavy assets are named by their hash in ``assets``."""

    id: str
    domain: str
    log: str
    scenario: Ref
    clock: Clock
    origin: tuple[float, float, float]  # metres, float64
    lineage: Lineage
    world: W
    variant: str = "logged"  # what was varied
    failure: str = ""  # the Failure kind it was rebuilt for, "" where there was none
    assets: Mapping[str, str] = field(default_factory=dict)

    def validate(self) -> None:
        require(bool(self.id), "the id is empty", "scene.id", "give every scene an id that is unique in its run")
        self.clock.validate()
        self.world.validate()


@dataclass(frozen=True)
class PlanSpec:
    """What a plan of a domain is: ``steps`` future states of ``channels``; time 0 of a plan is one ``dt`` after now."""

    steps: int  # T
    dt: float  # seconds
    channels: tuple[str, ...]  # D names with their units, such as "x [m]"

    @property
    def shape(self) -> tuple[int, int]:
        """(T, D)."""
        return self.steps, len(self.channels)


@dataclass(frozen=True)
class ObservationSpec:
    """What a policy wants to see: nothing else is made for it."""

    history: int = 1  # steps up to and including now
    fields: tuple[str, ...] = ()  # names of arrays the domain knows how to make
    limits: Mapping[str, int] = field(default_factory=dict)  # at most so many rows of a field, the nearest first
    cameras: tuple[str, ...] = ()
    resolution: tuple[int, int] = (0, 0)  # width, height in pixels
    picture_age: float = 0.1  # seconds: an older recorded picture does not show the present
    world: bool = False  # also hand over the world, cut at now (planners that read maps directly)


@dataclass(frozen=True)
class Observation(Generic[W]):
    """What B policies see now: padded arrays with masks (``name`` and ``name.valid``), never the future."""

    domain: str
    size: int  # B
    arrays: Mapping[str, Array]  # each [B, ...]
    worlds: tuple[W, ...] = ()  # [B] cut at now, only where the spec asks for it
    images: Mapping[str, Array] = field(default_factory=dict)  # camera -> [B] of Picture, not decoded
    trust: Float | None = None  # [B] in [0, 1], the least over the cameras, 1 where not known; None where nothing is seen
    trust_known: Bool | None = None  # [B]

    def validate(self) -> None:
        for name, handles in self.images.items():
            require(handles.shape == (self.size,), f"shape {handles.shape} in a batch of {self.size}", name, "one picture an item")
            require(
                all(isinstance(item, Picture) for item in handles), "not all are pictures", name, "give wetoolkit.types.Picture"
            )
        for name, values in {"trust": self.trust, "trust_known": self.trust_known}.items():
            require(values is None or values.shape == (self.size,), f"a batch of {self.size}", name, "one each, or None")
        for name, array in self.arrays.items():
            require(array.shape[:1] == (self.size,), f"shape {array.shape} in a batch of {self.size}", name, "put the batch first")
            if np.issubdtype(array.dtype, np.floating):
                require_finite(array, name)
        require(len(self.worlds) in (0, self.size), f"{len(self.worlds)} worlds", "worlds", "one for each item, or none")

    def rows(self, index: Int | slice) -> Observation[W]:
        """The observation of some items of the batch."""
        picked = np.arange(self.size)[index]
        return replace(
            self,
            size=len(picked),
            arrays={name: array[picked] for name, array in self.arrays.items()},
            worlds=tuple(self.worlds[i] for i in picked) if self.worlds else (),
            images={name: handles[picked] for name, handles in self.images.items()},
            trust=None if self.trust is None else self.trust[picked],
            trust_known=None if self.trust_known is None else self.trust_known[picked],
        )


@dataclass(frozen=True)
class Plan:
    """What B policies want to do: a trajectory each and, for policies over proposals, which one and how likely it was."""

    trajectories: Float  # [B, T, D] in the frame of the acting body now
    choice: Int | None = None  # [B] index into the policy's proposals
    log_prob: Float | None = None  # [B] of the choice

    def validate(self, spec: PlanSpec, size: int) -> None:
        expected = (size, *spec.shape)
        require(
            self.trajectories.shape == expected,
            f"shape {self.trajectories.shape} where {expected} was asked",
            "plan.trajectories",
            "return [B, T, D] as the domain's PlanSpec says",
        )
        require_finite(self.trajectories, "plan.trajectories")


@dataclass(frozen=True)
class Reaction:
    """What A others of one world do in the T steps after now, in the world's own frame; the domain says what the channels are."""

    states: Float  # [A, T, D], time 0 is one step after now; zeros where not valid
    valid: Bool  # [A, T] False: not there

    def validate(self, others: int, channels: int) -> None:
        require(
            self.states.ndim == 3 and self.states.shape[::2] == (others, channels) and self.states.shape[1] > 0,
            f"shape {self.states.shape} for {others} others of {channels} channels", "reaction.states", "[A, T, D], T above 0",
        )  # fmt: skip
        require(
            self.valid.shape == self.states.shape[:2] and self.valid.dtype == np.bool_,
            f"shape {self.valid.shape} of {self.valid.dtype}", "reaction.valid", "return [A, T] of bool",
        )  # fmt: skip
        require_finite(self.states, "reaction.states")


@dataclass(frozen=True)
class Situation(Generic[W]):
    """One world at one step: what a reward judges proposals in. The world may hold what came after the step."""

    id: str
    log: str
    world: W
    step: int
    plan: Float | None = None  # [T, D] what the acting body had just decided to do, in its own frame; None where not known
    # What shows the pictures of cameras here; None where nothing can.
    sight: Sight | None = field(default=None, compare=False, repr=False, metadata=UNSTORED)
    trust: float = 1.0  # in [0, 1]: how far what the policy saw here can be believed; 1 without pictures, or where not known


_UNSET = np.full(0, np.nan)


def _unset() -> Any:
    """Stands for a column that was not given; ``_fill`` puts another in its place."""
    return _UNSET


def _fill(value: object, name: str, column: Array) -> None:
    if getattr(value, name) is _UNSET:
        object.__setattr__(value, name, column)


def _require_shares(values: Float, name: str) -> None:
    inside = bool(((values >= 0) & (values <= 1)).all())
    require(inside, f"numbers outside [0, 1]: {values[~((values >= 0) & (values <= 1))][:3]}", name, "give probabilities")


@dataclass(frozen=True)
class Rollout(Generic[W]):
    """What happened when a policy acted in a Scene: enough to score it again with any reward.

    ``world`` has the domain's own type, with what was done in place of what was logged, and runs on past the horizon (the last plan
    is driven to its end) so that proposals at the last decisions can be judged against what the others did.
    """

    id: str
    domain: str
    log: str
    scene: str  # Scene.id
    policy: str
    seed: int
    clock: Clock  # of ``world``; now = first decision
    end: int  # step after the horizon's last: steps now..end-1 count for success
    world: W
    decisions: Int  # [K] steps at which the policy was asked
    plans: Float  # [K, T, D]
    choices: Int  # [K] index into the policy's proposals, -1 where it has none
    log_probs: Float  # [K] of the choices, 0 where there are none
    lineage: Lineage
    settings: Mapping[str, str] = field(default_factory=dict)  # dynamics, traffic, rates: stamped in results
    images: Mapping[str, Array] = field(default_factory=dict)  # camera -> [K] of Picture: what the policy was shown
    trust: Float = field(default_factory=_unset)  # [K] in [0, 1]: how far they can be believed; 1 without pictures
    trust_known: Bool = field(default_factory=_unset)  # [K] False: whoever made the pictures did not say

    def __post_init__(self) -> None:
        _fill(self, "trust", np.ones(len(self.decisions)))
        _fill(self, "trust_known", np.ones(len(self.decisions), np.bool_))

    def validate(self) -> None:
        self.clock.validate()
        self.world.validate()
        inside = self.clock.now < self.end <= self.clock.steps
        require(inside, f"end={self.end}", "rollout.end", "now < end <= clock.steps")
        count = len(self.decisions)
        for name in ("plans", "choices", "log_probs", "trust", "trust_known"):
            require(len(getattr(self, name)) == count, f"{len(getattr(self, name))} for {count} decisions", name, "one each")
        for name, shown in self.images.items():
            require(len(shown) == count, f"{len(shown)} for {count} decisions", f"images.{name}", "one each")
        require_finite(self.plans, "rollout.plans")
        _require_shares(self.trust, "rollout.trust")

    def situations(self) -> list[Situation[W]]:
        """The Situation of every decision, for a reward to judge proposals in; pictures are those that were seen."""
        rows = zip(self.decisions.tolist(), self.plans, self.trust.tolist(), strict=True)
        return [Situation(f"{self.id}@{step}", self.log, self.world, step, plan, self.shown, trust) for step, plan, trust in rows]

    def glimpsed(self, decision: int) -> Observation[W]:
        """The pictures of the ``decision``-th decision, as an observation of one item."""
        row = slice(decision, decision + 1)
        images = {name: handles[row] for name, handles in self.images.items()}
        return Observation(self.domain, 1, {}, images=images, trust=self.trust[row], trust_known=self.trust_known[row])

    def shown(self, world: Any, step: int, spec: ObservationSpec) -> Mapping[str, Glimpse]:
        """The pictures that the policy was shown at a decision: a ``Sight``."""
        rows = np.flatnonzero(self.decisions == step)
        lost = [camera for camera in spec.cameras if camera not in self.images or not len(rows)]
        where, way_out = f"rollout {self.id!r}", "roll out again, with a policy that sees it"
        require(not lost, f"no picture of {lost[:1]} at step {step}", where, way_out)
        trust = {camera: float(self.trust[rows[0]]) if self.trust_known[rows[0]] else None for camera in spec.cameras}
        return {name: Glimpse(self.images[name][rows[0]].fitted(spec.resolution), known) for name, known in trust.items()}


@dataclass(frozen=True)
class Decisions(Generic[W]):
    """A block of n decisions to learn from: what an Experience holds in shards and yields in batches."""

    observation: Observation[W]
    source: Int  # [n] 0: a log's frame, 1: a rollout's
    round: Int  # [n] the round that made it
    expert: Float  # [n, T, D] what the log's own driver did; zeros where not known
    has_expert: Bool  # [n]
    choice: Int  # [n] index of the proposal that was taken, -1 where none was
    log_prob: Float  # [n] of the choice under the policy that made it
    rewards: Float  # [n, N] total of each proposal; [n, 0] before rewards are given
    terms: Mapping[str, Float] = field(default_factory=dict)  # name -> [n, N]
    ids: tuple[str, ...] = ()  # [n] Situation ids, unique
    logs: tuple[str, ...] = ()  # [n]
    trust: Float = field(default_factory=_unset)  # [n] in [0, 1]: how far what was seen can be believed; 1 where not known

    def __post_init__(self) -> None:
        _fill(self, "trust", np.ones(self.observation.size))

    @property
    def size(self) -> int:
        """n."""
        return self.observation.size

    def validate(self) -> None:
        self.observation.validate()
        for name in ("source", "round", "expert", "has_expert", "choice", "log_prob", "rewards", "trust", "ids", "logs"):
            require(len(getattr(self, name)) == self.size, f"{len(getattr(self, name))} rows", name, f"give {self.size}")
        _require_shares(self.trust, "decisions.trust")
        require_finite(self.rewards, "decisions.rewards")
        require_finite(self.expert, "decisions.expert")


class Experience(Protocol):
    """A lazy, sharded sequence of Decisions on disk (``wetoolkit.experience.Shards``); never one array in memory."""

    def __len__(self) -> int:
        """The number of decisions."""

    def batches(self, size: int, seed: int | None) -> Iterator[Decisions[Any]]:
        """One pass in blocks of ``size``, shuffled by ``seed`` (None: stored order); the last block may be smaller."""

    @property
    def shape(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of one row of every observation array, for policies that size themselves by it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one item in an executor: a value, or the reason why there is none."""

    index: int
    value: Any = None
    error: str = ""  # one line; "" where it went well
    detail: str = ""  # traceback and the worker's output
    attempts: int = 1
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss: int = 0  # bytes, of the process that did it

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return not self.error


@dataclass(frozen=True)
class Trained:
    """What an algorithm returns: the policy and its history, a table of one row a report (names -> columns)."""

    policy: Any
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    summary: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Defect:
    """Something wrong in a user's data, where it is, and what a reader makes of it."""

    file: str  # relative to the folder that was checked
    place: str  # table and row, track, field: what one needs to find it; "" for the file as a whole
    what: str  # one plain sentence
    handling: str  # "repaired", "skipped" (counted) or "refused" (a clear error)


@dataclass(frozen=True)
class Check:
    """One line of a conformance table: what was compared, how often it differed and by how much."""

    name: str
    subject: str  # whose results were checked
    cases: int  # comparisons made
    mismatches: int  # of them, those that differ by more than may be
    error: float  # largest absolute difference, NaN where there is no measure
    milliseconds: float  # a case, NaN where nothing was timed
    passed: bool | None  # None: it could not be checked, and ``note`` says why
    note: str = ""


__all__ = [
    "Array", "Bool", "Check", "Clock", "Decisions", "Defect", "Experience", "Failure", "Float", "Glimpse", "Int",
    "Lineage", "Metric", "Observation", "ObservationSpec", "Outcome", "Picture", "Plan", "PlanSpec", "Reaction", "Ref", "Role",
    "Rollout", "Scenario", "Scene", "Scores", "Sight", "Situation", "Step", "Term", "Trained", "W", "World", "require",
    "require_finite",
]  # fmt: skip
