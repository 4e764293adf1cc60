"""The simulator as a Gymnasium environment, for one scene at a time or a batch, so that outside RL libraries train on it.

An episode is one scene, a step one decision, and the observation what a policy of the toolkit would see. ``make_env`` and
``make_vec_env`` build everything from an experiment file; ``SceneEnv`` and ``SceneVectorEnv`` take the parts themselves. Needs the
package gymnasium, which nothing else of the core imports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from pydantic import Field

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError, ValidationError
from wetoolkit.experiment import Experiment, Parts, load_experiment
from wetoolkit.jobs import rebuild
from wetoolkit.kinds import Drive, SupportsControls, SupportsEvents, SupportsLogProb, SupportsSteps
from wetoolkit.listing import TRAINING, USES
from wetoolkit.policies import load_policy
from wetoolkit.registry import Registry, load_registry
from wetoolkit.store import Store
from wetoolkit.types import Array, Float, Observation, ObservationSpec, Ref, Scene, Situation, Step, require
from wetoolkit.work import Session, derive, file_made

Row = dict[str, Array]
SEEN, PLANNED = 1e6, 1e3  # bounds of observations and plans: Gymnasium wants finite ones; beyond anything that makes sense


class EnvConfig(Config):
    """What an action is, and what it is worth."""

    action: Literal["choice", "plan", "controls"] = Field(
        default="choice",
        description="a step's action: the number of a proposal, a whole plan [T, D], or the domain's controls scaled to [-1, 1]",
    )
    reward: Literal["plan", "drive"] = Field(
        default="plan",
        description="the reward of each step's plan among the others as they go on, or of the whole drive at its end",
    )
    horizon: float | None = Field(
        default=None, ge=0, description="length of an episode; none: the simulator's own, 0: to the log's end [s]"
    )
    stop: bool = Field(default=True, description="end the episode at the first event that loses success")


class Scenes(Protocol):
    """Scenes by number; loaded when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene[Any]: ...


@dataclass(frozen=True)
class Stage:
    """What an environment is made of."""

    domain: Any
    simulator: Any
    reward: Any
    scenes: Scenes
    spec: ObservationSpec
    proposals: Float | None = None  # [K, T, D], for the action "choice"
    config: EnvConfig = EnvConfig()  # noqa: RUF009 - frozen

    def validate(self) -> None:
        """``ConfigError`` where a part cannot do what the config asks."""
        if not isinstance(self.simulator, SupportsSteps):
            what, way_out = f"{type(self.simulator).__name__} cannot be led from outside", "implement wetoolkit.kinds.SupportsSteps"
            raise ConfigError(what, way_out=way_out)
        if self.config.action == "choice" and self.proposals is None:
            raise ConfigError(
                "the action 'choice' needs proposals", way_out="pass proposals [K, T, D], a policy that has them, or another action"
            )
        if self.config.action == "controls" and not isinstance(self.domain, SupportsControls):
            raise ConfigError(f"the domain {self.domain.name!r} has no controls", way_out="use the action 'choice' or 'plan'")
        require(len(self.scenes) > 0, "there are no scenes", "scenes", "choose another split")

    @property
    def action_space(self) -> spaces.Space[Any]:
        """Of one environment."""
        if self.config.action == "choice":
            assert self.proposals is not None
            return spaces.Discrete(len(self.proposals))
        if self.config.action == "controls":
            return spaces.Box(-1.0, 1.0, (len(self.domain.controls()[0]),), np.float32)
        return spaces.Box(-PLANNED, PLANNED, self.domain.plan.shape, np.float32)

    def observation_space(self) -> spaces.Dict:
        """Of one environment, learned from its first scene."""
        seen = self.observe(self.simulator.begin([self.scenes[0]], [0], self.config.horizon).situations())[0]
        return spaces.Dict({name: _space(name, array) for name, array in seen.items()})

    def observe(self, situations: Sequence[Situation[Any]]) -> list[Row]:
        """What a policy would see of each; pictures as ``image_CAMERA`` [H, W, 3]."""
        seen: Observation[Any] = self.domain.observe(situations, self.spec)
        shots: dict[str, Any] = {
            f"image_{name}": [picture.decode() for picture in handles] for name, handles in seen.images.items()
        }
        arrays = {name.replace(".", "_"): array for name, array in seen.arrays.items()}
        return [{name: _plain(array[b]) for name, array in {**arrays, **shots}.items()} for b in range(len(situations))]

    def plans(self, situations: Sequence[Situation[Any]], actions: Sequence[Any]) -> Float:
        """Plans [B, T, D] of actions; ``ValidationError`` for one outside the space."""
        space = self.action_space
        for action in actions:
            if not (space.contains(np.asarray(action, space.dtype)) if isinstance(space, spaces.Box) else space.contains(action)):
                raise ValidationError(
                    f"action {action!r} is not in {space}", field="action", way_out="give finite values within it"
                )
        if self.config.action == "choice":
            assert self.proposals is not None
            return self.proposals[np.asarray(actions, np.int64)]
        values: Float = np.asarray(actions, np.float32)
        if self.config.action == "plan":
            return values
        _, low, high = self.domain.controls()
        steered: Float = self.domain.steered(situations, low + (values + 1) / 2 * (high - low))
        return steered


