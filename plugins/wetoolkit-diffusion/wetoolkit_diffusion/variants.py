"""Futures of a scene: what is given is chosen, the rest generated, the outcome judged, and what fails made again."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from wetoolkit_driving.types import Aim, Bool, Double, Float, World

from wetoolkit.types import Scene, Situation
from wetoolkit_diffusion.attacks import attack
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.controls import Hold, begin, copy_goals, hold_goals
from wetoolkit_diffusion.generate import Request, generate, motions
from wetoolkit_diffusion.likely import excess
from wetoolkit_diffusion.plausible import Verdict, best_scores, judge
from wetoolkit_diffusion.react import aims_of
from wetoolkit_diffusion.rewriting import keep_record, leaves_in_record, made_rows, rewritten
from wetoolkit_diffusion.settings import DiffusionConfig
from wetoolkit_diffusion.tokens import Tokens, encode, stride

IMPOSSIBLE = "impossible"  # nobody could be given what was asked


@dataclass(frozen=True)
class Variant:
    """One future that was made of a scene."""

    index: int
    attempt: int
    world: World  # that it was made of
    tokens: Tokens
    hold: Hold
    state: Float  # [A, K, CHANNELS]
    motion: Double  # [A, T, 3] local poses at the world's pace
    verdict: Verdict


@dataclass(frozen=True)
class Maker:
    """Makes futures of one scene by a model."""

    model: Model
    config: DiffusionConfig
    scene: Scene[World]
    seed: int

    def kept(self, count: int) -> tuple[list[Variant], Mapping[str, int]]:
        """The plausible futures, each the first of its tries that is, and how often each reason rejected one."""
        kept: dict[int, Variant] = {}
        rejected: Counter[str] = Counter()
        tokens = encode(self.scene.world, self.scene.clock.now, self.model.spec)
        for attempt in range(self.config.plausibility.tries):
            wanted = [index for index in range(count) if index not in kept]
            made = self._attempt(tokens, wanted, attempt)
            rejected.update({IMPOSSIBLE: len(wanted) - len(made)})
            for variant in made:
                if variant.verdict.reasons:
                    rejected.update(variant.verdict.reasons)
                else:
                    kept[variant.index] = variant
        return [kept[index] for index in sorted(kept)], {why: times for why, times in rejected.items() if times}

    def _attempt(self, tokens: Tokens, indices: Sequence[int], attempt: int) -> list[Variant]:
        """One future for each index where one is possible, judged."""
        c, spec, world = self.config, self.model.spec, self.scene.world
        drawn = [(index, _stream(self.scene, self.seed, index, attempt)) for index in indices]
        begun = [(index, rng, self._hold(tokens, world, rng)) for index, rng in drawn]
        holds = [(index, rng, hold) for index, rng, hold in begun if hold is not None]
        requests = [Request(tokens, hold.given, hold.held, (int(rng.integers(2**31)),)) for _, rng, hold in holds]
        states = generate(self.model, requests, c.sampler, c.guidance, shy=c.attack is None)
        found = []
        for state, (index, _, hold) in zip(states, holds, strict=True):
            motion = motions(tokens, state, hold.given, spec.now, stride(world.dt, spec))[0][0]
            keep_record(motion, tokens, hold, world, self.scene.clock.now)
            found.append(Variant(index, attempt, world, tokens, hold, state[0], motion, Verdict(())))
        return self._judged(found)

    def _hold(self, tokens: Tokens, world: World, rng: np.random.Generator) -> Hold | None:
        """What is given of one variant; None where an attack was asked for that nobody can make."""
        c, spec = self.config, self.model.spec
        hold: Hold | None = hold_goals(begin(tokens, world, spec, c.ego), tokens, world, spec, c.goals)
        if c.attack is not None and hold is not None:
            hold = attack(hold, tokens, world, spec, c.attack, rng)
        return hold if hold is None or c.copy_goals is None else copy_goals(hold, tokens, spec, c.copy_goals, rng)

    def _judged(self, found: list[Variant]) -> list[Variant]:
        verdicts = [verdict for group in _alike(found) for verdict in self._verdicts(group)]
        return [replace(variant, verdict=verdict) for variant, verdict in zip(found, verdicts, strict=True)]

    def _verdicts(self, found: list[Variant]) -> list[Verdict]:
        """Of futures of the same tokens of one world, with the same rows generated."""
        c, now, scene = self.config.plausibility, self.scene.clock.now, self.scene
        world, tokens = found[0].world, found[0].tokens
        made = self.made(found[0])
        leaves = leaves_in_record(tokens, world, now, found[0].motion.shape[1])
        motion = np.stack([variant.motion for variant in found])
        reasons = judge(tokens, world, motion, made, c, leaves)
        scores, costs = [float("nan")] * len(found), np.full(len(found), np.nan)
        if c.unlikely:
            costs = excess(self.model, tokens, np.stack([variant.state for variant in found]), made)
            reasons = [(*why, "unlikely") if cost > c.unlikely else why for why, cost in zip(reasons, costs, strict=True)]
        if c.solvable:
            left = [i for i, why in enumerate(reasons) if not why]
            worlds = [rewritten(world, now, tokens, found[i].motion, made, self.config.closed_loop) for i in left]
            best = best_scores([Situation(f"{scene.id}/{i}", scene.log, world, now) for i, world in zip(left, worlds, strict=True)])
            for i, score in zip(left, best, strict=True):
                scores[i] = score
                reasons[i] = () if score > c.solvable else ("unsolvable",)
        return [Verdict(*one) for one in zip(reasons, scores, costs.tolist(), strict=True)]

    def made(self, variant: Variant) -> Bool:
        """[A] rows of a variant whose future was generated, in part at least."""
        return made_rows(variant.tokens, variant.hold, self.model.spec)

    def named(self, variant: Variant, rejected: Mapping[str, int]) -> Scene[World]:
        """A variant as a scene that says what was done."""
        scene, made = self.scene, self.made(variant)
        world = rewritten(variant.world, scene.clock.now, variant.tokens, variant.motion, made, self.config.closed_loop)
        world = replace(world, aims=self._aims(variant)) if self.config.closed_loop else world
        counted = ", ".join(f"{count} {name}" for name, count in sorted(rejected.items())) or "none"
        words = [
            told(variant), f"{int(made[1:].sum())} moved", f"{variant.tokens.left_out} beyond the model",
            f"try {variant.attempt + 1}", f"best score {variant.verdict.score:.2f}", f"rejected: {counted}",
        ]  # fmt: skip
        assets = {**scene.assets, "behaviour model": self.model.digest}
        name = f"{scene.id}~diffusion.{self.seed}.{variant.index}"
        return replace(scene, id=name, world=world, variant="; ".join(words), assets=assets)

    def _aims(self, variant: Variant) -> tuple[Aim, ...]:
        """What was given of a variant's future, to be held in closed loop as well."""
        now, spec = self.scene.clock.now, self.model.spec
        begun = begin(variant.tokens, variant.world, spec, self.config.ego)
        return aims_of(variant.hold, begun, variant.tokens, variant.world, now, spec)

    def rows(self, kept: Sequence[Variant]) -> list[dict[str, float | str]]:
        """What was done in each variant, by whom, how it was judged and how far it is from the others."""
        distances = apart(kept, [self.made(variant) for variant in kept])
        return [
            {
                "control": told(variant), "who": ", ".join(variant.hold.who) or "all",
                "moved": int(self.made(variant)[1:].sum()), "beyond the model": variant.tokens.left_out,
                "try": variant.attempt + 1, "valid": "yes", "best score": variant.verdict.score,
                "surprise [nat]": variant.verdict.excess, "seed": self.seed, "apart [m]": distance,
            }
            for variant, distance in zip(kept, distances, strict=True)
        ]  # fmt: skip


