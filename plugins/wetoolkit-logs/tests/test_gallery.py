"""A picture from above of every real recording at hand, in build/gallery, to be looked at; who is on the road in nuScenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.types import AgentClass, AreaKind, World
from wetoolkit_logs.argoverse2.dataset import Argoverse2, Argoverse2Config
from wetoolkit_logs.scenarionet import ScenarioNet, ScenarioNetConfig

from wetoolkit.film import write_sheet

pytestmark = pytest.mark.realdata
GALLERY = Path(__file__).parents[3] / "build" / "gallery"
DRIVABLE = (AreaKind.ROADBLOCK, AreaKind.INTERSECTION, AreaKind.CARPARK)


def reader(kind: str, root: Path) -> Any:
    if kind == "nuscenes":
        place = root / "scenarionet_nuscenes"
        return ScenarioNet(ScenarioNetConfig(folder=str(place), splits={"train": ["scene-*"]}, cache=False, radius=1000))
    return Argoverse2(Argoverse2Config(folder=str(root / kind), splits={"train": ["*"]}, cache=False, radius=1000))


def on_the_road(world: World, slowest: float) -> float:
    """The share of vehicles' centres, over all steps at which they go at least so fast [m/s], that are on a drivable area."""
    areas = [shapely.Polygon(world.map.area(i)) for i, kind in enumerate(world.map.area_kind) if kind in DRIVABLE]
    agents = world.agents
    speed = np.hypot(agents.velocity[..., 0], agents.velocity[..., 1])
    chosen = agents.valid & (agents.kind == AgentClass.VEHICLE)[:, None] & (speed >= slowest)
    return float(shapely.contains_xy(shapely.union_all(areas), *agents.pose[chosen][:, :2].astype(float).T).mean())


@pytest.mark.parametrize(("kind", "count"), [("nuscenes", 6), ("av2_logs", 2), ("av2_forecasting", 1)])
def test_pictures_of_all_recordings(nuscenes: Path, kind: str, count: int) -> None:
    data = reader(kind, nuscenes.parent)
    refs = data.recordings("train")
    assert len(refs) == count
    for ref in refs:
        scenario = data.recording(ref)
        picture = Driving().view(scenario, scenario.world.steps // 2, None)
        write_sheet(GALLERY / f"{kind}-{ref.id[:13]}.png", [picture])
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 8  # road, lanes, the ego and others have colours of their own


def test_vehicles_of_nuscenes_that_drive_are_on_the_road(nuscenes: Path) -> None:
    """Parked ones are often beside it: car parks are not in these files. All of them: 0.35 to 0.96, printed."""
    data = reader("nuscenes", nuscenes.parent)
    for ref in data.recordings("train"):
        world = data.recording(ref).world
        moving, every = on_the_road(world, 1.0), on_the_road(world, 0.0)
        print(f"{ref.id}: {moving:.4f} of those faster than 1 m/s, {every:.4f} of all")
        assert moving > 0.9 and every > 0.3
