"""Settings of the behaviour ``diffusion``, and those that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from wetoolkit.config import Config
from wetoolkit_diffusion.attacks import INTENTS, AttackConfig
from wetoolkit_diffusion.controls import CopyConfig, GoalConfig
from wetoolkit_diffusion.guidance import GuidanceConfig
from wetoolkit_diffusion.network import NetworkConfig
from wetoolkit_diffusion.noise import SamplerConfig
from wetoolkit_diffusion.plausible import PlausibilityConfig
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
    goals: tuple[GoalConfig, ...] = Field(default=(), description="where some are to be, and when")
    sampler: SamplerConfig = Field(default=SamplerConfig(), description="how noise becomes motion")
    replan: ReplanConfig = Field(default=ReplanConfig(), description="how it plans again in closed loop")
    guidance: GuidanceConfig = Field(default=GuidanceConfig(), description="costs that shape what is generated")
    plausibility: PlausibilityConfig = Field(default=PlausibilityConfig(), description="which variants are kept")
    training: TrainingConfig = Field(default=TrainingConfig(), description="how `wetool fit` trains it")
    tokens: TokenSpec = Field(default=TokenSpec(), description="what a scene is to a model that is trained anew")
    network: NetworkConfig = Field(default=NetworkConfig(), description="size of a network that is trained anew")


def _attack(*intents: str) -> Mapping[str, Any]:
    return {"attack": {"intents": list(intents)}} if intents else {"attack": {}}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "resampled": {},
    "copy": {"copy_goals": {}},
    "intent-attack": _attack(),
    **{intent: _attack(intent) for intent in INTENTS},
}  # control -> settings; several are merged

__all__ = ["PRESETS", "DiffusionConfig"]
