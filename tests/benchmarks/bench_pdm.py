"""How long the PDM score takes: simulation, sub-metrics and the whole reward, CPU seconds of one core, best of three.

The readable version stands beside the kernels in the same run, so that the ratio holds on any machine.
"""

import time
from collections.abc import Callable

import numpy as np
from wetoolkit_driving.dynamics import simulate, to_world
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.closed import PdmClosedConfig, plan_closed
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.testing import actor, crossing_world
from wetoolkit_driving.types import AgentClass

from wetoolkit.types import Situation


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds, best of three, after one call to compile."""
    call()
    best = np.inf
    for _ in range(3):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return float(best)


def plans(count: int) -> np.ndarray:
    """Plans [count, 40, 3] of many speeds and curvatures."""
    rng = np.random.default_rng(0)
    speed = np.maximum(8 + np.cumsum(rng.normal(0, 0.2, (count, 40)), 1), 0)  # m/s
    heading = np.cumsum(speed * rng.normal(0, 0.01, (count, 1)) * 0.1, 1)
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * speed[..., None] * 0.1, 1)
    return np.concatenate([xy, heading[..., None]], -1)


def main() -> None:
    rng = np.random.default_rng(1)
    others = [actor(x, y, 0.0, 6.0) for x, y in rng.uniform([-30, -4], [80, 8], (16, 2))]
    others += [actor(x, -6, np.pi / 2, 1.3, AgentClass.PEDESTRIAN) for x in (25.0, 45.0)]
    world = crossing_world(others)
    scene, reward = from_world(world, 20), PdmReward(PdmRewardConfig())
    situation = [Situation("bench", "log", world, 20)]
    print(f"{'N':>6} {'simulate':>10} {'sub-metrics':>12} {'reward':>10}   (ms of CPU, {len(others)} tracks)")
    for count in (1, 256, 8192):
        proposals = plans(count)
        ego = np.repeat(scene.ego[None], count, 0)
        poses = to_world(ego, proposals)
        states = simulate(ego, poses)
        times = [
            seconds(lambda e=ego, p=poses: simulate(e, p)),
            seconds(lambda s=states: kernels.score(scene, s)),
            seconds(lambda p=proposals: reward.score(situation, p)),
        ]
        print(f"{count:6d} {1e3 * times[0]:10.2f} {1e3 * times[1]:12.2f} {1e3 * times[2]:10.2f}")
    ego = np.repeat(scene.ego[None], 32, 0)
    states = simulate(ego, to_world(ego, plans(32)))
    ratio = seconds(lambda: score_readable(scene, states)) / seconds(lambda: kernels.score(scene, states))
    print(f"kernels are {ratio:.0f} times as fast as the readable text (N = 32)")
    print(f"pdm-closed: {1e3 * seconds(lambda: plan_closed(world, 20, PdmClosedConfig())):.2f} ms a scene")


if __name__ == "__main__":
    main()
