"""How long the PDM score takes on the 16 parity scenes, where they lie ($WETOOL_DATA, ../shared/data unless set).

Each round times the fast path over all plans and the readable text over a few of them, one after the other, so that a machine with
other work slows both; what is told are medians of CPU milliseconds and their ratio.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table
from wetoolkit_driving import dynamics
from wetoolkit_driving.pdm import kernels
from wetoolkit_driving.pdm.conformance_cases import Case, read_cases, scene_of
from wetoolkit_driving.pdm.score import score_readable
from wetoolkit_driving.pdm.variants import VARIANTS, Variant

FOLDER = Path(os.environ.get("WETOOL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "pdm_parity"
ROUNDS = 5
READABLE = 12  # plans the readable text is given


def cases() -> Iterator[Case]:
    """The scenes, without their proposals at 2 Hz; none where the folder is not there."""
    if FOLDER.is_dir():
        yield from (case for case in read_cases(FOLDER) if not case.name.endswith("2 Hz"))


def spent(call: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def time_scene(case: Case, plans: np.ndarray, variant: Variant) -> dict[str, object]:
    """Medians for plans [N, 40, 3] in one scene, its preparation for the variant included."""
    scene = scene_of(case.inputs)
    poses = dynamics.reference_poses(np.repeat(scene.ego[None], len(plans), 0), plans)
    few, ego = poses[:: max(1, len(poses) // READABLE)], np.repeat(scene.ego[None], len(poses), 0)

    def readable() -> object:
        return score_readable(scene, dynamics.simulate_readable(ego[: len(few)], few), variant)

    kernels.drive(scene, poses[:1], variant)
    rounds = [(spent(lambda: kernels.drive(scene, poses, variant)), spent(readable)) for _ in range(ROUNDS)]
    fast, slow = (median(column) for column in zip(*rounds, strict=True))
    return {
        "scene": case.name, "variant": variant.name, "n": len(plans), "tracks": case.objects, "polygons": len(scene.areas.kind),
        "ms": fast, "worst_ms": max(row[0] for row in rounds), "faster_than_readable": slow / len(few) * len(plans) / fast,
    }  # fmt: skip


def time_all(plans: np.ndarray, names: list[str]) -> list[dict[str, object]]:
    """A row for each scene and variant."""
    return [time_scene(case, plans, VARIANTS[name]) for name in names for case in cases()]


def show(console: Console, rows: list[dict[str, object]]) -> None:
    """One line a scene, the variants side by side, and their medians over the scenes."""
    names = list(dict.fromkeys(str(row["variant"]) for row in rows))
    table = Table("parity scene", "tracks", "polygons", *(f"{name}, ms" for name in names), "x readable")
    for scene in dict.fromkeys(str(row["scene"]) for row in rows):
        own = [row for row in rows if row["scene"] == scene]
        ratio = median(float(str(row["faster_than_readable"])) for row in own)
        cells = [f"{float(str(row['ms'])):.0f}" for row in own]
        table.add_row(scene, str(own[0]["tracks"]), str(own[0]["polygons"]), *cells, f"{ratio:,.0f}")
    for what, of in (("median", median), ("greatest", max)):
        columns = [[float(str(row["ms"])) for row in rows if row["variant"] == name] for name in names]
        table.add_row(what, "", "", *(f"{of(column):.0f}" for column in columns), "")
    console.print(table)


__all__ = ["FOLDER", "cases", "show", "time_all"]
