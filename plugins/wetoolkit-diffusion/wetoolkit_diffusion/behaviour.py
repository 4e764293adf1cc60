"""The behaviour ``diffusion``: variants of a scene in which everybody near the ego does what is likely, or what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from wetoolkit_driving.traffic.reaction import Standing
from wetoolkit_driving.types import World

from wetoolkit.accounts import Account
from wetoolkit.errors import ConfigError
from wetoolkit.kinds import Progress
from wetoolkit.store import sum_file
from wetoolkit.types import Clock, Reaction, Scenario, Scene
from wetoolkit_diffusion.checkpoint import WAY_OUT, Model, load, save
from wetoolkit_diffusion.react import react
from wetoolkit_diffusion.settings import PRESETS, DiffusionConfig
from wetoolkit_diffusion.training import fit, windows
from wetoolkit_diffusion.variants import Maker, Variant


@lru_cache(maxsize=4)
def _loaded(path: str, changed: int) -> Model:
    return load(Path(path))


class Diffusion:
    """kinds.Behaviour, with SupportsReaction, SupportsFit, SupportsAccount and SupportsPresets."""

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
        maker = Maker(self.model, self.config, scene, seed)
        kept, rejected = maker.kept(count)
        return [maker.named(variant, rejected) for variant in kept]

    def variants(self, scene: Scene[World], count: int, seed: int) -> tuple[list[Variant], Mapping[str, int]]:
        """The plausible futures, each the first of its tries that is, and how often each reason rejected one."""
        return Maker(self.model, self.config, scene, seed).kept(count)

    def account(self, scene: Scene[World], count: int, seed: int) -> Account[World]:
        """What ``vary`` gives, with a row about each variant and how often each reason rejected one."""
        if count < 1:
            return Account(())
        maker = Maker(self.model, self.config, scene, seed)
        kept, rejected = maker.kept(count)
        return Account(tuple(maker.named(variant, rejected) for variant in kept), tuple(maker.rows(kept)), rejected)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """Settings that have a name; see ``settings.PRESETS``."""
        return PRESETS

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
        c = self.config
        return react(self.model, worlds, clocks, seeds, standing, c.replan, c.guidance, shy=c.attack is None)


def _noting(scenarios: Iterable[Scenario[World]], logs: set[str]) -> Iterator[Scenario[World]]:
    """The scenarios as they come, their logs noted."""
    for scenario in scenarios:
        logs.add(scenario.log)
        yield scenario


__all__ = ["Diffusion", "DiffusionConfig", "Variant"]