def _space(name: str, array: Array) -> spaces.Box:
    if array.dtype == np.uint8:
        return spaces.Box(0, 255 if name.startswith("image_") else 1, array.shape, np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        return spaces.Box(-SEEN, SEEN, array.shape, np.float32)
    limits = np.iinfo(array.dtype)
    return spaces.Box(limits.min, limits.max, array.shape, array.dtype.type)


def _plain(array: Array) -> Array:
    """Flags as bytes, other numbers as they are: RL libraries know no booleans (and no dots in names)."""
    return array.astype(np.uint8) if array.dtype == np.bool_ else array


@dataclass
class _Episode:
    """One scene on its way."""

    scene: Scene[Any]
    drive: Drive[Any]

    @property
    def situation(self) -> Situation[Any]:
        return self.drive.situations()[0]


@dataclass(frozen=True)
class _Turn:
    """What a step came to, one entry an episode."""

    rewards: list[float]
    terminated: list[bool]
    truncated: list[bool]
    infos: list[dict[str, Any]]


def _begin(stage: Stage, rng: np.random.Generator, options: Mapping[str, Any] | None = None) -> _Episode:
    """The scene that ``options["scene"]`` numbers, else one that is drawn."""
    index = int((options or {}).get("scene", rng.integers(len(stage.scenes))))
    scene = stage.scenes[index]
    return _Episode(scene, stage.simulator.begin([scene], [int(rng.integers(2**31))], stage.config.horizon))


def _about(episode: _Episode) -> dict[str, Any]:
    return {"scene": episode.scene.id, "log": episode.scene.log, "step": episode.situation.step}


def _advance(stage: Stage, episodes: Sequence[_Episode], actions: Sequence[Any]) -> _Turn:
    """Let each episode's action be done; scoring and events go over all of them together."""
    situations = [episode.situation for episode in episodes]
    plans = stage.plans(situations, actions)
    dense = stage.config.reward == "plan"
    rewards = stage.reward.score(situations, plans[:, None]).total[:, 0].tolist() if dense else [0.0] * len(episodes)
    for episode, plan in zip(episodes, plans, strict=True):
        episode.drive.step(plan[None])
    rollouts = [episode.drive.rollouts("gymnasium")[0] for episode in episodes]
    told = stage.reward.events(rollouts) if stage.config.stop and isinstance(stage.reward, SupportsEvents) else [()] * len(episodes)
    turn = _Turn(rewards, [any(event.fails for event in events) for events in told], [], [_about(episode) for episode in episodes])
    for row, episode in enumerate(episodes):
        turn.truncated.append(episode.drive.over[0] and not turn.terminated[row])
        turn.infos[row]["events"] = tuple(event.kind for event in told[row])
    ended = [row for row in range(len(episodes)) if turn.terminated[row] or turn.truncated[row]]
    if ended:
        scores = stage.reward.judge([rollouts[row] for row in ended])
        for place, row in enumerate(ended):
            terms = {name: float(term.values[place]) for name, term in scores.terms.items() if term.available}
            turn.infos[row]["outcome"] = {"total": float(scores.total[place]), "success": bool(scores.success[place]), **terms}
            turn.infos[row]["metric"] = str(scores.metric)
            if not dense:
                turn.rewards[row] = float(scores.total[place])
    return turn


class SceneEnv(gymnasium.Env[Row, Any]):
    """One scene an episode. ``reset(options={"scene": 3})`` chooses it; else it is drawn, by the seed of the first ``reset``."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - gymnasium's

    def __init__(self, stage: Stage) -> None:
        stage.validate()
        self.stage = stage
        self.action_space = stage.action_space
        self.observation_space = stage.observation_space()  # type: ignore[assignment]
        self._episode: _Episode | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Row, dict[str, Any]]:
        """The first observation of a scene; info holds its id and log."""
        super().reset(seed=seed)
        self._episode = _begin(self.stage, self.np_random, options)
        return self.stage.observe([self._episode.situation])[0], _about(self._episode)

    def step(self, action: Any) -> tuple[Row, float, bool, bool, dict[str, Any]]:
        """One decision. Terminated: success is lost; truncated: horizon or log's end; in both ``info["outcome"]``, the score."""
        if self._episode is None:
            raise ValidationError(
                "there is no episode", field="step", way_out="call reset() first, and after the end of an episode"
            )
        episode = self._episode
        turn = _advance(self.stage, [episode], [action])
        if turn.terminated[0] or turn.truncated[0]:
            self._episode = None
        return self.stage.observe([episode.situation])[0], turn.rewards[0], turn.terminated[0], turn.truncated[0], turn.infos[0]


class SceneVectorEnv(VectorEnv[Row, Any, Array]):
    """Many scenes at once, observed and scored in one batch; an ended one starts anew at its next step (Gymnasium's NEXT_STEP)."""

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's

    def __init__(self, stage: Stage, count: int) -> None:
        stage.validate()
        require(count > 0, f"{count} environments", "count", "give 1 or more")
        self.stage, self.num_envs = stage, count
        self.single_action_space = stage.action_space
        self.single_observation_space = stage.observation_space()
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, count)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, count)
        self._rngs = [np.random.default_rng() for _ in range(count)]
        self._episodes: list[_Episode] = []
        self._ended = np.zeros(count, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Row, dict[str, Any]]:
        """The first observations; environment i is seeded with ``seed + i``, as Gymnasium's own vector environments do."""
        seeds = (
            [None if seed is None else seed + i for i in range(self.num_envs)] if seed is None or isinstance(seed, int) else seed
        )
        for i, own in enumerate(seeds):
            if own is not None:
                self._rngs[i] = gymnasium.utils.seeding.np_random(own)[0]
        self._episodes = [_begin(self.stage, rng, options) for rng in self._rngs]
        self._ended[:] = False
        infos: dict[str, Any] = {}
        for i, episode in enumerate(self._episodes):
            infos = self._add_info(infos, _about(episode), i)
        return self._observations(), infos

    def step(self, actions: Any) -> tuple[Row, Array, Array, Array, dict[str, Any]]:
        """One decision of each; where an episode ended at the step before, its action is not looked at and a new one begins."""
        if not self._episodes:
            raise ValidationError("there is no episode", field="step", way_out="call reset() first")
        going = np.flatnonzero(~self._ended).tolist()
        turn = (
            _advance(self.stage, [self._episodes[i] for i in going], [actions[i] for i in going])
            if going
            else _Turn([], [], [], [])
        )
        rewards = np.zeros(self.num_envs)
        infos: dict[str, Any] = {}
        terminated, truncated = np.zeros(self.num_envs, np.bool_), np.zeros(self.num_envs, np.bool_)
        rewards[going], terminated[going], truncated[going] = turn.rewards, turn.terminated, turn.truncated
        told = dict(zip(going, turn.infos, strict=True))
        for i in range(self.num_envs):
            if self._ended[i]:
                self._episodes[i] = _begin(self.stage, self._rngs[i])
            infos = self._add_info(infos, told.get(i) or _about(self._episodes[i]), i)
        self._ended = terminated | truncated
        return self._observations(), rewards, terminated, truncated, infos

    def _observations(self) -> Row:
        rows = self.stage.observe([episode.situation for episode in self._episodes])
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@dataclass(frozen=True)
class SplitScenes:
    """The scenes of a data set's split, rebuilt when they are asked for."""

    dataset: Any
    reconstructor: Any
    step: Step  # the reconstructor's link in their Lineage
    refs: Sequence[Ref]
    seed: int

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> Scene[Any]:
        ref = self.refs[index]
        return rebuild(self.reconstructor, self.step, self.dataset.load(ref), None, derive(self.seed, "gymnasium", ref.id))


