"""The behaviour ``diffusion``: variants of a scene in which everybody near the ego does what is likely, or what was asked."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydantic import Field
from wetoolkit_driving.geometry import compose, ego_center, relative, wrap_angle
from wetoolkit_driving.traffic.behaviours import movers
from wetoolkit_driving.traffic.reaction import Standing
from wetoolkit_driving.types import Bool, Control, Double, Float, World

from wetoolkit.config import Config
from wetoolkit.errors import ConfigError
from wetoolkit.kinds import Progress
from wetoolkit.store import sum_file
from wetoolkit.types import Clock, Reaction, Scenario, Scene, Situation
from wetoolkit_diffusion.attacks import AttackConfig, attack
from wetoolkit_diffusion.checkpoint import WAY_OUT, Model, load, save
from wetoolkit_diffusion.controls import CopyConfig, GoalConfig, Hold, begin, copy_goals, hold_goals
from wetoolkit_diffusion.generate import Request, generate, motions
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.likely import excess
from wetoolkit_diffusion.network import NetworkConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.plausible import PlausibilityConfig, Verdict, best_scores, judge
from wetoolkit_diffusion.react import ReplanConfig, react
from wetoolkit_diffusion.realism import off_road, road
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.tokens import Tokens, encode, stride
from wetoolkit_diffusion.training import TrainingConfig, fit, windows


class DiffusionConfig(Config):
    """Settings of ``diffusion``."""

    checkpoint: str = Field(default="", description="file of the trained model, as `wetool fit` writes it")
    closed_loop: bool = Field(
        default=False, description="the model moves the others anew as the ego acts; else what it made once is their record"
    )
    ego: bool = Field(default=True, description="the others are generated to go with the ego's recorded future; else with any")
    attack: AttackConfig | None = Field(
        default=None, description="somebody is given an intent that conflicts with the ego's future"
    )
    copy_goals: CopyConfig | None = Field(default=None, description="keep the goals of the log")
    goals: tuple[GoalConfig, ...] = Field(default=(), description="where some are to be, and when")
    sampler: SamplerConfig = Field(default=SamplerConfig(), description="how noise becomes motion")
    replan: ReplanConfig = Field(default=ReplanConfig(), description="how it plans again in closed loop")
    guidance: GuidanceConfig = Field(default=GuidanceConfig(), description="costs that shape what is generated")
    plausibility: PlausibilityConfig = Field(default=PlausibilityConfig(), description="which variants are kept")
    training: TrainingConfig = Field(default=TrainingConfig(), description="how `wetool fit` trains it")
    tokens: TokenSpec = Field(default=TokenSpec(), description="what a scene is to a model that is trained anew")
    network: NetworkConfig = Field(default=NetworkConfig(), description="size of a network that is trained anew")


@dataclass(frozen=True)
class Variant:
    """One future that was made of a scene."""

    index: int
    attempt: int
    hold: Hold
    state: Float  # [A, K, CHANNELS]
    motion: Double  # [A, T, 3] local poses at the world's pace
    verdict: Verdict


@lru_cache(maxsize=4)
def _loaded(path: str, changed: int) -> Model:
    return load(Path(path))


class Diffusion:
    """kinds.Behaviour, with SupportsReaction and SupportsFit."""

    def __init__(self, config: DiffusionConfig) -> None:
        self.config = config

    @property
    def model(self) -> Model:
        """The trained model; read once in each process, and again where the file changes."""
        path = Path(self.config.checkpoint).expanduser()
        if not self.config.checkpoint or not path.is_file():
            raise ConfigError(
                "there is no trained model",
                file=self.config.checkpoint or "none named",
                field="checkpoint",
                way_out=WAY_OUT,
            )
        return _loaded(str(path), path.stat().st_mtime_ns)

    def trained_on(self) -> set[str] | None:
        """The logs its model was trained on; None where the model does not tell."""
        logs = (self.model.about or {}).get("logs")
        return None if logs is None else set(logs)

    def vary(self, scene: Scene[World], count: int, seed: int) -> Sequence[Scene[World]]:
        """Up to ``count`` plausible variants; whoever is not modelled repeats the log, and it is said how many those are."""
        if count < 1:
            return []
        made, rejected = self.variants(scene, count, seed)
        tokens = encode(scene.world, scene.clock.now, self.model.spec)
        return [self._scene(scene, tokens, variant, rejected, seed) for variant in made]

    def variants(self, scene: Scene[World], count: int, seed: int) -> tuple[list[Variant], Mapping[str, int]]:
        """The plausible futures, each the first of its tries that is, and how often each reason rejected one."""
        model, now, world = self.model, scene.clock.now, scene.world
        tokens = encode(world, now, model.spec)
        kept: dict[int, Variant] = {}
        rejected: Counter[str] = Counter()
        for attempt in range(self.config.plausibility.tries):
            wanted = [index for index in range(count) if index not in kept]
            for variant in self._attempt(model, scene, tokens, wanted, attempt, seed):
                if variant.verdict.reasons:
                    rejected.update(variant.verdict.reasons)
                else:
                    kept[variant.index] = variant
        return [kept[index] for index in sorted(kept)], dict(rejected)

    def _attempt(
        self, model: Model, scene: Scene[World], tokens: Tokens, indices: Sequence[int], attempt: int, seed: int
    ) -> list[Variant]:
        """One future for each index, judged."""
        c, now, world = self.config, scene.clock.now, scene.world
        drawn = [(index, _stream(scene, seed, index, attempt)) for index in indices]
        holds = [(index, rng, self._hold(tokens, world, model.spec, rng)) for index, rng in drawn]
        requests = [
            Request(tokens, hold.given, hold.held, (int(rng.integers(2**31)),)) for _, rng, hold in holds if hold is not None
        ]
        states = generate(model, requests, c.sampler, c.guidance, shy=c.attack is None)
        every = stride(world.dt, model.spec)
        found = []
        for state, (index, _, hold) in zip(states, [one for one in holds if one[2] is not None], strict=True):
            assert hold is not None
            motion = motions(tokens, state, hold.given, model.spec.now, every)[0][0]
            _keep_record(motion, tokens, hold, world, now)
            found.append(Variant(index, attempt, hold, state[0], motion, Verdict(())))
        return self._judged(scene, tokens, found)

    def _hold(self, tokens: Tokens, world: World, spec: TokenSpec, rng: np.random.Generator) -> Hold | None:
        """What is given of one variant; None where an attack was asked for that nobody can make."""
        c = self.config
        hold: Hold | None = hold_goals(begin(tokens, world, spec, c.ego), tokens, world, spec, c.goals)
        if c.attack is not None and hold is not None:
            hold = attack(hold, tokens, world, spec, c.attack, rng)
        return hold if hold is None or c.copy_goals is None else copy_goals(hold, tokens, spec, c.copy_goals, rng)

    def _judged(self, scene: Scene[World], tokens: Tokens, found: list[Variant]) -> list[Variant]:
        if not found:
            return []
        c, now = self.config.plausibility, scene.clock.now
        made = made_rows(tokens, found[0].hold, self.model.spec)
        leaves = _leaves_in_record(tokens, scene.world, now, found[0].motion.shape[1])
        motion = np.stack([variant.motion for variant in found])
        reasons = judge(tokens, scene.world, motion, made, c, leaves)
        scores, costs = [float("nan")] * len(found), np.full(len(found), np.nan)
        if c.unlikely:
            costs = excess(self.model, tokens, np.stack([variant.state for variant in found]), made)
            reasons = [(*why, "unlikely") if cost > c.unlikely else why for why, cost in zip(reasons, costs, strict=True)]
        if c.solvable:
            left = [i for i, why in enumerate(reasons) if not why]
            worlds = [rewritten(scene.world, now, tokens, found[i].motion, made, self.config.closed_loop) for i in left]
            best = best_scores([Situation(f"{scene.id}/{i}", scene.log, world, now) for i, world in zip(left, worlds, strict=True)])
            for i, score in zip(left, best, strict=True):
                scores[i] = score
                reasons[i] = () if score > c.solvable else ("unsolvable",)
        verdicts = [Verdict(*one) for one in zip(reasons, scores, costs.tolist(), strict=True)]
        return [replace(variant, verdict=verdict) for variant, verdict in zip(found, verdicts, strict=True)]

    def _scene(self, scene: Scene[World], tokens: Tokens, variant: Variant, rejected: Mapping[str, int], seed: int) -> Scene[World]:
        made = made_rows(tokens, variant.hold, self.model.spec)
        world = rewritten(scene.world, scene.clock.now, tokens, variant.motion, made, self.config.closed_loop)
        counted = ", ".join(f"{count} {name}" for name, count in sorted(rejected.items())) or "none"
        words = [
            "; ".join(variant.hold.words) or "resampled", f"{int(made[1:].sum())} moved", f"{tokens.left_out} beyond the model",
            f"try {variant.attempt + 1}", f"best score {variant.verdict.score:.2f}", f"rejected: {counted}",
        ]  # fmt: skip
        assets = {**scene.assets, "behaviour model": self.model.digest}
        name = f"{scene.id}~diffusion.{seed}.{variant.index}"
        return replace(scene, id=name, world=world, variant="; ".join(words), assets=assets)

    def fit(
        self, scenarios: Iterable[Scenario[World]], file: Path, seed: int, progress: Progress | None = None
    ) -> Mapping[str, float | str]:
        """Train a model on these scenarios into ``file``; a training that was cut short stands beside it until it is done."""
        c, kept = self.config, file.with_name(f".{file.stem}.training.safetensors")
        init = self._beginning()
        spec, size = (c.tokens, c.network) if init is None else (init.spec, init.size)
        known = {"logs": []} if init is None else init.about or {}  # what an old model was trained on is not known
        logs = set(known.get("logs", ()))
        scenes = windows(_noting(scenarios, logs), spec)
        model, about = fit(scenes, spec, size, c.training, seed, kept, progress, init)
        save(file, model, {**about, **({"logs": sorted(logs)} if "logs" in known else {})})
        for path in (kept, sum_file(kept)):
            path.unlink(missing_ok=True)
        return about

    def _beginning(self) -> Model | None:
        """The model that training begins from; ``ConfigError`` where other tokens or another size are asked for."""
        c = self.config
        if not c.training.init:
            return None
        init, whole = load(Path(c.training.init).expanduser()), DiffusionConfig()
        for name, asked, usual, found in (
            ("tokens", c.tokens, whole.tokens, init.spec), ("network", c.network, whole.network, init.size),
        ):  # fmt: skip
            if asked not in (usual, found):
                raise ConfigError(
                    f"{name} are not those of the model that training begins from", file=c.training.init, field=name,
                    way_out=f"leave {name} out, or train a model of your own",
                )  # fmt: skip
        return init

    def react(self, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int]) -> Sequence[Reaction]:
        """Poses of box centres [A, T, 3] in the world's frame for 8 s; whoever is not modelled goes on as it moves."""
        return self.replan(worlds, clocks, seeds, [Standing(None, ())] * len(worlds))

    def replan(
        self, worlds: Sequence[World], clocks: Sequence[Clock], seeds: Sequence[int], standing: Sequence[Standing]
    ) -> Sequence[Reaction]:
        """The same, going on from what it had in mind."""
        return react(self.model, worlds, clocks, seeds, standing, self.config.replan, self.config.guidance)


