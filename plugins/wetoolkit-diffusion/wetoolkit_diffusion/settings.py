"""Settings of the behaviour ``diffusion``, and those that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from wetoolkit.config import Config
from wetoolkit_diffusion.attacks import INTENTS, AttackConfig
from wetoolkit_diffusion.controls import CopyConfig, GoalConfig
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.manners import MannersConfig
from wetoolkit_diffusion.network import NetworkConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.plausible import PlausibilityConfig
from wetoolkit_diffusion.populate import DensityConfig, InsertConfig
from wetoolkit_diffusion.react import ReplanConfig
from wetoolkit_diffusion.spec import TokenSpec
from wetoolkit_diffusion.training import TrainingConfig


class DiffusionConfig(Config):
    """Settings of ``diffusion``."""

    checkpoint: str = Field(
        default="runs/models/diffusion.safetensors", description="file of the trained model, as `wetool fit` writes it"
    )
    closed_loop: bool = Field(
        default=False, description="the model moves the others anew as the ego acts; else what it made once is their record"
    )
    ego: bool = Field(default=True, description="the others are generated to go with the ego's recorded future; else with any")
    attack: AttackConfig | None = Field(
        default=None, description="somebody is given an intent that conflicts with the ego's future"
    )
    copy_goals: CopyConfig | None = Field(default=None, description="keep the goals of the log")
    near: float = Field(
        default=0.0, description="noise level from which the recorded future is taken up: small stays near it, 0 does not ask [1]",
        ge=0.0,
    )  # fmt: skip
    insert: tuple[InsertConfig, ...] = Field(default=(), description="road users to be put in")
    density: DensityConfig | None = Field(default=None, description="more or fewer road users than recorded")
    manners: MannersConfig | None = Field(default=None, description="how briskly the others go")
    goals: tuple[GoalConfig, ...] = Field(default=(), description="where some are to be, and when")
    others: Literal["generated", "recorded"] = Field(
        default="generated", description="what those do to whom no control gives anything of their future"
    )
    sampler: SamplerConfig = Field(default=SamplerConfig(), description="how noise becomes motion")
    replan: ReplanConfig = Field(default=ReplanConfig(), description="how it plans again in closed loop")
    guidance: GuidanceConfig = Field(default=GuidanceConfig(), description="costs that shape what is generated")
    plausibility: PlausibilityConfig = Field(default=PlausibilityConfig(), description="which variants are kept")
    training: TrainingConfig = Field(default=TrainingConfig(), description="how `wetool fit` trains it")
    tokens: TokenSpec = Field(default=TokenSpec(), description="what a scene is to a model that is trained anew")
    network: NetworkConfig = Field(default=NetworkConfig(), description="size of a network that is trained anew")

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        """Two controls that ask the same thing to be different are an error that names both."""
        pairs = [
            ("manners", "copy_goals", self.manners is not None and self.copy_goals is not None and self.copy_goals.share == 1.0),
            ("manners", 'others = "recorded"', self.manners is not None and self.others == "recorded"),
            ("attack", "ego = false", self.attack is not None and not self.ego),
        ]  # fmt: skip
        for one, other, both in pairs:
            if both:
                raise ValueError(f"{one} and {other} contradict each other: leave one of them out")
        return self


def _attack(*intents: str) -> Mapping[str, Any]:
    return {"attack": {"intents": list(intents)}} if intents else {"attack": {}}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "resampled": {},
    "copy": {"copy_goals": {}},
    "near": {"near": 0.5},
    "intent-attack": _attack(),
    **{intent: _attack(intent) for intent in INTENTS},
    "others-recorded": {"others": "recorded"},
    "put-in": {"insert": [{}]},
    "put-in-pedestrian": {"insert": [{"kind": "pedestrian", "where": "kerb"}]},
    "put-in-cyclist": {"insert": [{"kind": "bicycle", "where": "crossing"}]},
    "dense": {"density": {"factor": 2.0}},
    "sparse": {"density": {"factor": 0.5}},
    "aggressive": {"manners": {"quantile": 0.9}},
    "timid": {"manners": {"quantile": 0.1}},
}  # control -> settings; several are merged

__all__ = ["PRESETS", "DiffusionConfig"]
