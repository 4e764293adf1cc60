"""The nine contracts, the domain's glue, and what a part may be able to do besides. Read top to bottom in five minutes.

A component is built as ``Target(config)``. Parts hold no hidden state: equal arguments (seed included) give equal results, inputs
are never changed, and every part can be pickled into a worker process. ``wetoolkit.testing`` holds each promise as an inheritable
test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from wetoolkit.abilities import (
    SupportsFiles as SupportsFiles,
)
from wetoolkit.abilities import (
    SupportsInspect as SupportsInspect,
)
from wetoolkit.abilities import (
    SupportsLabels as SupportsLabels,
)
from wetoolkit.abilities import (
    SupportsMake as SupportsMake,
)
from wetoolkit.abilities import (
    SupportsRecordings as SupportsRecordings,
)
from wetoolkit.abilities import (
    SupportsReport as SupportsReport,
)
from wetoolkit.abilities import (
    SupportsSensors as SupportsSensors,
)
from wetoolkit.events import Event
from wetoolkit.types import (
    Array,
    Bool,
    Check,
    Clock,
    Experience,
    Failure,
    Float,
    Metric,
    Observation,
    ObservationSpec,
    Outcome,
    Picture,
    Plan,
    PlanSpec,
    Reaction,
    Ref,
    Rollout,
    Scenario,
    Scene,
    Scores,
    Situation,
    Step,
    Trained,
    W,
)

if TYPE_CHECKING:
    from typing import Self

I = TypeVar("I")  # noqa: E741 - an executor's item
R = TypeVar("R")  # an executor's result
Progress = Callable[[int, int, str], None]  # (done, of, message): long work reports through it


class Domain(Protocol[W]):
    """The glue of a field of use: how its worlds are seen and what its plans are. One per domain, not swappable per run."""

    name: str
    plan: PlanSpec
    world: type[W]

    def observe(self, situations: Sequence[Situation[W]], spec: ObservationSpec) -> Observation[W]:
        """What a policy with ``spec`` sees at each situation's step; independent of anything after that step."""

    def demonstrate(self, situations: Sequence[Situation[W]]) -> tuple[Float, Bool]:
        """What the acting body did next in each world: plans [B, T, D] and whether T steps of it are known [B]."""


class Dataset(Protocol[W]):
    """Yields Scenarios of a split, lazily, in a stable order."""

    def splits(self) -> Sequence[str]:
        """Names of the splits; no log appears in two of those that end in different stems (train, val, test)."""

    def index(self, split: str) -> Sequence[Ref]:
        """Every scenario of the split without loading it; ids are unique."""

    def load(self, ref: Ref) -> Scenario[W]:
        """One scenario, validated; ``DataError`` names file and field where it cannot be read."""


class Policy(Protocol[W]):
    """Observation batch -> plan. Never sees the future."""

    spec: ObservationSpec

    def act(self, observation: Observation[W], seed: int) -> Plan:
        """A plan for each of the B items; a batch equals its singles (1e-5 in torch, exactly elsewhere)."""


class Miner(Protocol[W]):
    """Finds the present steps at which the policy (or the log) fails."""

    def mine(self, scenarios: Sequence[Scenario[W]], policy: Policy[W], reward: Reward[W], seed: int) -> Sequence[Failure]:
        """Failures in scenario order; each scenario is judged by itself unless ``settle`` says otherwise."""


class Reconstructor(Protocol[W]):
    """Turns a Scenario into a Scene that one can act in."""

    def reconstruct(self, scenario: Scenario[W], failure: Failure | None, seed: int) -> Scene[W]:
        """The scene, its clock at the failure's step (the scenario's own ``now`` where there is no failure)."""


class Behaviour(Protocol[W]):
    """Varies what the others do."""

    def vary(self, scene: Scene[W], count: int, seed: int) -> Sequence[Scene[W]]:
        """Up to ``count`` varied scenes with ids of their own; every agent is kept, unless the settings ask for others."""


class Simulator(Protocol[W]):
    """Lets a policy act in scenes, in closed loop."""

    def rollout(
        self, scenes: Sequence[Scene[W]], policy: Policy[W], seeds: Sequence[int], horizon: float | None = None
    ) -> Sequence[Rollout[W]]:
        """One rollout a scene, in order, batched inside; ``horizon`` in seconds (None: the config's)."""


class Reward(Protocol[W]):
    """Judges what might be done (proposals) and what was done (rollouts) by one metric."""

    metric: Metric

    def score(self, situations: Sequence[Situation[W]], proposals: Float) -> Scores:
        """Scores [B, N] of proposals [N, T, D] (shared) or [B, N, T, D]."""

    def judge(self, rollouts: Sequence[Rollout[W]]) -> Scores:
        """Scores [B] of what was done from the first decision to the end of the horizon."""


