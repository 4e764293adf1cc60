"""A scene on disk: a folder with ``scene.json``, which says what there is, and one safetensors file that it names.

The file's name holds its content's hash and ``scene.json`` is written last, so a killed writer leaves the old scene or the new one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import safetensors
import torch
from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as BadJson
from safetensors.torch import load, save
from torch import Tensor

from wetoolkit.errors import DataError
from wetoolkit.errors import ValidationError as BadValue
from wetoolkit.store import write_atomic
from wetoolkit_splat.graph import Node, SplatScene, Track
from wetoolkit_splat.types import SH_TERMS, Gaussians

JSON = "scene.json"
AGAIN = "write the scene again, or fetch the whole folder"
PARAMETERS = ("means", "quaternions", "log_scales", "opacity_logits", "sh")


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeFacts(_Facts):
    """What ``scene.json`` says of a node."""

    name: str = Field(description="unique in the scene")
    category: str = Field(description="what it is, in the domain's words")
    gaussians: int = Field(ge=0, description="how many [1]")
    degree: int = Field(ge=0, le=3, description="of its spherical harmonics [1]")
    steps: int = Field(ge=0, description="times of its track; 0: it stands still [1]")
    harmonics: int = Field(ge=0, description="of its sway [1]")
    period: float = Field(gt=0, description="of the first one [s]")
    size: tuple[float, float, float] | None = Field(description="length, width, height of its box [m]")


class SceneFacts(_Facts):
    """All of ``scene.json``."""

    format: Literal["wetoolkit-splat-1"] = "wetoolkit-splat-1"
    tensors: str = Field(description="the file beside that holds the numbers")
    sha256: str = Field(description="of that file")
    nodes: tuple[NodeFacts, ...] = Field(description="in the order of the tensors' names")
    cameras: tuple[str, ...] = Field(description="those with an exposure")


def _tensors(index: int, node: Node) -> dict[str, Tensor]:
    found = {f"{index}.{name}": getattr(node.gaussians, name) for name in PARAMETERS}
    if node.track is not None:
        found |= {f"{index}.{name}": getattr(node.track, name) for name in ("times", "poses", "twists")}
    return found | ({f"{index}.sway": node.sway} if node.sway is not None else {})


def _facts(name: str, node: Node) -> NodeFacts:
    steps, harmonics = len(node.track.times) if node.track else 0, node.sway.shape[1] // 2 if node.sway is not None else 0
    return NodeFacts(
        name=name, category=node.category, gaussians=len(node.gaussians), degree=node.gaussians.degree, steps=steps,
        harmonics=harmonics, period=node.period, size=node.size,
    )  # fmt: skip


def write(folder: Path, scene: SplatScene) -> None:
    """The whole scene; tensors of an earlier one in the folder are removed after it."""
    scene.validate()
    tensors = {"sky": scene.sky}
    for index, node in enumerate(scene.nodes.values()):
        tensors |= _tensors(index, node)
    tensors |= {f"exposure.{number}": exposure for number, exposure in enumerate(scene.exposures.values())}
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    facts = SceneFacts(
        tensors=f"gaussians-{digest[:12]}.safetensors", sha256=digest, cameras=tuple(scene.exposures),
        nodes=tuple(_facts(name, node) for name, node in scene.nodes.items()),
    )  # fmt: skip
    write_atomic(folder / facts.tensors, data)
    write_atomic(folder / JSON, facts.model_dump_json(indent=1).encode())
    for old in folder.glob("gaussians-*.safetensors"):
        if old.name != facts.tensors:
            old.unlink()


def _read_facts(path: Path) -> SceneFacts:
    try:
        return SceneFacts.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path, way_out="give the folder of a scene") from error
    except BadJson as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"is no scene: {first['msg']}", file=path, field=field, way_out=AGAIN) from error


def _read_tensors(path: Path, facts: SceneFacts) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != facts.sha256:
            raise DataError("is cut short or altered: its SHA-256 is not what scene.json says", file=path, way_out=AGAIN)
        found: dict[str, Tensor] = load(data)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=path, way_out=AGAIN) from error
    except safetensors.SafetensorError as error:
        raise DataError(f"is no safetensors file: {error}", file=path, way_out=AGAIN) from error
    return found


def _shapes(facts: SceneFacts) -> dict[str, tuple[int, ...]]:
    """What the tensors must be, by name."""
    shapes: dict[str, tuple[int, ...]] = {f"exposure.{number}": (3, 4) for number in range(len(facts.cameras))}
    for index, node in enumerate(facts.nodes):
        n, t = node.gaussians, node.steps
        shapes |= {
            f"{index}.means": (n, 3),
            f"{index}.quaternions": (n, 4),
            f"{index}.log_scales": (n, 3),
            f"{index}.opacity_logits": (n,),
        }
        shapes[f"{index}.sh"] = (n, SH_TERMS[node.degree], 3)
        if t:
            shapes |= {f"{index}.times": (t,), f"{index}.poses": (t, 4, 4), f"{index}.twists": (t, 6)}
        if node.harmonics:
            shapes[f"{index}.sway"] = (n, 2 * node.harmonics, 3)
    return shapes


def _check(tensors: dict[str, Tensor], facts: SceneFacts, path: Path) -> None:
    wanted = _shapes(facts)
    for name in sorted(wanted.keys() | (tensors.keys() - {"sky"}) | {"sky"}):
        if name not in tensors or (name != "sky" and name not in wanted):
            raise DataError("is missing" if name not in tensors else "is not known", file=path, field=name, way_out=AGAIN)
        if name != "sky" and tuple(tensors[name].shape) != wanted[name]:
            raise DataError(f"has shape {tuple(tensors[name].shape)}, not {wanted[name]}", file=path, field=name, way_out=AGAIN)


def _node(index: int, facts: NodeFacts, tensors: dict[str, Tensor]) -> Node:
    parameters = {name: tensors[f"{index}.{name}"] for name in PARAMETERS}
    gaussians = Gaussians(**parameters, groups=torch.zeros(facts.gaussians, dtype=torch.int32))
    track = Track(*(tensors[f"{index}.{name}"] for name in ("times", "poses", "twists"))) if facts.steps else None
    return Node(gaussians, track, facts.category, facts.size, tensors.get(f"{index}.sway"), facts.period)


def read(folder: Path) -> SplatScene:
    """The scene of a folder. ``DataError`` names the file and the field that is missing, unknown, misshapen or not finite."""
    facts = _read_facts(folder / JSON)
    path = folder / facts.tensors
    if path.name != facts.tensors:
        raise DataError("names a file elsewhere", file=folder / JSON, field="tensors", way_out=AGAIN)
    tensors = _read_tensors(path, facts)
    _check(tensors, facts, path)
    nodes = {node.name: _node(index, node, tensors) for index, node in enumerate(facts.nodes)}
    if len(nodes) < len(facts.nodes):
        raise DataError("two nodes have one name", file=folder / JSON, field="nodes", way_out=AGAIN)
    scene = SplatScene(nodes, tensors["sky"], {name: tensors[f"exposure.{k}"] for k, name in enumerate(facts.cameras)})
    try:
        scene.validate()
    except BadValue as error:
        raise DataError(
            f"holds what no scene has: {error.what}", file=path, field=error.context.get("field"), way_out=AGAIN
        ) from error
    return scene
