"""Compare each variant of the PDM score with its own origin on scenes of ours: python tests/peers/compare.py --peers DIR.

Writes what the peers are given, runs ``run_peer.py`` in their environment (PEERS_PYTHON), holds our readable and fast scorers
against the results, prints a table, writes it to build/peers/, and with ``--cases DIR`` writes small numeric cases for the tests.
Peers run beside each other (``--jobs``); each step says when it begins, each scene when its peer is through with it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import cases
import numpy as np
import scenes
import tables
from rich.console import Console
from rich.table import Table
from wetoolkit_driving.dynamics import reference_poses, simulate, simulate_readable
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.aggregate import human_filter, terms_of
from wetoolkit_driving.pdm.closed import WORLD_ENGINE_CLOSED, PdmClosedConfig, plan_closed, propose_now, scores_of
from wetoolkit_driving.pdm.conformance_cases import scene_of
from wetoolkit_driving.pdm.result import NEVER, Marks, ego_progress, total
from wetoolkit_driving.pdm.scene import from_world
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import VARIANTS, Variant

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "navsim-1.1": ("navsim-v1.1", "nuplan-devkit"),
    "epdms-2.2": ("navsim-v2.2", "nuplan-devkit"),
    "world-engine": ("WorldEngine/projects/SimEngine", "nuplan-devkit"),
}
EXACT = ("nc", "dac", "ttc", "ddc", "tlc", "lk", "comfort", "comfort6", "ego_areas", "collision_idx", "ttc_idx", "filtered")
# EP is progress over a few metres; where a car stands, NAVSIM's pseudo-inverse and a direct solve differ by 3e-8 m
TOLERANCE = {"simulated_states": 1e-6, "progress_raw": 1e-6, "ep": 1e-8, "filtered_ep": 1e-8}
Arrays = Mapping[str, Any]
BEGUN = time.monotonic()


def say(text: str) -> None:
    """What happens now, with the seconds since the start."""
    print(f"[{time.monotonic() - BEGUN:4.0f} s] {text}", flush=True)


def run_peer(peer: str, peers: Path, python: str, given: Path, found: Path) -> None:
    """Score every case in ``given`` by the peer's own code."""
    path = os.pathsep.join(str(peers / source) for source in SOURCES.get(peer, SOURCES["epdms-2.2"]))
    command = [python, str(Path(__file__).with_name("run_peer.py")), peer, str(given), str(found)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def ours(case: Arrays, seen: Arrays, variant: Variant, fast: bool) -> dict[str, Any]:
    """Our results for the case, from the boxes, lights and past that the peer saw."""
    inputs = {**case, **{key: seen[key] for key in ("obj_corners", "obj_first_velocity", "map_red") if key in seen}}
    inputs["ego_past"] = seen.get("ego_past", np.zeros((0, 11)))
    scene = scene_of(inputs)
    plans = np.concatenate([case["proposals_10hz"], case["human_10hz"][None]])
    ego = np.repeat(scene.ego[None], len(plans), 0)
    whole = None if variant.name == "world-engine" else int(case["ego_time_us"])
    poses = np.concatenate([reference_poses(ego, plans, time_us=whole), seen["reference"][None, :, :3]])
    ego = np.repeat(scene.ego[None], len(poses), 0)
    states = (simulate if fast else simulate_readable)(ego, poses)
    marks = (kernels.score if fast else score_readable)(scene, states, variant=variant)
    best = marks.masked_progress[-1]
    ep = ego_progress(marks, np.maximum(best, marks.masked_progress))
    return results(marks, ep, states, len(case["proposals_10hz"]))


def results(marks: Marks, ep: np.ndarray, states: np.ndarray, count: int) -> dict[str, Any]:
    """Arrays named as the peers' are."""
    found = {name: getattr(marks, name) for name in ("nc", "dac", "ttc", "ddc", "tlc", "lk", "comfort", "comfort6")}
    found |= {
        "ego_areas": marks.areas,
        "progress_raw": marks.progress,
        "ep": ep,
        "score": total(marks, ep),
        "simulated_states": states,
    }
    found["collision_idx"] = np.where(marks.collision_step == NEVER, np.inf, marks.collision_step)
    found["ttc_idx"] = np.where(marks.ttc_step == NEVER, np.inf, marks.ttc_step)
    rows = terms_of(marks, ep)
    human = rows[count]  # the plan after the proposals is the driver's
    filtered = [human_filter(row, human) for row in rows[:count]]
    found = {name: value[:count] for name, value in found.items()}
    return found | {f"filtered_{name}": np.array([row[name] for row in filtered]) for name in rows[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers", type=Path, required=True, help="folder with navsim-v1.1, navsim-v2.2, WorldEngine, nuplan-devkit"
    )
    parser.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="the peers' interpreter")
    parser.add_argument("--proposals", type=int, default=12, help="plans a scene")
    parser.add_argument("--random", type=int, default=16, help="random scenes")
    parser.add_argument("--town", type=int, default=6, help="windows of the embedded town")
    parser.add_argument("--jobs", type=int, default=2, help="peers that run at once")
    parser.add_argument("--cases", type=Path, help="write small cases here")
    parser.add_argument("--keep", action="store_true", help="use what the peers found last time")
    options = parser.parse_args()
    build = ROOT / "build" / "peers"
    given = build / "given"
    given.mkdir(parents=True, exist_ok=True)
    say(f"making scenes: parity cases, {options.random} random roads, {options.town} windows of the town")
    made = dict(
        chain(
            scenes.parity(options.proposals),
            scenes.random_roads(options.proposals, range(options.random)),
            scenes.town(options.proposals, options.town),
        )
    )
    plans = sum(len(case["proposals_10hz"]) for case in made.values())
    if not options.keep:
        for path in given.glob("*.npz"):
            path.unlink()
        for name, case in made.items():
            np.savez_compressed(given / f"{name}.npz", allow_pickle=False, **case)
    table = Table("variant", "path", "result", "compared", "mismatches", "largest error")
    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        running: dict[str, Future[None]] = {}
        for peer in SOURCES if not options.keep else ():
            say(f"{peer}: its own code is to score {plans} plans of {len(made)} scenes")
            running[peer] = pool.submit(run_peer, peer, options.peers, options.python, given, build / peer)
        for peer in SOURCES:
            if peer in running:
                running[peer].result()
            say(f"{peer}: comparing PDM-Closed, what is observed, the readable and the fast scorer")
            failed += closed(peer, build, table)
            failed += observe(peer, made, build, table)
            for fast in (False, True):
                failed += compare(peer, fast, made, build, table)
    say("epdms-2.2: comparing extended comfort and the two-stage aggregation")
    failed += aggregate(options, made, build, table)
    if options.cases:
        save(options.cases, made, build)
    console = Console(record=True, width=120)
    console.print(table)
    (build / "peers.txt").write_text(console.export_text())
    say(f"{failed} results do not agree" if failed else "all agree")
    return 1 if failed else 0


def observe(peer: str, made: Mapping[str, Arrays], build: Path, table: Table) -> int:
    """What ``from_world`` sees of our worlds against what the peer made of the same samples: boxes, speeds, lights, past."""
    sums: dict[str, list[float]] = {}
    for name, (world, step) in scenes.WORLDS.items():
        with np.load(build / peer / f"{name}.npz", allow_pickle=False) as file:
            seen = {key: file[key] for key in file.files}
        scene = from_world(world, step, variant=VARIANTS[peer])
        frames, column = len(scene.valid), {f"t{k}": i for i, k in enumerate(made[name]["obj_token"])}
        order = [int(np.flatnonzero(made[name]["obj_token"] == f"t{world.agents.ids.index(token)}")[0]) for token in scene.ids]
        corners = np.full((frames, len(column), 4, 2), np.nan)
        corners[:, order] = np.where(scene.valid[..., None, None], scene.boxes, np.nan)
        speed = np.zeros(len(column))
        speed[order] = np.where(scene.kind <= 2, scene.first_speed, 0.0)
        theirs = np.hypot(*seen["obj_first_velocity"].T)
        pairs = {"boxes": (corners, seen["obj_corners"][:frames]), "first speed": (speed, theirs)}
        if VARIANTS[peer].tlc:
            lit = np.zeros_like(seen["map_red"][:frames])
            lit[: len(scene.red)] = scene.red if len(scene.red) else False
            pairs |= {"red lights": (lit * 1.0, seen["map_red"][:frames] * 1.0), "past": (scene.past, seen["ego_past"])}
        for key, (a, b) in pairs.items():
            wrong = (np.isnan(a) != np.isnan(b)) | (np.abs(np.nan_to_num(a) - np.nan_to_num(b)) > 1e-6)
            row = sums.setdefault(key, [0, 0, 0.0])
            worst = float(np.nanmax(np.abs(a - b), initial=0.0))
            row[0], row[1], row[2] = row[0] + a.size, row[1] + int(wrong.sum()), max(row[2], worst)
            if wrong.any():
                print(f"{peer} {name} {key}: {np.argwhere(wrong)[:4].tolist()}")
    for key, (count, bad, worst) in sums.items():
        table.add_row(peer, "observation", key, str(count), str(bad), f"{worst:.1e}")
    return sum(bad > 0 for _, bad, _ in sums.values())


def closed(peer: str, build: Path, table: Table) -> int:
    """Our PDM-Closed against the peer's along the same line: places and headings of the 15 proposals, their scores, the choice."""
    config, variant = WORLD_ENGINE_CLOSED if peer == "world-engine" else PdmClosedConfig(), VARIANTS[peer]
    found: dict[str, list[tuple[int, float]]] = {"places": [], "headings": [], "scores": [], "chosen": []}
    for name, (world, step) in scenes.WORLDS.items():
        with np.load(build / peer / f"{name}.npz", allow_pickle=False) as file:
            theirs, scores, index = file["closed_proposals"][:, :41], file["closed_scores"], int(file["closed_index"])
        mine, scene = propose_now(world, step, config, variant=variant)
        apart = mine - theirs
        found["places"] += [(41, float(np.abs(row).max())) for row in apart[..., :2]]
        found["headings"] += [(41, float(np.abs(np.sin(row)).max())) for row in apart[..., 2]]
        found["scores"] += [(1, float(error)) for error in np.abs(scores_of(mine, scene, variant) - scores)]
        plan = plan_closed(world, step, config, variant=variant)
        found["chosen"].append((1, float(np.abs(plan[:, :2] - theirs[index, :, :2]).max())))
    failed = 0
    for key, rows in found.items():
        bad = sum(error > (1e-9 if key == "scores" else 1e-6) for _, error in rows)
        table.add_row(peer, "PDM-Closed", key, str(sum(n for n, _ in rows)), str(bad), f"{max(error for _, error in rows):.1e}")
        failed += bad > 0
    return failed


def aggregate(options: argparse.Namespace, made: Mapping[str, Arrays], build: Path, table: Table) -> int:
    """Extended comfort and the two-stage aggregation of frames from what NAVSIM v2.2 found."""
    rows = make_tables(made, build)
    folder = build / "tables"
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "aggregate.npz", allow_pickle=False, **rows)
    run_peer("aggregation", options.peers, options.python, folder, build / "aggregation")
    with np.load(build / "aggregation" / "aggregate.npz", allow_pickle=False) as file:
        seen = {key: file[key] for key in file.files if key != "seconds"}
    mine = tables.ours(rows)
    failed = 0
    for key, values in seen.items():
        apart = np.abs(mine[key] - values)
        bad = int((apart > (0 if key == "ec" else 1e-12)).sum())
        table.add_row("epdms-2.2", "aggregation", key, str(len(values)), str(bad), f"{apart.max():.1e}")
        failed += bad > 0
    if options.cases:
        few = {"groups": rows["groups"][:8], "names": rows["names"]}
        used = int(few["groups"].max()) + 1
        few |= {key: rows[key][:used] for key in ("states", "terms", "start", "end", "time")}
        few["states"] = few["states"] * (np.arange(11) >= 2)  # places are not asked for
        (folder / "few").mkdir(exist_ok=True)
        np.savez_compressed(folder / "few" / "aggregate.npz", allow_pickle=False, **few)
        run_peer("aggregation", options.peers, options.python, folder / "few", build / "few")
        with np.load(build / "few" / "aggregate.npz", allow_pickle=False) as file:
            few |= {f"expected_{key}": file[key] for key in file.files if key != "seconds"}
        (options.cases / "aggregate").mkdir(parents=True, exist_ok=True)
        np.savez_compressed(options.cases / "aggregate" / "two_stage.npz", allow_pickle=False, **few)
    return failed