def _noting(scenarios: Iterable[Scenario[World]], logs: set[str]) -> Iterator[Scenario[World]]:
    """The scenarios as they come, their logs noted."""
    for scenario in scenarios:
        logs.add(scenario.log)
        yield scenario


def _stream(scene: Scene[World], seed: int, index: int, attempt: int) -> np.random.Generator:
    """One stream for each scene, seed, variant and try."""
    return np.random.default_rng([zlib.crc32(scene.id.encode()), seed % 2**63, index, attempt])


def made_rows(tokens: Tokens, hold: Hold, spec: TokenSpec) -> Bool:
    """[A] rows whose future is generated, in part at least; the ego's never is."""
    made = ~hold.given[:, spec.now + 1 :].all(1) & ~(hold.given == tokens.valid).all(1)
    free = ~hold.given[:, spec.now + 1 :].any(1)
    return np.asarray((made | free) & (tokens.rows >= 0))


def _keep_record(motion: Double, tokens: Tokens, hold: Hold, world: World, now: int) -> None:
    """Write the record over the motion [A, T, 3] of rows that were given as recorded, as far as it goes."""
    span = slice(now + 1, now + 1 + motion.shape[1])
    own = relative(tokens.frame[0], ego_center(world.ego.states[span], world.ego.vehicle))
    known = world.ego.valid[span]
    motion[0, : len(own)][known] = own[known]
    rest = (hold.given == tokens.valid).all(1)
    for row in np.flatnonzero(rest & (tokens.rows >= 0)):
        a = tokens.rows[row]
        there = world.agents.valid[a, span]
        found = relative(tokens.frame[row], world.agents.pose[a, span].astype(np.float64))
        motion[row, : len(found)][there] = found[there]