def told(variant: Variant) -> str:
    """What was asked of a variant."""
    return "; ".join(variant.hold.words) or "resampled"


def apart(kept: Sequence[Variant], made: Sequence[Bool]) -> list[float]:
    """How far each variant is from the nearest other one: the mean distance over time of those whom both moved [m]."""
    found = []
    for i, one in enumerate(kept):
        others = [_mean_distance(one, made[i], other, made[j]) for j, other in enumerate(kept) if j != i]
        found.append(min(others, default=float("nan")))
    return found


def _mean_distance(one: Variant, moved: Bool, other: Variant, moves: Bool) -> float:
    rows = {int(name): row for row, name in enumerate(one.tokens.names) if moved[row]}
    pairs = [(rows[int(name)], row) for row, name in enumerate(other.tokens.names) if moves[row] and int(name) in rows]
    if not pairs:
        return 0.0
    a, b = np.array(pairs).T
    return float(np.hypot(*np.moveaxis((one.motion[a] - other.motion[b])[..., :2], -1, 0)).mean())


def _alike(found: Sequence[Variant]) -> Iterable[list[Variant]]:
    """Neighbours of one world and tokens together."""
    group: list[Variant] = []
    for variant in found:
        if group and variant.tokens is not group[0].tokens:
            yield group
            group = []
        group.append(variant)
    if group:
        yield group


def _stream(scene: Scene[World], seed: int, index: int, attempt: int) -> np.random.Generator:
    """One stream for each scene, seed, variant and try."""
    return np.random.default_rng([zlib.crc32(scene.id.encode()), seed % 2**63, index, attempt])


__all__ = ["IMPOSSIBLE", "Maker", "Variant", "apart", "told"]
