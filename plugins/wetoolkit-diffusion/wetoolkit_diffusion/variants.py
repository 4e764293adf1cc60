"""Futures of a scene: what is given is chosen, the rest generated, the outcome judged, and what fails made again."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from wetoolkit_driving.types import Aim, Bool, Control, Double, Float, World

from wetoolkit.types import Scene, Situation
from wetoolkit_diffusion.attacks import attack
from wetoolkit_diffusion.checkpoint import Model
from wetoolkit_diffusion.controls import Hold, begin, copy_goals, hold_goals, hold_record, keep_others
from wetoolkit_diffusion.diversity import apart, nearest, shared
from wetoolkit_diffusion.generate import Request, generate, motions
from wetoolkit_diffusion.likely import excess
from wetoolkit_diffusion.manners import with_manners
from wetoolkit_diffusion.plausible import Verdict, best_scores, breaks_rules, judge
from wetoolkit_diffusion.populate import Populated, insert, thicken
from wetoolkit_diffusion.react import aims_of
from wetoolkit_diffusion.rewriting import keep_record, leaves_in_record, made_rows, record_on, rewritten
from wetoolkit_diffusion.settings import DiffusionConfig
from wetoolkit_diffusion.tokens import Tokens, encode, stride

IMPOSSIBLE = "impossible"  # nobody could be given what was asked
ALIKE = "alike"  # it is too near to one that was kept before


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
class Begun:
    """Who is there, and what is given of the future."""

    world: World
    tokens: Tokens
    hold: Hold


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
        for attempt in range(self.config.plausibility.tries):
            wanted = [index for index in range(count) if index not in kept]
            if not wanted:
                break
            made = self.attempt(wanted, attempt)
            rejected.update({IMPOSSIBLE: len(wanted) - len(made)})
            for variant in made:
                if variant.verdict.reasons:
                    rejected.update(variant.verdict.reasons)
                elif self._alike(variant, list(kept.values())):
                    rejected.update((ALIKE,))
                else:
                    kept[variant.index] = variant
        return [kept[index] for index in sorted(kept)], {why: times for why, times in rejected.items() if times}

    def _alike(self, variant: Variant, kept: Sequence[Variant]) -> bool:
        """Whether a future is too near to one that is kept already."""
        least = self.config.plausibility.apart
        return bool(least and kept) and nearest([self.between(variant, other) for other in kept]) < least

    def between(self, one: Variant, other: Variant) -> float:
        """Metres between two futures (``diversity.apart``), over those whom both moved."""
        a, b = shared(one.tokens.names, other.tokens.names, self.made(one), self.made(other))
        return apart(one.motion[a], other.motion[b], np.ones(len(a), bool))

    @cached_property
    def _tokens(self) -> Tokens:
        """Those of the scene as it is; of one with others in it ``_begun`` makes its own."""
        return encode(self.scene.world, self.scene.clock.now, self.model.spec)

    def attempt(self, indices: Sequence[int], number: int) -> list[Variant]:
        """One future for each index where one is possible, judged; the ``number``-th try."""
        c, spec = self.config, self.model.spec
        drawn = [(index, _stream(self.scene, self.seed, index, number)) for index in indices]
        begun = [(index, rng, self._begun(rng)) for index, rng in drawn]
        left = [(index, rng, one) for index, rng, one in begun if one is not None]
        requests = [self._request(one, rng) for _, rng, one in left]
        shy = c.attack is None and not c.near
        states = generate(self.model, requests, c.sampler, c.guidance, shy, c.near)
        found = []
        for state, (index, _, one) in zip(states, left, strict=True):
            motion = motions(one.tokens, state, one.hold.given, spec.now, stride(one.world.dt, spec))[0][0]
            keep_record(motion, one.tokens, one.hold, one.world, self.scene.clock.now)
            found.append(Variant(index, number, one.world, one.tokens, one.hold, state[0], motion, Verdict(())))
        return self._judged(found)

    def _request(self, begun: Begun, rng: np.random.Generator) -> Request:
        tokens, hold = begun.tokens, begun.hold
        start = record_on(tokens, self.model.spec) if self.config.near else None
        return Request(tokens, hold.given, hold.held, (int(rng.integers(2**31)),), start)

    def _begun(self, rng: np.random.Generator) -> Begun | None:
        """Who is there in one variant and what is given of it; None where what was asked is not possible."""
        c, spec, now = self.config, self.model.spec, self.scene.clock.now
        there = self._populated(rng)
        if there is None:
            return None
        world = there.world
        tokens = self._tokens if world is self.scene.world else encode(world, now, spec)
        hold = hold_record(begin(tokens, world, spec, c.ego), tokens, world, there.given)
        hold = hold_goals(replace(hold, words=there.words), tokens, world, spec, c.goals)
        if c.attack is not None:
            attacked = attack(hold, tokens, world, spec, c.attack, rng)
            if attacked is None:
                return None
            hold = attacked
        if c.manners is not None:
            hold = with_manners(hold, self.model, tokens, c.manners, c.sampler, rng)
        if c.copy_goals is not None:
            hold = copy_goals(hold, tokens, spec, c.copy_goals, rng)
        if c.others == "recorded":
            new = set(world.agents.ids) - set(self.scene.world.agents.ids)
            hold = keep_others(hold, tokens, world, spec, sorted(new))
        return Begun(world, tokens, hold)

    def _populated(self, rng: np.random.Generator) -> Populated | None:
        """The scene's world with who was asked for; None where there is no room."""
        c, now = self.config, self.scene.clock.now
        there: Populated | None = Populated(self.scene.world)
        for one in c.insert:
            there = None if there is None else insert(there, now, one, rng)
        if there is None or c.density is None:
            return there
        named = [goal.agent for goal in c.goals] + ([c.attack.agent] if c.attack else [])
        put_in = set(there.world.agents.ids) - set(self.scene.world.agents.ids)
        return thicken(there, now, c.density, [*named, *put_in], rng)

    def _judged(self, found: list[Variant]) -> list[Variant]:
        verdicts = [verdict for group in _groups(found) for verdict in self._verdicts(group)]
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
        if c.rules:
            told_so = np.stack([variant.hold.given[:, self.model.spec.now + 1 :].any(1) for variant in found])  # [n, A]
            broken = breaks_rules(tokens, world, now, motion, told_so | ~made)
            reasons = [(*why, "red_light") if red else why for why, red in zip(reasons, broken, strict=True)]
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
        if variant.hold.attacked > 0 and self.config.attack is not None and self.config.attack.closed_loop == "replays":
            world.agents.control[variant.tokens.rows[variant.hold.attacked]] = Control.REPLAY
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
        distances = [nearest([self.between(one, other) for other in kept if other is not one]) for one in kept]
        costs = [self._cost(variant, self.made(variant)) for variant in kept]
        return [
            {
                "control": told(variant), "who": ", ".join(variant.hold.who) or "all",
                "moved": int(self.made(variant)[1:].sum()), "beyond the model": variant.tokens.left_out,
                "try": variant.attempt + 1, "valid": "yes", "best score": variant.verdict.score,
                "surprise [nat]": cost, "seed": self.seed, "apart [m]": distance,
            }
            for variant, distance, cost in zip(kept, distances, costs, strict=True)
        ]  # fmt: skip

    def _cost(self, variant: Variant, made: Bool) -> float:
        """How unlikely a variant is (``likely.excess``), whether or not there is a budget."""
        known = variant.verdict.excess
        return float(excess(self.model, variant.tokens, variant.state[None], made)[0]) if np.isnan(known) else known


def told(variant: Variant) -> str:
    """What was asked of a variant."""
    return "; ".join(variant.hold.words) or "resampled"


def _groups(found: Sequence[Variant]) -> Iterable[list[Variant]]:
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


__all__ = ["ALIKE", "IMPOSSIBLE", "Maker", "Variant", "told"]
