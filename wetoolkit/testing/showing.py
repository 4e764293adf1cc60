"""What reconstructors promise besides where they render (``SupportsRender``), and simulators where they show it to policies
(``SupportsRenderers``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wetoolkit.errors import WetoolkitError
from wetoolkit.kinds import Policy, SupportsRender, SupportsRenderers
from wetoolkit.testing.compare import difference
from wetoolkit.testing.contracts import Contract, promise, skip
from wetoolkit.types import Array, Observation, Plan, Scene, Step

CAMERA, SIZE = "front", (16, 8)  # pixels


class RenderingContract(Contract):
    """Looks at the scenes that the reconstructor makes of ``scenarios``, in half the size of their cameras."""

    def scenarios(self) -> Sequence[Any]:
        return self.given("def scenarios(self): return [...]").scenarios()

    def another_future(self, world: Any, step: int) -> Any:
        """The world with everything after ``step`` changed; None leaves that promise out."""
        return self.examples.another_future(world, step) if self.examples else None

    def _shown(self) -> tuple[Any, Scene[Any]]:
        """The part and a scene of its own; those that render nothing leave the promise out."""
        part = self.make()
        if not isinstance(part, SupportsRender):
            skip("renders no pictures")
        return part, part.reconstruct(self.scenarios()[0], None, 0)

    def _looks(self, part: Any, scene: Scene[Any], world: Any = None) -> Iterator[tuple[str, tuple[int, int], Mapping[str, Array]]]:
        for camera, (width, height) in part.cameras(scene).items():
            size = max(width // 2, 1), max(height // 2, 1)
            yield camera, size, part.render(scene, scene.world if world is None else world, scene.clock.now, camera, size)

    def test_pictures_are_as_asked(self) -> None:
        name, count = "pictures are as asked", 0
        for camera, (width, height), seen in self._looks(*self._shown()):
            count += 1
            rgb = seen.get("rgb", np.zeros(0))
            promise(rgb.shape == (height, width, 3) and rgb.dtype == np.uint8, name, f"{camera}: rgb {rgb.dtype} {rgb.shape}")
            for key, shape, most in (("depth", (height, width), np.inf), ("trust", (height, width), 1), ("frame_trust", (), 1)):
                values = np.asarray(seen.get(key, np.zeros(shape)))
                promise(values.shape == shape, name, f"{camera}: {key} {values.shape}, {shape} was due")
                good = bool((np.isfinite(values) & (values >= 0) & (values <= most)).all())
                promise(good, name, f"{camera}: {key} from {values.min()} to {values.max()}")
        promise(count > 0, name, "cameras() names none")

    def test_equal_looks_give_equal_pictures(self) -> None:
        part, scene = self._shown()
        first = [dict(seen) for *_, seen in self._looks(part, scene)]
        for again in (part, self.make()):
            found = difference(first, [dict(seen) for *_, seen in self._looks(again, scene)])
            promise(not found, "equal looks give equal pictures", found)

    def test_pictures_do_not_show_the_future(self) -> None:
        part, scene = self._shown()
        other = self.another_future(scene.world, scene.clock.now)
        if other is None:
            return skip("another_future() is not given")
        now, changed = ([dict(seen) for *_, seen in self._looks(part, scene, world)] for world in (scene.world, other))
        found = difference(now, changed)
        return promise(not found, "pictures do not show the future", found)

    def test_an_unknown_camera_is_a_clear_error(self) -> None:
        part, scene = self._shown()
        name, strange = "an unknown camera is a clear error", "no-such-camera"
        try:
            part.render(scene, scene.world, scene.clock.now, strange, SIZE)
        except WetoolkitError as error:
            promise(strange in str(error), name, "the error does not name the camera")
        except Exception as error:  # noqa: BLE001 - any other error is the broken promise
            promise(False, name, f"{type(error).__name__}: {error}")
        else:
            promise(False, name, "it was rendered")


class ShowingContract(Contract):
    """Lets a simulator drive ``scenes`` with a renderer of one colour and a policy that looks."""

    horizon: float = 4.0

    def scenes(self) -> Sequence[Scene[Any]]:
        return self.given("def scenes(self): return [...]").scenes()

    def policy(self) -> Policy[Any]:
        return self.given("def policy(self): return MyPolicy(...)").policy()

    def test_policies_see_what_is_rendered(self) -> None:
        name, part, link = "policies see what is rendered", self.make(), Step("reconstructor/grey", "wetoolkit.testing", "")
        if not isinstance(part, SupportsRenderers):
            return skip("shows no pictures")
        scenes = [replace(scene, lineage=scene.lineage.then(replace(link, seed=5))) for scene in self.scenes()]
        looker = Looker(self.policy())
        simulator: Any = part.with_renderers({link: Grey()})
        rollouts = simulator.rollout(scenes, looker, list(range(len(scenes))), self.horizon)
        for rollout in rollouts:
            shown = rollout.images.get(CAMERA, np.zeros(0))
            promise(
                len(shown) == len(rollout.decisions), name, f"{rollout.id}: {len(shown)} for {len(rollout.decisions)} decisions"
            )
            greys = [int(picture.decode().mean().round()) for picture in shown]
            due = [Grey.shade(rollout.world, int(step)) for step in rollout.decisions]
            promise(greys == due, name, f"{rollout.id}: greys {greys}, rendered were {due}")
            told = rollout.trust_known.all() and np.allclose(rollout.trust, [shade / 255 for shade in due])
            promise(bool(told), name, f"{rollout.id}: trust {rollout.trust[:4]}, told were {[shade / 255 for shade in due][:4]}")
        return None


class Grey:
    """Renders anything in a shade that tells the step."""

    @staticmethod
    def shade(world: Any, step: int) -> int:
        """0 to 252."""
        return 4 * (step % 64)

    def cameras(self, scene: Scene[Any]) -> Mapping[str, tuple[int, int]]:
        """One."""
        return {CAMERA: SIZE}

    def render(self, scene: Scene[Any], world: Any, step: int, camera: str, resolution: tuple[int, int]) -> Mapping[str, Array]:
        """A picture all of one grey, trusted the more the lighter it is."""
        shade = self.shade(world, step)
        return {"rgb": np.full((resolution[1], resolution[0], 3), shade, np.uint8), "frame_trust": np.array(shade / 255)}


class Looker:
    """Somebody who acts as another does, and looks besides."""

    def __init__(self, policy: Policy[Any]) -> None:
        self.policy = policy
        self.spec = replace(policy.spec, cameras=(CAMERA,), resolution=SIZE)

    def act(self, observation: Observation[Any], seed: int) -> Plan:
        """What the other answers."""
        observation.validate()
        return self.policy.act(replace(observation, images={}, trust=None, trust_known=None), seed)


__all__ = ["Grey", "Looker", "RenderingContract", "ShowingContract"]