def _leaves_in_record(tokens: Tokens, world: World, now: int, steps: int) -> Bool:
    """[A] vehicles that leave the road, or the record, in the log itself."""
    span = slice(now + 1, now + 1 + steps)
    pose = world.agents.pose[tokens.rows[1:], span].astype(np.float64)
    there = world.agents.valid[tokens.rows[1:], span]
    pose = np.where(there[..., None], pose, tokens.frame[1:, None])
    if pose.shape[1] == 0 or not world.map.lanes:
        return np.zeros(len(tokens), bool)
    return np.concatenate([[False], off_road(road(world.map), pose[None], tokens.frame[1:])[0]])


def rewritten(world: World, now: int, tokens: Tokens, motion: Double, made: Bool, closed_loop: bool) -> World:
    """The world with the ``made`` rows [A] as generated after ``now``, from the last of their poses on at their velocity then."""
    agents, rows = world.agents, tokens.rows[made]
    pose, velocity, valid = agents.pose.copy(), agents.velocity.copy(), agents.valid.copy()
    full = compose(tokens.frame[made][:, None], motion[made])  # [m, T, 3]
    steps = world.steps - now - 1
    if steps > full.shape[1]:
        pace = full[:, -1, :2] - full[:, -2, :2]
        on = np.arange(1, steps - full.shape[1] + 1)[None, :, None] * pace[:, None]
        after = np.concatenate([full[:, -1:, :2] + on, np.repeat(full[:, -1:, 2:], on.shape[1], 1)], -1)
        full = np.concatenate([full, after], 1)
    full = full[:, :steps]
    before = np.concatenate([pose[rows, now : now + 1, :2].astype(np.float64), full[:, :-1, :2]], 1)
    pose[rows, now + 1 :] = np.concatenate([full[..., :2], wrap_angle(full[..., 2:])], -1)
    velocity[rows, now + 1 :] = (full[..., :2] - before) / world.dt
    valid[rows, now + 1 :] = True
    control = np.full(len(agents), Control.REPLAY, np.uint8)
    if closed_loop:
        moving = rows[movers(agents, now)[rows]]
        control[moving] = Control.EXTERNAL
    moved = {agents.ids[row] for row in rows}
    scripts = tuple(script for script in world.scripts if script.agent not in moved)
    others = replace(agents, pose=pose, velocity=velocity, valid=valid, control=control, manners=None)
    return replace(world, agents=others, scripts=scripts)


__all__ = ["Diffusion", "DiffusionConfig", "Variant"]