def stage_of(
    experiment: Path | str | Experiment, split: str = "mine", *, policy: Path | None = None, proposals: Float | None = None,
    config: EnvConfig | None = None, registry: Registry | None = None,
) -> Stage:  # fmt: skip
    """The stage of an experiment file: its data set's split (a use such as "mine", or a name), simulator, reward and policy's view.

    ``policy``: a trained policy's file, whose proposals are the choices unless ``proposals`` [K, T, D] are given. Splits of logs
    that serve for evaluation are refused.
    """
    e = experiment if isinstance(experiment, Experiment) else load_experiment(Path(experiment))
    parts = Parts(e, registry or load_registry())
    wanted = getattr(e.splits, split) if split in TRAINING else split
    dataset = parts.build("dataset")
    refs = dataset.index(wanted)
    held = {ref.log for use in USES if use not in TRAINING for ref in dataset.index(getattr(e.splits, use))}
    shared = sorted({ref.log for ref in refs} & held)
    if shared:  # by log, not by name: another name of a split may lead to the same recordings
        what = f"the split {wanted!r} serves for evaluation: {len(shared)} logs, such as {shared[0]!r}"
        raise ConfigError(what, way_out="train on another split")
    actor = parts.build("policy")
    if policy is not None:
        actor = load_policy(Session(e, parts, Store(policy.parent.parent)), file_made("pretrain", [policy]))
        if proposals is None and isinstance(actor, SupportsLogProb):
            proposals = np.asarray(actor.proposals, np.float32)
    scenes = SplitScenes(dataset, parts.build("reconstructor"), parts.step("reconstructor"), refs, e.seed)
    return Stage(
        parts.domain, parts.build("simulator"), parts.build("reward"), scenes, actor.spec, proposals, config or EnvConfig()
    )


def make_env(experiment: Path | str, split: str = "mine", **more: Any) -> SceneEnv:
    """``SceneEnv(stage_of(...))``."""
    return SceneEnv(stage_of(experiment, split, **more))


def make_vec_env(experiment: Path | str, count: int, split: str = "mine", **more: Any) -> SceneVectorEnv:
    """``SceneVectorEnv(stage_of(...), count)``."""
    return SceneVectorEnv(stage_of(experiment, split, **more), count)


__all__ = ["EnvConfig", "SceneEnv", "SceneVectorEnv", "Scenes", "SplitScenes", "Stage", "make_env", "make_vec_env", "stage_of"]