def make_tables(made: Mapping[str, Arrays], build: Path) -> dict[str, Any]:
    """Tables from every scene that NAVSIM v2.2 scored."""
    found = []
    for name in made:
        with np.load(build / "epdms-2.2" / f"{name}.npz", allow_pickle=False) as file:
            found.append({key: file[key] for key in file.files})
    return tables.make(found)


def save(folder: Path, made: Mapping[str, Arrays], build: Path) -> None:
    """Write the cases of the tests: random roads and windows of the town; the parity cases are not ours to copy."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [name for name in made if name.startswith("random")][:4] + [name for name in made if name.startswith("town")][:1]
    for peer in SOURCES:
        for i, name in enumerate(kept):
            with np.load(build / peer / f"{name}.npz", allow_pickle=False) as file:
                cases.write(folder, peer, name, made[name], {key: file[key] for key in file.files}, whole=i == 0)
    for name in (name for name in kept if name in scenes.WORLDS):
        seen = {}
        for peer in SOURCES:
            with np.load(build / peer / f"{name}.npz", allow_pickle=False) as file:
                seen[peer] = {key: file[key] for key in file.files if key.startswith("closed_")}
        cases.write_closed(folder / "closed" / f"{name}.npz", *scenes.WORLDS[name], seen)


def compare(peer: str, fast: bool, made: Mapping[str, Arrays], build: Path, table: Table) -> int:
    """Add a row a result; the number of results that do not agree."""
    sums: dict[str, list[float]] = {}
    for name, case in made.items():
        with np.load(build / peer / f"{name}.npz", allow_pickle=False) as file:
            seen = {key: file[key] for key in file.files}
        mine = ours(case, seen, VARIANTS[peer], fast)
        for key in sorted(mine.keys() & seen.keys()):
            a, b = np.asarray(mine[key], np.float64), np.asarray(seen[key], np.float64)
            if key == "simulated_states":
                a, b = a[..., [0, 1, 2, 3, 5, 7]], b[..., [0, 1, 2, 3, 5, 7]]
            exact = key.startswith(EXACT) and key != "filtered_ep"
            with np.errstate(invalid="ignore"):
                apart = np.where(a == b, 0.0, np.abs(a - b)).reshape(len(a), -1).max(1)
            bad = apart > (0 if exact else TOLERANCE.get(key, 1e-9))
            row = sums.setdefault(key, [0, 0, 0.0])
            row[0], row[1], row[2] = row[0] + len(a), row[1] + int(bad.sum()), max(row[2], float(apart.max(initial=0.0)))
            if bad.any():
                print(f"{peer} {'fast' if fast else 'readable'} {name} {key}: {np.flatnonzero(bad)[:8]}")
    for key, (count, bad, worst) in sums.items():
        table.add_row(peer, "fast" if fast else "readable", key, str(count), str(bad), f"{worst:.1e}")
    return sum(bad > 0 for _, bad, _ in sums.values())


if __name__ == "__main__":
    sys.exit(main())
