"""minitown in figures: how fast windows are made, how often each event comes about, how well the expert drives. One core, no cache.

``python tests/benchmarks/bench_minitown.py [most windows a split]``: 1000 unless given. The score is `pdms` navsim-1.1 of the
recorded future of each window.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import numpy as np
from wetoolkit_driving.domain import Driving
from wetoolkit_driving.pdm.reward import PdmReward, PdmRewardConfig
from wetoolkit_minitown.cast import Density
from wetoolkit_minitown.dataset import Minitown, MinitownConfig
from wetoolkit_minitown.events import EVENTS
from wetoolkit_minitown.log import attempted
from wetoolkit_minitown.place import Place

from wetoolkit.types import Ref, Scenario, Situation

SPLITS = ("train", "test-rare", "test-common")
DRAWN, TOWNS = 40, 4  # draws of each event, over so many towns
GOOD, CHUNK = 0.9, 32


def speed(data: Minitown, most: int) -> None:
    """Windows and CPU seconds by split, drives recorded anew."""
    total = windows = 0.0
    for split in SPLITS:
        begun = time.process_time()
        refs = data.index(split)[:most]
        for ref in refs:
            data.load(ref)
        taken = time.process_time() - begun
        total, windows = total + taken, windows + len(refs)
        say(f"{split:24s} {len(refs):5d} windows {taken:7.2f} CPU s {1000 * taken / len(refs):8.1f} s per thousand")
    say(f"{'all':24s} {windows:5.0f} windows {total:7.2f} CPU s {1000 * total / windows:8.1f} s per thousand (limit 120)")


def yields() -> None:
    """How many of the first draws of each event come about, are a conflict and are solved."""
    places = [Place.build(f"town{n}", (9, n)) for n in range(TOWNS)]
    for event in EVENTS:
        begun = time.process_time()
        drawn = [attempted(places[n % TOWNS], (9, n), Density(55, 12, 30), event, 30.0, 0) for n in range(DRAWN)]
        found = sum(log is not None for log in drawn)
        say(f"{event:24s} {found:5d} of {DRAWN} draws {1000 * (time.process_time() - begun) / DRAWN:6.1f} CPU ms a draw")


def expert(data: Minitown, split: str, most: int) -> None:
    """The expert's score in a split, by kind of window."""
    refs = data.index(split)
    refs = [refs[i * len(refs) // most] for i in range(most)] if most < len(refs) else list(refs)
    reward, labels = PdmReward(PdmRewardConfig()), data.labels(split)
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for start in range(0, len(refs), CHUNK):
        part = refs[start : start + CHUNK]
        situations = [situation(data, ref) for ref in part]
        plans, _ = Driving().demonstrate(situations)
        found = reward.score(situations, plans[:, None])
        for ref, total, nc in zip(part, found.total[:, 0], found.terms["nc"].values[:, 0], strict=True):
            scores[labels[ref.id] or "ordinary"].append((float(total), float(nc)))
    everything = [row for rows in scores.values() for row in rows]
    for name, rows in [*sorted(scores.items()), ("all", everything)]:
        totals, nc = np.array(rows).T
        say(f"{split:12s} {name:24s} {len(rows):5d} windows {100 * (totals > GOOD).mean():6.1f} % above {GOOD} "
            f"mean {totals.mean():.3f} at-fault collisions {(nc < 1).sum()}")  # fmt: skip


def situation(data: Minitown, ref: Ref) -> Situation:
    """A window as the reward takes it."""
    scenario: Scenario = data.load(ref)
    return Situation(scenario.id, scenario.log, scenario.world, scenario.clock.now)


def say(line: str) -> None:
    """One line of the bench's output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print all three parts; what is compiled first is not counted."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    begun = time.process_time()
    data = Minitown(MinitownConfig(cache="off"))
    data.load(data.index("val")[0])
    say(f"compiling, first window: {time.process_time() - begun:.1f} CPU s")
    speed(data, most)
    yields()
    for split in ("train", "test-rare"):
        expert(data, split, most)


if __name__ == "__main__":
    main()
