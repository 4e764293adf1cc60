"""The data set: splits, labels, names, the cache, and its contract."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.types import AgentClass
from wetoolkit_minitown import cache
from wetoolkit_minitown.dataset import HISTORY, STEPS, Minitown, MinitownConfig, _drives_of, _log, _presents
from wetoolkit_minitown.events import EVENTS

from wetoolkit.codec import encode
from wetoolkit.errors import DataError, UnknownName
from wetoolkit.kinds import SupportsRecordings
from wetoolkit.testing import DatasetContract
from wetoolkit.types import Ref

MICRO = {
    "train_towns": 1, "val_towns": 1, "test_towns": 1, "train_logs": 2, "fleet_logs": 1, "val_logs": 1, "test_logs": 1,
    "val_staged": 1, "test_staged": 2,
}  # fmt: skip


class TestContract(DatasetContract):
    limit = 2

    def make(self) -> Minitown:
        return Minitown(MinitownConfig(**MICRO, cache="off"))


def test_stems_share_no_town(town_data: Minitown) -> None:
    towns = {split: {ref.log.split("/")[0] for ref in town_data.index(split)} for split in town_data.splits()}
    stems = {stem: set().union(*(t for s, t in towns.items() if s.split("-")[0] == stem)) for stem in ("train", "val", "test")}
    assert all(stems.values())
    assert all(not stems[a] & stems[b] for a, b in combinations(stems, 2))


def test_fleet_and_train_share_no_drive(town_data: Minitown) -> None:
    logs = [{ref.log for ref in town_data.index(split)} for split in ("train", "train-fleet")]
    assert not logs[0] & logs[1]


def test_what_the_fleet_never_meets_is_met_elsewhere_and_nothing_else_changes() -> None:
    config = MinitownConfig(fleet_logs=200, fleet_rare_rate=0.5, cache="off")
    without = config.model_copy(update={"fleet_without": ("jaywalker", "cut-in")})
    for split in ("train", "val-rare", "test-rare"):
        assert _drives_of(without, split) == _drives_of(config, split)
    pairs = list(zip(_drives_of(config, "train-fleet"), _drives_of(without, "train-fleet"), strict=True))
    assert {was.event for was, now in pairs if was.event != now.event} == {"jaywalker", "cut-in"}
    assert {now.event for _, now in pairs} == {"", *EVENTS} - {"jaywalker", "cut-in"}
    assert all(replace(was, event=now.event) == now for was, now in pairs)


def test_common_and_rare_are_what_they_say(town_data: Minitown) -> None:
    assert set(town_data.labels("test-common").values()) == {""}
    rare = Counter(town_data.labels("test-rare").values())
    assert set(rare) == set(EVENTS)
    assert min(rare.values()) >= 3
    assert max(rare.values()) - min(rare.values()) <= 4  # natural drives add a few
    natural = town_data.labels("train")
    assert [ref.id for ref in town_data.index("train")] == list(natural)


def test_nothing_but_labels_tells_what_a_window_is_about(town_data: Minitown) -> None:
    """Names are hashes; nothing in a stored scenario spells an event or a pool."""
    for split in ("test-common", "test-rare"):
        for ref in town_data.index(split)[:6]:
            assert re.fullmatch(r"test-town\d/[0-9a-f]{12}/[0-9a-f]{12}", ref.id)
            scenario = town_data.load(ref)
            assert scenario.world.agents.ids == tuple(f"agent-{n}" for n in range(len(scenario.world.agents)))
            text = str(encode(scenario.world)[1]) + ref.id + ref.log + str(scenario.lineage)
            assert not any(word in text for word in (*EVENTS, "staged", "natural", "rare", "common"))
            assert scenario.clock.now == HISTORY
            assert scenario.world.steps == STEPS


def test_windows_of_an_event_have_it_ahead(town_data: Minitown) -> None:
    """What is staged sets off within 1 s of the present, and the expert has not yet stopped for it."""
    labels = town_data.labels("test-rare")
    for ref in town_data.index("test-rare"):
        ego = town_data.load(ref).world.ego.states
        assert labels[ref.id]
        assert ego[HISTORY, 3] > 3.0
        assert ego[HISTORY:, 3].min() < ego[HISTORY, 3] - 1.0


def test_every_class_is_there_and_nobody_comes_or_goes(town_data: Minitown) -> None:
    kinds: set[int] = set()
    for split in ("train", "test-rare"):
        for ref in town_data.index(split):
            agents = town_data.load(ref).world.agents
            kinds |= set(agents.kind.tolist())
            assert agents.valid.all()
    assert kinds == set(AgentClass)


def test_the_expert_scores_well(town_data: Minitown) -> None:
    """Its recorded future as a plan under the PDM score, whose dynamics and geometry are not ours."""
    reward_module = pytest.importorskip("wetoolkit_driving.pdm.reward")
    from wetoolkit_driving.domain import Driving

    from wetoolkit.types import Situation

    scenarios = [town_data.load(ref) for split in ("train", "test-rare") for ref in town_data.index(split)]
    situations = [Situation(s.id, s.log, s.world, s.clock.now) for s in scenarios]
    plans, known = Driving().demonstrate(situations)
    scores = reward_module.PdmReward(reward_module.PdmRewardConfig()).score(situations, plans[:, None])
    assert known.all()
    assert scores.success.mean() >= 0.95
    assert scores.total.mean() > 0.85


def test_the_route_leads_under_the_ego(town_data: Minitown) -> None:
    for ref in town_data.index("test-common")[:10]:
        world = town_data.load(ref).world
        line = np.vstack([world.map.centre_line(int(lane)) for lane in world.route])
        off = np.hypot(*np.moveaxis(world.ego.states[:, None, :2] - line, -1, 0)).min(1)
        assert off.max() < 1.5  # centre lines have a point every 2 m
        links = set(map(tuple, world.map.successors.tolist()))
        assert all((int(a), int(b)) in links for a, b in zip(world.route[:-1], world.route[1:], strict=True))
        assert world.on_route[world.map.lane_area[world.route]].all()
        assert world.on_route[world.map.lane_roadblock[world.route]].all()


def test_events_are_a_hundredth_of_the_windows_unless_more_are_asked_for() -> None:
    """By drives and windows alone, none of which is recorded: a drive with an event loses the windows after it, on average half."""
    config = MinitownConfig()
    for split in ("train", "train-fleet", "test"):
        drives = _drives_of(config, split)
        staged = sum(bool(drive.event) for drive in drives)
        windows = sum(len(_presents(config, drive, None)) / (2 if drive.event else 1) + bool(drive.event) for drive in drives)
        assert 0.006 < staged / windows < 0.02
    kinds = Counter(drive.event for drive in _drives_of(config, "test-rare") if drive.pool == "staged")
    assert set(kinds) == set(EVENTS) and min(kinds.values()) == max(kinds.values()) == 36


def test_another_process_reads_the_same(empty_folder: Path) -> None:
    """Fresh processes without our cache, at once in one folder, make the same arrays to the bit."""
    town_data = Minitown(MinitownConfig(**MICRO, cache="off"))
    ref = town_data.index("test-rare")[1]
    settings = {**MICRO, "cache": str(empty_folder)}
    script = (
        "import hashlib, sys, json; from wetoolkit.types import Ref; from wetoolkit_minitown.dataset import *\n"
        f"s = Minitown(MinitownConfig(**{settings!r})).load(Ref({ref.id!r}, {ref.split!r}, {ref.log!r}))\n"
        "w = s.world; every = (w.ego.states, w.agents.pose, w.signals, w.map.lane_xy)\n"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in every)).hexdigest())"
    )
    w = town_data.load(ref).world
    mine = hashlib.sha256(b"".join(a.tobytes() for a in (w.ego.states, w.agents.pose, w.signals, w.map.lane_xy))).hexdigest()
    children = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [child.communicate(timeout=300)[0].strip() for child in children] == [mine, mine]
    assert not list(empty_folder.rglob("*.part"))


def test_a_broken_file_in_the_cache_is_made_again(town_data: Minitown, config: MinitownConfig) -> None:
    ref = town_data.index("val-rare")[0]
    before = town_data.load(ref).world.ego.states
    files = list((Path(config.cache) / cache.code_version()).glob("*.safetensors"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    _log.cache_clear()
    assert np.array_equal(town_data.load(ref).world.ego.states, before)


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    data = Minitown(MinitownConfig(**MICRO, cache=str(blocked)))
    data.load(data.index("val-rare")[0]).validate()


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.default_folder() == Path("/somewhere/wetoolkit/minitown")
    assert os.environ["XDG_CACHE_HOME"] == "/somewhere"


def test_a_recording_is_the_drive_that_its_windows_are_cut_from(town_data: Minitown) -> None:
    """Every window lies in its drive: the ego's states and everybody's, once both stand in the town's coordinates."""
    assert isinstance(town_data, SupportsRecordings)
    recordings = town_data.recordings("test-rare")
    assert [ref.id for ref in recordings] == list(dict.fromkeys(ref.log for ref in town_data.index("test-rare")))
    for ref in town_data.index("test-rare")[:3]:
        whole = town_data.recording(Ref(ref.log, ref.split, ref.log))
        part = town_data.load(ref)
        assert whole.clock.now == 0
        assert whole.world.steps > part.world.steps
        shift = np.array(part.origin[:2]) - whole.origin[:2]
        ego = part.world.ego.states[:, :2] + shift
        first = int(np.hypot(*(whole.world.ego.states[:, :2] - ego[0]).T).argmin())
        assert np.allclose(whole.world.ego.states[first : first + STEPS, :2], ego, atol=1e-9)
        theirs = whole.world.agents.pose[:, first : first + STEPS, :2]
        for pose in part.world.agents.pose[..., :2] + shift:
            assert np.abs(theirs - pose).max((1, 2)).min() < 1e-3
        assert set(part.world.map.lane_ids) <= set(whole.world.map.lane_ids)
    with pytest.raises(DataError, match="recordings"):
        town_data.recording(Ref("test-town0/x", "test-rare", "test-town0/x"))