class Algorithm(Protocol[W]):
    """Policy + reference + Experience -> trained policy + metrics."""

    def train(
        self,
        policy: Policy[W],
        reference: Policy[W] | None,
        experience: Experience,
        seed: int,
        progress: Progress | None = None,
    ) -> Trained:
        """A new policy; neither ``policy`` nor ``reference`` is changed."""


class Executor(Protocol):
    """Maps a function over items: order kept, retries, time-outs; a lost worker is one Outcome with a reason."""

    def map(self, function: Callable[[I], R], items: Sequence[I]) -> Iterator[Outcome]:
        """One Outcome an item, in order, as soon as it and those before it are done."""


# What a part may be able to do besides. Ask with isinstance(part, SupportsX). Those of datasets stand in wetoolkit.abilities.


@runtime_checkable
class SupportsLogProb(Protocol):
    """A policy over K fixed proposals."""

    @property
    def proposals(self) -> Float:
        """[K, T, D] in the acting body's frame."""

    def log_prob(self, observation: Observation[Any]) -> Float:
        """[B, K], each row a normalised log-distribution."""


@runtime_checkable
class SupportsSeeds(Protocol):
    """A policy that acts for many items with a seed each, so that a simulator need not split its batch by seeds."""

    def act_each(self, observation: Observation[Any], seeds: Sequence[int]) -> Plan:
        """A plan for each of the B items: what ``act`` answers for the item alone with its seed (1e-5 in torch, else exactly)."""


@runtime_checkable
class SupportsState(Protocol):
    """A part with learned numbers, saved as safetensors by the store."""

    def state(self) -> Mapping[str, Array]:
        """Every learned array by name."""

    def with_state(self, state: Mapping[str, Array]) -> Self:
        """A copy that holds these; a wrong name or shape is a clear error."""


@runtime_checkable
class SupportsPrepare(Protocol):
    """A policy that must see the demonstrations once before it is trained (a vocabulary, normalisation)."""

    def prepare(self, experience: Experience, seed: int) -> Self:
        """A copy that is ready to be trained."""


@runtime_checkable
class SupportsSettle(Protocol):
    """A miner whose choice needs all chunks together (a percentile over the split)."""

    def settle(self, failures: Sequence[Failure]) -> Sequence[Failure]:
        """The final choice among what ``mine`` returned for every chunk."""


@runtime_checkable
class SupportsConformance(Protocol):
    """A part that can show that it computes what its name says, and hold somebody else's module to the same cases."""

    def conform(self, cases: Path | None, against: ModuleType | None) -> Iterator[Check]:
        """Checks on a folder of cases (None: cases made for it), of the part itself or of ``against`` in its place.

        ``DataError`` names a file that is no case, ``PluginError`` a module that does not offer what its page asks.
        """


@runtime_checkable
class SupportsFit(Protocol):
    """A part that learns from scenarios by itself, before the loop, into a file that its settings then name."""

    def fit(
        self, scenarios: Iterable[Scenario[Any]], file: Path, seed: int, progress: Progress | None = None
    ) -> Mapping[str, float | str]:
        """Write the trained model to ``file`` and tell facts about it. What was cut short goes on where it was."""


