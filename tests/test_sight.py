"""Policies that see: recorded pictures in logs, rendered ones in closed loop, their worth, what is said where there are none."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from toy_run import DATA, rows, start, tables

from wetoolkit.branching import Asked, branch
from wetoolkit.errors import ConfigError, DataError, PluginError, ValidationError
from wetoolkit.experience import Shards
from wetoolkit.experiment import Parts, load_experiment, parse_experiment
from wetoolkit.jobs import Loader, RolloutFrames, acted
from wetoolkit.latency import Sample, Stopwatch, latency_table
from wetoolkit.registry import Registry
from wetoolkit.report.gather import gather
from wetoolkit.report.sections import sections
from wetoolkit.sight import Rendered, seen, shown, sight_of
from wetoolkit.store import Store, read_block, read_facts, read_table
from wetoolkit.testing import fakes
from wetoolkit.testing.fake_sight import ToyEyes, ToyEyesConfig, ToyFilmed, ToyFilmedConfig, ToyStudio, ToyStudioConfig, draw
from wetoolkit.types import Glimpse, ObservationSpec, Picture, Rollout, Situation, Step
from wetoolkit.work import Session

LINK = Step("reconstructor/toy-studio", "wetoolkit", "abc")
CAMERAS: dict[str, Any] = {
    "rounds": 1, "dataset": {"use": "toy-filmed", "logs": 3, "per_log": 2}, "policy": {"use": "toy-eyes"},
    "reconstructor": {"use": "toy-studio"}, "pretrain": {"use": "toy-imitation", "passes": 5},
    "algorithm": {"use": "toy-gradient", "passes": 5}, "frames": {"least_trust": 0.3}, "controls": {},
    "evaluate": {"reward": {"use": "toy"}, "seeds": [0], "reconstructors": {"dusk": {"use": "toy-studio", "tint": 60}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eyes") / "run"
    assert start(registry, folder, CAMERAS).complete
    return folder


def filmed(every: int = 1) -> tuple[ToyFilmed, Any]:
    dataset = ToyFilmed(ToyFilmedConfig(logs=1, per_log=1, every=every))
    return dataset, Loader(dataset, Step("dataset/toy-filmed", "", ""), fakes.Toy()).load(dataset.index("rare-test")[0])


def scene_of(scenario: Any, studio: ToyStudio) -> Any:
    scene = studio.reconstruct(scenario, None, 0)
    return replace(scene, lineage=scene.lineage.then(replace(LINK, seed=9)))


def rolled(studio: ToyStudio, horizon: float = 4.0) -> Rollout[Any]:
    weights = np.zeros((6, 12))
    weights[0, 0] = 1.0  # stands still and goes right: off the recorded path
    scene = scene_of(filmed()[1], studio)
    simulator = fakes.ToySimulator(fakes.ToySimulatorConfig()).with_renderers({LINK: studio})
    return acted(simulator, ToyEyes(ToyEyesConfig(), weights), "eyes", [LINK], [scene], [0], horizon)[0]


# Where pictures come from


def test_log_frames_show_what_was_recorded_at_their_step() -> None:
    _, scenario = filmed()
    spec = ToyEyes.spec
    for step in (scenario.clock.now, 9):
        observation = fakes.Toy().observe([scenario.situation(step)], spec)
        observation.validate()
        (picture,) = observation.images["front"]
        due = draw(scenario.world, step)[..., 0].reshape(16, 2, 24, 2).mean((1, 3))
        assert np.abs(picture.decode()[..., 0] - due).mean() < 4
        assert observation.trust is not None and observation.trust.tolist() == [1.0] and observation.arrays == {}


def test_nothing_is_made_that_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, scenario = filmed()
    asked: list[Any] = []
    plain = ToyFilmed.sensors

    def noted(self: ToyFilmed, ref: Any, cameras: Any, steps: Any) -> Any:
        asked.append((cameras, list(steps)))
        return plain(self, ref, cameras, steps)

    monkeypatch.setattr(ToyFilmed, "sensors", noted)
    assert fakes.Toy().observe([scenario.situation(7)], ObservationSpec(fields=("body",))).images == {} and not asked
    fakes.Toy().observe([scenario.situation(7)], replace(ToyEyes.spec, picture_age=1.0))
    assert asked == [(("front",), [5, 6, 7])]


def test_an_old_picture_serves_only_where_the_spec_allows_it() -> None:
    _, scenario = filmed(every=4)
    old = fakes.Toy().observe([scenario.situation(6)], replace(ToyEyes.spec, picture_age=1.0, resolution=(48, 32)))
    np.testing.assert_array_equal(old.images["front"][0].decode(), draw(scenario.world, 4))
    with pytest.raises(DataError, match=r"'front' recorded no picture in the 0\.9 s up to 3 s") as caught:
        fakes.Toy().observe([scenario.situation(6)], replace(ToyEyes.spec, picture_age=0.9))
    assert scenario.id in str(caught.value) and "picture_age" in caught.value.way_out


def test_the_last_renderer_of_a_lineage_shows_the_scene() -> None:
    studio = ToyStudio(ToyStudioConfig())
    scene = scene_of(filmed()[1], studio)
    varied = replace(scene, lineage=scene.lineage.then(Step("behaviour/toy", "", "", 3)))
    sight = sight_of(varied, {LINK: studio})
    assert isinstance(sight, Rendered) and sight.renderer is studio
    with pytest.raises(PluginError, match="nothing renders the cameras front") as caught:
        sight_of(varied, {})(scene.world, 4, ToyEyes.spec)
    assert "reconstructor/toy-studio" in str(caught.value) and scene.id in str(caught.value)


@pytest.mark.parametrize(
    ("sight", "said"),
    [
        (None, "nothing shows what the cameras front see"),
        (lambda world, step, spec: {}, "no picture of the camera 'front'"),
        (lambda world, step, spec: {"front": Glimpse(Picture.of(np.zeros((4, 4, 3), np.uint8)))}, "4x4 pixels of 'front'"),
        (lambda world, step, spec: {"front": Glimpse(Picture.of(np.zeros((16, 24, 3), np.uint8)), 1.5)}, "trust is 1.5"),
    ],
)
def test_a_sight_that_does_not_show_what_was_asked_is_refused(sight: Any, said: str) -> None:
    _, scenario = filmed()
    with pytest.raises((PluginError, ValidationError), match=said):
        seen([Situation("s", "log", scenario.world, 4, sight=sight)], ToyEyes.spec)


def test_trust_is_the_least_over_the_cameras_and_unknown_where_one_does_not_tell() -> None:
    def sight(trust: dict[str, float | None]) -> Any:
        return lambda world, step, spec: {name: Glimpse(Picture.of(np.zeros((2, 2, 3), np.uint8)), t) for name, t in trust.items()}

    spec = ObservationSpec(cameras=("a", "b"), resolution=(2, 2))
    told = [{"a": 0.5, "b": 0.2}, {"a": 0.9, "b": None}, {"a": None, "b": None}]
    found = seen([Situation("s", "log", filmed()[1].world, 4, sight=sight(trust)) for trust in told], spec)
    assert found["trust"].tolist() == [0.2, 0.9, 1.0] and found["trust_known"].tolist() == [True, False, False]


# Rollouts and experience


def test_a_rollout_keeps_what_was_seen_and_how_far_it_can_be_believed() -> None:
    rollout = rolled(ToyStudio(ToyStudioConfig()))
    rollout.validate()
    away = [np.hypot(*(rollout.world.body[t] - filmed()[1].world.body[t])) for t in rollout.decisions]
    np.testing.assert_allclose(rollout.trust, np.exp(-np.array(away)))
    assert rollout.trust[0] == 1 and rollout.trust[-1] < 0.2 and rollout.trust_known.all()
    for picture, step in zip(rollout.images["front"], rollout.decisions, strict=True):
        assert np.abs(picture.decode().astype(int) - draw(rollout.world, int(step), (24, 16))).mean() < 4
    silent = rolled(ToyStudio(ToyStudioConfig(tells=False)))
    assert silent.trust.tolist() == [1.0] * len(silent.decisions) and not silent.trust_known.any()
    assert shown([]) == {}


@pytest.mark.parametrize(("rest", "kept"), [(False, [True, True, False, True, False]), (True, [True, True, False, False, False])])
@pytest.mark.parametrize("stride", [1, 2])
def test_experience_leaves_out_what_is_not_trusted(rest: bool, kept: list[bool], stride: int) -> None:
    rollout = replace(rolled(ToyStudio(ToyStudioConfig()), 5.0), trust=np.array([0.9, 0.5, 0.2, 0.5, 0.4]))
    job = RolloutFrames(fakes.Toy(), ToyEyes.spec, None, LINK, None, 1, False, stride, 0.5, rest)
    assert job.rows(rollout).tolist() == [row for row in range(0, 5, stride) if kept[row]]
    assert job.rows(rollout, kept=False).tolist() == [row for row in range(0, 5, stride) if not kept[row]]
    (block,) = job._frames(rollout)
    assert block.trust.tolist() == rollout.trust[job.rows(rollout)].tolist() and block.observation.trust is None
    assert block.observation.images["front"].tolist() == rollout.images["front"][job.rows(rollout)].tolist()


def test_a_decision_without_its_picture_is_a_clear_error() -> None:
    rollout = replace(rolled(ToyStudio(ToyStudioConfig())), images={})
    with pytest.raises(ValidationError, match="no picture of"):
        fakes.Toy().observe(rollout.situations(), ToyEyes.spec)


# The whole loop


def test_the_loop_runs_on_pictures(run: Path) -> None:
    outcomes = rows(run, "outcomes")
    assert set(outcomes["error"]) == {""}
    driven = outcomes.filter(pl.col("mode") == "closed")
    assert set(driven["policy"]) == {"base", "post-trained", "base in dusk", "post-trained in dusk"}
    assert (driven["looks"] > 0).all() and driven["trust"].is_between(0, 1).all() and driven["trust_unknown"].sum() == 0
    assert outcomes.filter(pl.col("mode") == "open", pl.col("scenes") != "").is_empty()
    (shard, *_) = sorted((run / "experience").glob("experience-1-*.safetensors"))
    assert "front" in next(Shards(shard, world=fakes.ToyWorld).batches(4, None)).observation.images


def test_the_gap_of_the_pictures_is_a_paired_comparison(run: Path) -> None:
    found = rows(run, "comparisons").filter(measure="success", mode="closed")
    assert found.select("a", "b").rows() == [
        ("post-trained", "base"), ("base in dusk", "base"), ("post-trained in dusk", "post-trained"),
        ("post-trained in dusk", "base in dusk"),
    ]  # fmt: skip
    assert found["p_holm"][0] == found["p"][0], "the main question is no family with the gaps"
    assert (found["n"] == 6).all() and found["low"].is_not_null().all()


def test_rejected_decisions_are_counted(run: Path) -> None:
    facts = [read_facts(path) for path in sorted((run / "experience").glob("experience-1-*.safetensors"))]
    rejected, asked = (sum(one.get(name, 0) for one in facts) for name in ("rejected", "asked"))
    rollouts = [
        r for path in sorted((run / "rollouts").glob("*.safetensors")) for r in read_block(path, Rollout, fakes.ToyWorld)[0]
    ]
    trust = np.concatenate([rollout.trust for rollout in rollouts])
    assert 0 < rejected == (trust < 0.3).sum() < asked == len(trust)
    (row,) = rows(run, "trust").filter(pl.col("stage") == "rollout-1").iter_rows(named=True)
    assert (row["looks"], row["rejected"], row["unknown"], row["failed"]) == (asked, rejected, 0, 0)
    assert row["least"] == pytest.approx(trust.min(), abs=1e-6) and row["trusted"] is None
    driven = rows(run, "outcomes").filter(pl.col("mode") == "closed", pl.col("policy") == "base")
    (judged,) = rows(run, "trust").filter(pl.col("policy") == "base").iter_rows(named=True)
    assert judged["rejected"] == driven["distrusted"].sum() and judged["trusted"] == (driven["trust"] >= 0.3).sum()
    good = driven.filter(pl.col("trust") >= 0.3)["success"]
    assert judged["success_trusted"] == (good.mean() if len(good) else None)
    text = {section.title: section.text for section in sections(gather(run))}
    assert f"{rejected} of {asked} decisions were left out" in text["What policies saw, and how far it can be believed"]


def test_latency_stands_beside_the_artefacts(run: Path) -> None:
    table = read_table(run / "latency.parquet")
    assert set(table.select("stage", "part").rows()) == {(s, p) for s in ("rollout-1", "evaluate") for p in ("policy", "render")}
    assert (table["median"] > 0).all() and (table["p95"] >= table["median"]).all()
    driven = table.filter(pl.col("stage") == "rollout-1")
    assert (driven["steps"] == rows(run, "trust")["looks"][0]).all()
    assert "Latency in closed loop" in [section.title for section in sections(gather(run))]


def test_two_workers_and_a_resume_give_the_same(run: Path, registry: Registry, tmp_path: Path) -> None:
    start(registry, tmp_path, {**CAMERAS, "executor": {"use": "process", "workers": 2}}, last="rollout")
    latency = len(read_table(tmp_path / "latency.parquet"))
    assert latency == 2
    start(registry, tmp_path, CAMERAS)
    assert tables(tmp_path) == tables(run)
    one, two = (sorted(path.read_bytes() for path in (folder / "rollouts").glob("*.safetensors")) for folder in (run, tmp_path))
    assert one == two
    assert len(read_table(tmp_path / "latency.parquet")) == latency + 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset": {"use": "toy", "logs": 2}}, "the dataset has no sensors"),
        ({"reconstructor": {"use": "toy"}}, "the reconstructor renders no pictures"),
        ({"evaluate": {"reward": {"use": "toy"}, "reconstructors": {"plain": {"use": "toy"}}}}, "the evaluate renders no pictures"),
    ],
)
def test_parts_that_show_nothing_are_named_before_the_run(
    registry: Registry, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        start(registry, tmp_path, {**CAMERAS, **changes})
    assert "policy/toy-eyes" in str(caught.value) and "front" in str(caught.value)


def test_scenes_that_are_refused_or_not_shown_are_no_score(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ToyStudio.reconstruct

    def gated(self: ToyStudio, scenario: Any, failure: Any, seed: int) -> Any:
        if scenario.id.endswith("/01"):
            raise DataError(
                "held-out pictures have 3.0 dB, at least 20.0 are asked for", scenario=scenario.id, way_out="fit longer"
            )
        return plain(self, scenario, failure, seed)

    def torn(self: ToyStudio, scene: Any, *rest: Any) -> Any:
        if scene.id.startswith("rare-test/000/00"):
            raise DataError("a file of the scene is damaged", scene=scene.id, way_out="fit it again")
        return shows(self, scene, *rest)

    shows = ToyStudio.render
    monkeypatch.setattr(ToyStudio, "reconstruct", gated)
    monkeypatch.setattr(ToyStudio, "render", torn)
    start(registry, tmp_path, {**CAMERAS, "frames": {}, "evaluate": {"reward": {"use": "toy"}}})
    driven = rows(tmp_path, "outcomes").filter(pl.col("mode") == "closed")
    refused = driven.filter(pl.col("id").str.ends_with("/01"))
    assert len(refused) == 6 and refused["total"].is_null().all() and refused["error"].str.contains("3.0 dB").all()
    ledger = dict(read_table(tmp_path / "ledger.parquet").select("stage", "failed").iter_rows())
    failed = rows(tmp_path, "failed").filter(stage="reconstruct")
    assert ledger["reconstruct-1"] == len(failed) > 0
    unseen = driven.filter(pl.col("id") == "rare-test/000/00")
    assert unseen["error"].str.contains("damaged").all() and unseen["success"].is_null().all() and len(unseen) == 2
    assert driven.filter(pl.col("error") == "")["id"].unique().sort().to_list() == ["rare-test/001/00", "rare-test/002/00"]
    trust = {(row["stage"], row["policy"]): row for row in rows(tmp_path, "trust").iter_rows(named=True)}
    assert trust["evaluate", "base"]["failed"] == 4 and trust["evaluate", "base"]["scenes"] == 6
    assert trust["rollout-1", ""]["failed"] > 0 and trust["rollout-1", ""]["rejected"] == 0


def test_a_branch_in_the_records_world_is_seen(run: Path, registry: Registry, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    experiment = load_experiment(folder / "experiment.toml")
    session = Session(experiment, Parts(experiment, registry), Store(folder))
    record = read_block(sorted((folder / "rollouts").glob("*.safetensors"))[0], Rollout, fakes.ToyWorld)[0][0]
    made = branch(session, Asked(record.scene, 1.0, ("post-trained",)))
    assert not made.failed
    for rollout in made.rollouts:
        rollout.validate()
        assert len(rollout.images["front"]) == len(rollout.decisions)
    assert made.rollouts[1].images["front"][0] == record.images["front"][0]


def test_outside_libraries_see_the_pictures(registry: Registry) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    from wetoolkit.environments import EnvConfig, SceneEnv, stage_of

    experiment = parse_experiment({**DATA, **CAMERAS})
    env = SceneEnv(stage_of(experiment, proposals=fakes.WALKS, config=EnvConfig(stop=False), registry=registry))
    assert env.observation_space["image_front"] == gymnasium.spaces.Box(0, 255, (16, 24, 3), np.uint8)
    check_env(env, skip_render_check=True)
    one, _ = env.reset(seed=0, options={"scene": 0})
    two, *_ = env.step(1)
    assert one["image_front"].max() > 200 and not np.array_equal(one["image_front"], two["image_front"])


# Latency


def test_a_stopwatch_changes_neither_parts_nor_answers() -> None:
    studio, policy = ToyStudio(ToyStudioConfig()), ToyEyes(ToyEyesConfig())
    watch = Stopwatch("eyes")
    timed = watch.policy(policy)
    assert type(timed) is ToyEyes and "act" not in vars(policy)
    simulator = watch.simulator(fakes.ToySimulator(fakes.ToySimulatorConfig()), {LINK: studio})
    scene = scene_of(filmed()[1], studio)
    (one,) = simulator.rollout([scene], timed, [0], 4.0)
    plain = fakes.ToySimulator(fakes.ToySimulatorConfig()).with_renderers({LINK: studio})
    (two,) = plain.rollout([scene], policy, [0], 4.0)
    np.testing.assert_array_equal(one.plans, two.plans)
    assert one.id == two.id and one.images["front"].tolist() == two.images["front"].tolist()
    parts = [sample.part for sample in watch.samples()]
    assert parts.count("policy") == parts.count("render") == len(one.decisions), "act calls act_each: it is counted once"


def test_a_call_is_shared_by_its_situations() -> None:
    samples = [Sample("policy", "p", 0.030, 3), Sample("policy", "p", 0.002, 1), Sample("render", "p", 0.5, 1)]
    (policy, render) = latency_table("s", "now", samples).iter_rows(named=True)
    assert (policy["steps"], policy["batch"], policy["median"]) == (4, 2.0, pytest.approx(10.0))
    assert (render["steps"], render["median"], render["p95"]) == (1, pytest.approx(500.0), pytest.approx(500.0))


def test_a_look_is_timed_over_all_its_cameras() -> None:
    watch = Stopwatch("p")
    watch.simulator(fakes.ToySimulator(fakes.ToySimulatorConfig()), {})
    renderer = watch.simulator(fakes.ToySimulator(fakes.ToySimulatorConfig()), {LINK: ToyStudio(ToyStudioConfig())}).renderers[LINK]
    scene = scene_of(filmed()[1], ToyStudio(ToyStudioConfig()))
    for step in (4, 4, 5):
        renderer.render(scene, scene.world, step, "front", (8, 8))
    assert [sample.part for sample in watch.samples()] == ["render", "render"]
