"""A trained model on disk: one safetensors file with its settings, refused where its schema is another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError as PydanticError

from wetoolkit.errors import StoreError
from wetoolkit.store import file_digest, read_state, write_state
from wetoolkit.types import Array
from wetoolkit_diffusion.network import Denoiser, NetworkConfig
from wetoolkit_diffusion.spec import TokenSpec

SCHEMA = "wetoolkit-diffusion-3"  # changes whenever what a token or a layer means does
WAY_OUT = "train it again: wetool fit behaviour/diffusion minitown"


@dataclass(frozen=True)
class Model:
    """A network, what its tokens are, and where it came from."""

    network: Denoiser
    spec: TokenSpec
    size: NetworkConfig
    digest: str = ""  # SHA-256 of the file it was read from
    about: Mapping[str, Any] | None = None  # data, seed and steps of its training


def save(path: Path, model: Model, about: Mapping[str, Any]) -> None:
    """Write a model atomically."""
    state = {name: tensor.detach().numpy() for name, tensor in model.network.state_dict().items()}
    facts = {"schema": SCHEMA, "spec": model.spec.model_dump(), "size": model.size.model_dump(), "training": dict(about)}
    write_state(path, state, facts)


def load(path: Path) -> Model:
    """Read a model; ``StoreError`` where the file is missing, cut short, of another schema, or no such model."""
    state, about = read_state(path)
    schema = about.get("schema", "none")
    if schema != SCHEMA:
        raise StoreError("a checkpoint of another schema", file=path, found=str(schema), known=SCHEMA, way_out=WAY_OUT)
    try:
        spec, size = TokenSpec.model_validate(about["spec"]), NetworkConfig.model_validate(about["size"])
        network = filled(Denoiser(size, spec), state)
    except (KeyError, RuntimeError, PydanticError) as error:
        raise StoreError(f"not a model of this schema: {error}", file=path, way_out=WAY_OUT) from error
    return Model(network, spec, size, file_digest(path), about.get("training", {}))


def filled(network: Denoiser, state: Mapping[str, Array]) -> Denoiser:
    """The network with these arrays, ready to be asked."""
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    return network.eval().requires_grad_(False)


__all__ = ["SCHEMA", "Model", "filled", "load", "save"]