@runtime_checkable
class SupportsReaction(Protocol):
    """A behaviour that steps the others in closed loop."""

    def react(self, worlds: Sequence[Any], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        """For each world what its others do after ``clock.now``, one seed each; a batch equals its singles.

        It may look at the world up to ``clock.now`` only. Rows are the world's others in its own order; those that something else
        moves are ignored. It may look further ahead than the caller needs: what is not used is asked again.
        """


@runtime_checkable
class SupportsReactors(Protocol):
    """A simulator that lets behaviours with SupportsReaction move the others."""

    def with_reactors(self, reactors: Mapping[Step, SupportsReaction]) -> Self:
        """A copy that knows these, by the link (without a seed) that their scenes' Lineage ends with."""


@runtime_checkable
class SupportsRender(Protocol):
    """A reconstructor that can make images of its scenes."""

    def cameras(self, scene: Scene[Any]) -> Mapping[str, tuple[int, int]]:
        """The cameras of a scene, left first, with the (width, height) that they recorded."""

    def render(self, scene: Scene[Any], world: Any, step: int, camera: str, resolution: tuple[int, int]) -> Mapping[str, Array]:
        """``rgb`` [H, W, 3] uint8 of the world at a step, which may look at the world up to that step only. Where known also
        ``depth`` [H, W] metres (0: the sky), ``trust`` [H, W] of each pixel and ``frame_trust`` [], both in [0, 1]: the calibrated
        probability that the frame can be believed.
        """


@runtime_checkable
class SupportsRenderers(Protocol):
    """A simulator that shows policies with cameras what a reconstructor with SupportsRender makes of the scene."""

    def with_renderers(self, renderers: Mapping[Step, SupportsRender]) -> Self:
        """A copy that knows these, by the link (without a seed) that stands in their scenes' Lineage (``wetoolkit.sight``)."""


@runtime_checkable
class SupportsPictures(Protocol):
    """A domain that finds what a camera recorded among what a dataset's SupportsSensors gave."""

    def picture(self, sensors: Any, camera: str, seconds: float, oldest: float) -> Picture | None:
        """The camera's last picture up to ``seconds`` after the scenario's first step and at most ``oldest`` seconds old then; None
        where there is none. ``DataError`` names a file that cannot be read.
        """


@runtime_checkable
class SupportsEvents(Protocol):
    """A reward that says what happened in a rollout, and when: survival curves and tables are made from it."""

    def events(self, rollouts: Sequence[Rollout[Any]]) -> Sequence[Sequence[Event]]:
        """For each rollout what happened from its first decision to its ``end``, in order of time.

        No event of a success ``fails``. A failure without one that does counts as found out at the end.
        """

    def steps(self, rollouts: Sequence[Rollout[Any]]) -> Sequence[Mapping[str, Float]]:
        """For each rollout numbers by name (with its unit), one a step from the first decision to before ``end``: [end - now]."""


@runtime_checkable
class SupportsConditions(Protocol):
    """A simulator that says which of its settings move outcomes; they join the metric's stamp of what it drove."""

    def conditions(self, horizon: float | None = None) -> Mapping[str, str]:
        """Setting -> value for rollouts of ``horizon`` seconds (None: the config's). Scores compare only where they are equal."""


class Drive(Protocol[W]):
    """Some scenes on their way, one decision after the other: what a simulator with ``SupportsSteps`` gives."""

    @property
    def over(self) -> Sequence[bool]:
        """For each scene whether its horizon is reached."""

    def situations(self) -> Sequence[Situation[W]]:
        """Each scene at the step that it has reached."""

    def step(self, plans: Float) -> None:
        """Let plans [B, T, D] be carried out until the next decision; rows of scenes that are over are not looked at."""

    def rollouts(self, name: str) -> Sequence[Rollout[W]]:
        """What was done so far by the policy of this name. At the end, what ``rollout`` gives for the same plans."""


@runtime_checkable
class SupportsSteps(Protocol):
    """A simulator that can be led from outside, decision by decision: by an RL library, a notebook, a person."""

    def begin(self, scenes: Sequence[Scene[Any]], seeds: Sequence[int], horizon: float | None = None) -> Drive[Any]:
        """The scenes before their first decision."""


@runtime_checkable
class SupportsControls(Protocol):
    """A domain whose plans can be steered by a few numbers."""

    def controls(self) -> tuple[tuple[str, ...], Float, Float]:
        """Names with units, lowest [C] and highest [C] values."""

    def steered(self, situations: Sequence[Situation[Any]], controls: Float) -> Float:
        """Plans [B, T, D] of bodies that hold controls [B, C] from now on."""


@runtime_checkable
class SupportsBranch(Protocol):
    """A simulator that takes up a rollout at any of its steps, with the state it had there."""

    def branch(
        self,
        scenes: Sequence[Scene[Any]],
        records: Sequence[Rollout[Any]],
        steps: Sequence[int],
        policy: Policy[Any],
        seeds: Sequence[int],
        horizon: float | None = None,
    ) -> Sequence[Rollout[Any]]:
        """Each record again, bit for bit, until its step; from there on ``policy`` decides. ``horizon`` counts from ``now``."""


@runtime_checkable
class SupportsFilm(Protocol):
    """A domain that can draw a rollout."""

    def frames(self, rollout: Rollout[Any], logged: Any, events: Sequence[Event]) -> Iterator[Array]:
        """Pictures [H, W, 3] uint8 (H and W even), one a step from the first decision to ``end``; ``logged``: the scene's own world
        to be shown as ghosts, or None."""


@runtime_checkable
class SupportsView(Protocol):
    """A domain that can draw a scenario as it was recorded."""

    def view(self, scenario: Scenario[Any], step: int, sensors: Any) -> Array:
        """A picture [H, W, 3] uint8 (H and W even, the same at every step); ``sensors``: what SupportsSensors gave, or None."""
