"""What cameras show in driving: recorded pictures by their time, rendered ones in closed loop and in its branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.policies import ConstantVelocity, ConstantVelocityConfig
from wetoolkit_driving.sensors import Camera, Image, Sensors, Sweep
from wetoolkit_driving.simulator import ClosedLoop, ClosedLoopConfig
from wetoolkit_driving.testing import scenario, scene, straight_world
from wetoolkit_driving.types import World

from wetoolkit.errors import DataError, ValidationError, WetoolkitError
from wetoolkit.record import replay, state_hash
from wetoolkit.sight import sighted
from wetoolkit.testing.showing import CAMERA, Grey, Looker
from wetoolkit.types import ObservationSpec, Picture, Ref, Scene, Step

LINK = Step("reconstructor/grey", "wetoolkit.testing", "")
STEADY = ConstantVelocity(ConstantVelocityConfig())
TIMES = (0.0, 0.45, 0.5, 1.0, 2.0)  # seconds


def shade(time: float) -> int:
    return round(100 * time)


def recorded(folder: Path) -> Sensors:
    """Grey pictures whose shade tells their time, and sweeps at the same times."""
    poses, images = np.eye(4), []
    for time in TIMES:
        path = folder / f"{time}.png"
        path.write_bytes(Picture.of(np.full((8, 16, 3), shade(time), np.uint8), lossless=True).data)
        images.append(Image(CAMERA, time, poses, path))
    camera = Camera(CAMERA, (16, 8), np.diag([20.0, 20.0, 1.0]), np.eye(4))
    sweeps = tuple(Sweep(time, poses, folder / "none", lambda path: np.zeros((0, 4), np.float32)) for time in TIMES)
    found = Sensors((camera,), tuple(images), sweeps)
    found.validate()
    return found


@pytest.mark.parametrize(
    ("seconds", "oldest", "time"),
    [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.49, 0.1, 0.45), (0.9, 0.4, 0.5), (0.9, 0.3, None), (0.44, 0.1, None), (3.0, 5.0, 2.0)],
)
def test_a_picture_is_the_last_one_that_is_young_enough(tmp_path: Path, seconds: float, oldest: float, time: float | None) -> None:
    found = Driving().picture(recorded(tmp_path), CAMERA, seconds, oldest)
    assert (found is None) == (time is None)
    assert found is None or time is None or (found.decode() == shade(time)).all()


def test_pictures_that_cannot_be_had_are_clear_errors(tmp_path: Path) -> None:
    sensors = recorded(tmp_path)
    with pytest.raises(ValidationError, match="no camera 'rear'"):
        sensors.picture("rear", 1.0, 1.0)
    (tmp_path / "1.0.png").unlink()
    with pytest.raises(DataError, match=r"1\.0\.png"):
        sensors.picture(CAMERA, 1.0, 0.1)


def test_sensors_during_some_steps(tmp_path: Path) -> None:
    sensors = recorded(tmp_path)
    assert sensors.during(None) is sensors
    some = sensors.during(range(4, 11))
    assert [image.time for image in some.images] == [sweep.time for sweep in some.sweeps] == [0.45, 0.5, 1.0]
    assert [image.time for image in sensors.during([5]).images] == [0.45, 0.5], "between two steps belongs to the later"


@dataclass(frozen=True)
class Filmed:
    """A data set of one camera."""

    folder: Path

    def sensors(self, ref: Ref, cameras: Sequence[str] | None = None, steps: Sequence[int] | None = None) -> Sensors:
        return recorded(self.folder).during(steps)


def test_log_frames_are_seen_as_they_were_recorded(tmp_path: Path) -> None:
    spec = ObservationSpec(fields=("ego",), cameras=(CAMERA,), resolution=(8, 4), picture_age=0.3)
    given = sighted(scenario(straight_world()), Filmed(tmp_path), Driving())
    seen = Driving().observe([given.situation(5), given.situation(20)], spec)
    seen.validate()
    assert [picture.size for picture in seen.images[CAMERA]] == [(8, 4), (8, 4)]
    assert [int(picture.decode().mean()) for picture in seen.images[CAMERA]] == pytest.approx([shade(0.5), shade(2.0)], abs=1)
    with pytest.raises(DataError, match="no picture in the 0.3 s up to 1.5 s") as caught:  # noqa: RUF043
        Driving().observe([given.situation(15)], spec)
    assert given.id in str(caught.value) and "Filmed" in str(caught.value)


def rendered() -> Scene[World]:
    one = scene(straight_world(speed=6.0), name="s")
    return replace(one, lineage=one.lineage.then(replace(LINK, seed=3)))


def greys(rollout: Any) -> list[int]:
    return [int(picture.decode().mean().round()) for picture in rollout.images[CAMERA]]


def test_a_branch_keeps_what_was_seen_before_it() -> None:
    simulator, one = ClosedLoop(ClosedLoopConfig()).with_renderers({LINK: Grey()}), rendered()
    (record,) = simulator.rollout([one], Looker(STEADY), [0])
    assert greys(record) == [Grey.shade(record.world, int(step)) for step in record.decisions]
    (branch,) = simulator.branch([one], [record], [33], Looker(STEADY), [0])
    assert greys(branch) == [Grey.shade(branch.world, int(step)) for step in branch.decisions]
    np.testing.assert_allclose(branch.trust, np.array(greys(branch)) / 255)
    (blind,) = simulator.branch([one], [record], [33], STEADY, [0])
    assert blind.images == {} and blind.trust.tolist()[:2] == record.trust.tolist()[:2] and blind.trust[-1] == 1
    assert state_hash(replay(simulator, one, record)) == state_hash(record)


def test_who_is_led_from_outside_sees_the_same() -> None:
    simulator, one = ClosedLoop(ClosedLoopConfig()).with_renderers({LINK: Grey()}), rendered()
    drive = simulator.begin([one], [0])
    seen = Driving().observe(drive.situations(), Looker(STEADY).spec)
    assert int(seen.images[CAMERA][0].decode().mean().round()) == Grey.shade(one.world, one.clock.now)


def test_a_scene_that_nobody_renders_names_policy_camera_and_maker() -> None:
    with pytest.raises(WetoolkitError, match=f"the policy gave no plan: nothing renders the cameras {CAMERA}") as caught:
        ClosedLoop(ClosedLoopConfig()).rollout([rendered()], Looker(STEADY), [0])
    said = str(caught.value)
    assert "policy: Looker" in said and "made by: reconstructor/grey" in said and "a policy without cameras" in said


def test_reactors_and_renderers_do_not_forget_each_other() -> None:
    both = ClosedLoop(ClosedLoopConfig()).with_renderers({LINK: Grey()}).with_reactors({})
    assert list(both.renderers) == [LINK] and list(both.with_renderers({}).reactors) == []
