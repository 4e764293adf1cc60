"""The policy ``vocabulary-vector``: what is seen as vectors -> a distribution over a vocabulary of trajectories."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from wetoolkit.config import Config
from wetoolkit.errors import DataError, PluginError, UnknownName, ValidationError
from wetoolkit.types import Array, Experience, Float, Int, Observation, ObservationSpec, Plan
from wetoolkit_learning import vocabulary
from wetoolkit_learning.network import Inputs, Shape, VocabularyNetwork
from wetoolkit_learning.trainable import torch_seed, torch_threads
from wetoolkit_learning.vocabulary import VocabularyConfig

Moments = tuple[Tensor, Tensor, Tensor]  # count [], sum [C], sum of squares [C]
_REBUILD = "load it with the config it was saved with"
_DEMONSTRATE = "give log frames with a known future (`has_expert`)"


class VocabularyVectorConfig(Config):
    """What it sees, how large it is, and how it chooses."""

    vocabulary: VocabularyConfig = Field(
        default_factory=VocabularyConfig, description="how the trajectories it chooses from are made"
    )
    fields: tuple[str, ...] = Field(
        default=("ego", "agents", "lanes", "route"),
        description="observed arrays, the acting body first; each [B, (rows,) points, channels]",
    )
    timed: tuple[str, ...] = Field(default=("ego", "agents"), description="fields whose points are the steps of the history")
    history: int = Field(default=4, description="past states seen of the timed fields, the present one included [1]", ge=1)
    history_stride: int = Field(default=5, description="between two of them [steps]", ge=1)
    limits: Mapping[str, int] = Field(
        default={"agents": 24, "lanes": 32}, description="at most so many rows of a field, the nearest first"
    )
    width: int = Field(default=64, description="of a token; a multiple of heads [1]", ge=8)
    layers: int = Field(default=2, description="of self-attention among tokens, before the last that asks [1]", ge=0)
    heads: int = Field(default=4, description="of each attention [1]", ge=1)
    dropout: float = Field(default=0.1, description="in training [1]", ge=0.0, lt=1.0)
    temperature: float = Field(
        default=0.0, description="0: the likeliest anchor; above: drawn from log-probabilities / temperature [1]", ge=0.0
    )
    batch: int = Field(default=64, description="rows of one forward pass when acting [1]", ge=1)
    threads: int = Field(default=1, description="of torch when acting [1]", ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if not self.fields or len(set(self.fields)) < len(self.fields):
            raise ValueError(f"fields {self.fields} must name at least one array, each once")
        return self


class VocabularyVector:
    """A policy over K anchors. Fresh ones must be prepared (``prepare``) or given their numbers (``with_state``) first."""

    _called = "vocabulary-vector"

    def __init__(self, config: VocabularyVectorConfig) -> None:
        self.config = config
        steps = (config.history - 1) * config.history_stride + 1
        self.spec = ObservationSpec(history=steps, fields=config.fields, limits=dict(config.limits))
        self._numbers: Mapping[str, Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "spec": self.spec, "_numbers": self._numbers}  # the network is rebuilt from these

    # What the core asks of a policy.

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        """The likeliest anchor of each row, or one drawn at ``temperature``; a row's draw depends on seed and row only."""
        return self.act_each(observation, [seed] * observation.size)

    def act_each(self, observation: Observation[Any], seeds: Sequence[int]) -> Plan:
        """``act`` with a seed a row, in one pass of the network."""
        log_prob = self.log_prob(observation)
        warmth = self.config.temperature
        if warmth:
            scaled = log_prob / warmth
            log_prob = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
            choice = (log_prob + self._gumbel(observation, seeds)).argmax(1)
        else:
            choice = log_prob.argmax(1)
        chosen = np.take_along_axis(log_prob, choice[:, None], 1)[:, 0]
        return Plan(self.proposals[choice], choice, chosen)

    def log_prob(self, observation: Observation[Any]) -> Float:
        """[B, K] float64, each row a normalised log-distribution."""
        rows = [slice(i, i + self.config.batch) for i in range(0, observation.size, self.config.batch)]
        with torch.inference_mode(), torch_threads(self.config.threads):
            parts = [self._network(self.inputs(observation.rows(row))).double().log_softmax(-1).numpy() for row in rows]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.proposals)))

    @property
    def proposals(self) -> Float:
        """[K, T, D] anchors in the acting body's frame; metres, then radians."""
        return self._ready()["anchors"]

    def prepare(self, experience: Experience, seed: int) -> Self:
        """A copy whose vocabulary, input scales and initial weights come from the experience's demonstrations and the seed."""
        futures, fields, moments = self._survey(experience)
        anchors = vocabulary.fit(futures, self.config.vocabulary, seed)
        with torch_seed(seed):
            network = self._build(Shape(fields, (anchors.shape[0], anchors.shape[1], anchors.shape[2])))
        network.anchors.copy_(torch.from_numpy(anchors))
        for name, (count, total, squares) in moments.items():
            mean = total / count.clamp_min(1)
            spread = (squares / count.clamp_min(1) - mean**2).clamp_min(0).sqrt()
            network.encoders[name].mean.copy_(mean)  # type: ignore[operator]
            network.encoders[name].scale.copy_(torch.where(spread > 1e-3, spread, 1.0))  # type: ignore[operator]
        return self.with_module(network)

    def state(self) -> Mapping[str, Array]:
        """Every number of the network, the vocabulary ("anchors") and the input scales among them."""
        return dict(self._ready())

    def with_state(self, state: Mapping[str, Array]) -> Self:
        """A copy that holds these numbers; ``ValidationError`` names those that are missing, too many or of a wrong shape."""
        network = self._build(self._shape(state))
        wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        given = {name: tuple(array.shape) for name, array in state.items()}
        wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        if wrong:
            shapes = f"{wrong[0]} is {given.get(wrong[0], 'missing')}, this config makes it {wanted.get(wrong[0], 'superfluous')}"
            raise ValidationError(f"{len(wrong)} arrays do not fit the policy: {shapes}", field=wrong[0], way_out=_REBUILD)
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
        return self.with_module(network)

    # What the algorithms of this distribution ask of it (trainable.Trainable).

    def module(self) -> VocabularyNetwork:
        """A copy of the network, in training mode."""
        numbers = self._ready()
        network = self._build(self._shape(numbers))
        network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in numbers.items()})
        return network

    def with_module(self, module: nn.Module) -> Self:
        """A copy of the policy that holds this network's numbers."""
        made = type(self)(self.config)
        made._numbers = {name: _frozen(tensor) for name, tensor in module.state_dict().items()}
        return made

    def inputs(self, observation: Observation[Any]) -> Inputs:
        """All that the network reads."""
        return self.vectors(observation)

    def vectors(self, observation: Observation[Any]) -> Inputs:
        """Each field as points [B, R, P, C] with valid [B, R, P], without the rows that are padding in all of the batch."""
        return {name: self._field(observation, name) for name in self.config.fields}

    def nearest(self, plans: Float) -> Int:
        """Index [B] of the anchor nearest to each plan [B, T, D]."""
        return vocabulary.nearest(plans, self.proposals, self.config.vocabulary.stride)

    # Inside.

    @cached_property
    def _network(self) -> VocabularyNetwork:
        return self.module().eval()

    def _ready(self) -> Mapping[str, Array]:
        if not self._numbers:
            raise PluginError(
                f"the policy {self._called} has no vocabulary yet",
                plugin="wetoolkit-learning",
                way_out="pre-train it (its `prepare` is called first), or load a saved one with `with_state`",
            )
        return self._numbers

    def _build(self, shape: Shape) -> VocabularyNetwork:
        config = self.config
        return VocabularyNetwork(shape, config.width, config.layers, config.heads, config.dropout, config.vocabulary.stride)

    def _shape(self, state: Mapping[str, Array]) -> Shape:
        needed = ["anchors", *(f"encoders.{name}.{part}" for name in self.config.fields for part in ("order", "mean"))]
        missing = [name for name in needed if name not in state]
        if missing or state["anchors"].ndim != 3:
            what = f"{missing[0]} is missing" if missing else f"anchors has shape {state['anchors'].shape}, not [K, T, D]"
            raise ValidationError(f"no state of a policy {self._called}: {what}", field="state", way_out=_REBUILD)
        fields = {n: (len(state[f"encoders.{n}.order"]), len(state[f"encoders.{n}.mean"])) for n in self.config.fields}
        count, steps, channels = state["anchors"].shape
        return Shape(fields, (count, steps, channels))

    def _field(self, observation: Observation[Any], name: str) -> tuple[Tensor, Tensor]:
        if name not in observation.arrays:
            raise UnknownName(
                "observed field", name, observation.arrays, way_out="set the policy's `fields` to what the domain makes"
            )
        points = np.asarray(observation.arrays[name], np.float32)
        mask = observation.arrays.get(f"{name}.valid")
        valid = np.ones(points.shape[:-1], np.bool_) if mask is None else np.asarray(mask, np.bool_)
        for _ in range(points.ndim, 4):  # [B, C] and [B, P, C] are one row
            points, valid = np.expand_dims(points, 1), np.expand_dims(valid, 1)
        if name in self.config.timed:
            steps = np.arange(points.shape[2] - 1, -1, -self.config.history_stride)[: self.config.history][::-1]
            points, valid = points[:, :, steps], valid[:, :, steps]
        used = np.flatnonzero(valid.any((0, 2)))
        rows = int(used[-1]) + 1 if len(used) else 1
        return torch.from_numpy(points[:, :rows].copy()), torch.from_numpy(valid[:, :rows].copy())

    def _survey(self, experience: Experience) -> tuple[Float, dict[str, tuple[int, int]], dict[str, Moments]]:
        """All demonstrated futures [M, T, D], the size of each field's rows, and the moments of each field's channels."""
        futures: list[Float] = []
        fields: dict[str, tuple[int, int]] = {}
        moments: dict[str, Moments] = {}
        for block in experience.batches(512, None):
            futures.append(np.asarray(block.expert[block.has_expert], np.float32))
            for name, (points, valid) in self.vectors(block.observation).items():
                fields[name] = (points.shape[2], points.shape[3])
                seen = points[valid].double()  # [n, C]
                new = (torch.tensor(len(seen)), seen.sum(0), (seen**2).sum(0))
                old = moments.get(name)
                moments[name] = (old[0] + new[0], old[1] + new[1], old[2] + new[2]) if old else new
        if not sum(map(len, futures)):
            raise DataError("no demonstration to prepare from", plugin="wetoolkit-learning", way_out=_DEMONSTRATE)
        return np.concatenate(futures), fields, moments

    def _gumbel(self, observation: Observation[Any], seeds: Sequence[int]) -> Float:
        """Standard Gumbel noise [B, K], drawn for each row by its seed and what the row sees."""
        count = len(self.proposals)
        seen = [observation.arrays[name] for name in self.config.fields]
        marks = [
            zlib.crc32(b"".join(np.ascontiguousarray(array[row]).tobytes() for array in seen)) for row in range(observation.size)
        ]
        return np.stack([np.random.default_rng((seed, mark)).gumbel(size=count) for seed, mark in zip(seeds, marks, strict=True)])


def _frozen(tensor: Tensor) -> Array:
    array = tensor.detach().cpu().numpy().copy()
    array.flags.writeable = False
    return array