def test_unknown_names_are_clear_errors(town_data: Minitown) -> None:
    with pytest.raises(UnknownName, match="test-rare"):
        town_data.index("test-rares")
    with pytest.raises(DataError, match="index"):
        town_data.load(Ref("test-town0/x/y", "test-rare", "test-town0/x"))
    with pytest.raises(UnknownName, match="jaywalker"):
        Minitown(MinitownConfig(events=("jaywalkers",)))
    with pytest.raises(UnknownName, match="jaywalker"):
        Minitown(MinitownConfig(fleet_without=("jaywalkers",)))


def test_it_travels_to_workers(town_data: Minitown) -> None:
    again = pickle.loads(pickle.dumps(town_data))
    assert again.index("val-rare") == town_data.index("val-rare")


def test_redrawn_drives_are_counted(town_data: Minitown) -> None:
    town_data.index("test-rare")
    counts = town_data.repairs()
    assert set(counts) == {"drives_redrawn", "drives_given_up"}
    assert counts["drives_redrawn"] > 0


def test_drives_made_piece_by_piece_are_those_of_a_listing(tmp_path: Path) -> None:
    """What workers put into the cache is what one process would have recorded itself, and nothing is left to make."""
    made = Minitown(MinitownConfig(**MICRO, cache=str(tmp_path / "made")))
    due = made.pending(["train", "test-rare"])
    pools = Counter((drive.stem, drive.pool) for drive in due)
    assert pools["train", "natural"] == pools["test", "staged"] == 2
    assert all(drive.event for drive in due if drive.stem == "test"), "ordinary test drives have no rare window"
    for drive in reversed(due):
        made.make(drive)
    assert not made.pending(["train", "test-rare"])
    listed = Minitown(MinitownConfig(**MICRO, cache="off"))
    assert not listed.pending(["train", "test-rare"])
    assert list(made.index("test-rare")) == list(listed.index("test-rare"))
    ref = made.index("train")[0]
    ours, theirs = encode(made.load(ref).world)[0], encode(listed.load(ref).world)[0]
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
