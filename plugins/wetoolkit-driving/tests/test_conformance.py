"""The conformance kit: our scorer passes, faults of the field that are put back in do not, bad folders and modules are named."""

import json
import re
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wetoolkit_driving.geometry import boxes_touch, ego_corners
from wetoolkit_driving.pdm import conformance
from wetoolkit_driving.pdm.conformance_cases import Case, read_cases, scene_of, write_case
from wetoolkit_driving.pdm.conformance_made import constant_velocity, make_cases
from wetoolkit_driving.pdm.conformance_properties import in_frame, to_origin, with_objects
from wetoolkit_driving.pdm.conformance_scorer import Scorer, fast, of_module
from wetoolkit_driving.pdm.variants import NAVSIM_1_1, VARIANTS
from wetoolkit_driving.types import Vehicle

from wetoolkit import cli
from wetoolkit.cli.conformance import load_module
from wetoolkit.errors import DataError, PluginError, ValidationError

FAST = fast(NAVSIM_1_1)
score_fast = FAST.function
MUTANTS = Path(__file__).parent / "mutants"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return conformance.made(4)


@pytest.fixture(scope="module")
def folder(cases, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("cases")
    for case in cases[:2]:
        write_case(target / f"{case.name.replace(' ', '_')}.npz", case)
    return target


def failed(scorer: Scorer, cases) -> set[str]:
    rows = list(conformance.check(scorer, cases))
    assert all((row.passed is False) == (row.mismatches > 0 and row.name != "human >= constant velocity") for row in rows)
    return {row.name for row in rows if row.passed is False}


def test_ours_passes_on_made_cases(cases):
    rows = [conformance.coverage(cases), *conformance.check(FAST, cases)]
    assert [row.name for row in rows if row.passed is not True] == []
    by_name = {row.name: row for row in rows}
    assert by_name["nc"].cases == by_name["translation"].cases == 4 * 24
    assert by_name["removing an object"].cases == 4 * 6 * 24
    assert by_name["nc"].milliseconds > 0


@pytest.mark.parametrize("variant", [v for v in VARIANTS.values() if v != NAVSIM_1_1], ids=lambda variant: variant.name)
def test_every_variant_passes_and_differs_from_the_first(variant):
    mine = conformance.made(3, variant)
    rows = [conformance.coverage(mine, variant), *conformance.check(fast(variant), mine, variant)]
    assert [row.name for row in rows if row.passed is not True] == []
    assert set(variant.gates) | set(variant.weights) <= {row.name for row in rows}
    found = list(conformance.compare("fast", mine, [FAST(case) for case in mine], 0.0))
    assert not all(row.passed for row in found)  # the first variant's results are not taken for this one's


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        ("ddc_wrong_axis", {"ddc", "alone and in a batch"}),
        ("nc_bool", {"nc"}),
        ("missing_as_zero", {"missing scenes are left out"}),
        ("perfect_tracking", {"simulated_states", "score"}),
        ("float32_world", {"score", "translation"}),
        ("batch_progress", {"ep", "score", "alone and in a batch"}),
        ("no_things", {"nc", "score"}),
    ],
)
def test_faults_of_the_field_are_caught(mutant, caught_by, cases):
    found = failed(of_module(load_module(str(MUTANTS / f"{mutant}.py"))), cases)
    assert caught_by <= found
    if mutant in ("nc_bool", "missing_as_zero"):
        assert found == caught_by  # and nothing else is blamed


def changed(name: str, value) -> Scorer:
    """Ours with one result changed by a function of (results, case)."""

    def score(case):
        found = score_fast(case)
        return {**found, name: np.broadcast_to(value(found, case), found["score"].shape)}

    return Scorer("changed", score)


@pytest.mark.parametrize(
    ("scorer", "caught_by"),
    [
        (changed("score", lambda r, case: r["score"] * 0.999), "all sub-scores 1: score 1"),
        (changed("score", lambda r, case: np.maximum(r["score"], 1e-3)), "a gate at 0: score 0"),
        (changed("nc", lambda r, case: len(case["obj_type"]) % 2), "removing an object"),
        (changed("nc", lambda r, case: np.arange(len(r["score"])) % 2), "order of proposals"),
        (changed("ttc", lambda r, case: case["obj_type"][0] % 2), "order of objects"),
        (changed("score", lambda r, case: 1 - r["score"]), "human >= constant velocity"),
        (changed("dac", lambda r, case: r["dac"] * (np.sin(case["ego_state"][2]) > 0)), "rotation"),
        (
            Scorer("lax", lambda case: score_fast({**case, "proposals": np.nan_to_num(case["proposals"])})),
            "NaN in a plan has no score",
        ),
    ],
)
def test_every_property_can_fail(scorer, caught_by, cases):
    assert caught_by in {row.name for row in conformance.check(scorer, cases) if row.passed is False}


def test_a_scorer_that_returns_the_score_alone_is_checked_as_far_as_may_be(cases):
    rows = {row.name: row for row in conformance.check(Scorer("bare", lambda case: {"score": score_fast(case)["score"]}), cases)}
    assert rows["score"].passed and rows["rotation"].passed and rows["human >= constant velocity"].passed
    assert {row.note for row in rows.values() if row.passed is None} >= {"not returned", "the module has no mean(scores)"}
    assert rows["nc"].passed is None and rows["nc"].cases == 0


def test_outcomes_that_are_never_due_are_named(cases):
    harmless = [replace(case, expected={**case.expected, "nc": np.ones(case.count)}) for case in cases]
    row = conformance.coverage(harmless)
    assert row.passed is None and "nc = 0.5" in row.note and "nc = 0," in row.note and "dac" not in row.note


def test_made_cases_are_what_they_say(cases):
    again = list(make_cases(2, seed=0))
    assert all(
        (a.inputs[k] == b.inputs[k]).all() for a, b in zip(again, cases, strict=False) for k in a.inputs if k != "obj_corners"
    )
    for case in cases:
        scene = scene_of(case.inputs)
        assert 2 <= case.objects <= 30 and 20 <= len(scene.areas.kind) <= 60
        own = ego_corners(np.concatenate([scene.ego[None, :3], _world(scene.ego, case.human)]), Vehicle())
        hit = boxes_touch(own[:, None], np.where(scene.valid, 1, np.nan)[:41, :, None, None] * scene.boxes[:41]) & scene.valid[:41]
        assert not hit[:, 2:].any()  # the driver hits nobody but, at worst, its leader


def _world(ego, plan):
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    return np.stack(
        [ego[0] + cos * plan[:, 0] - sin * plan[:, 1], ego[1] + sin * plan[:, 0] + cos * plan[:, 1], ego[2] + plan[:, 2]], -1
    )


def test_a_scene_in_another_frame_is_the_same_scene(cases):
    """Distances between the ego and every corner stay, whatever the frame."""
    for case in cases[:2]:
        turned = in_frame(to_origin(case), 1.0, np.array([5.0, 6.0]))
        assert turned.inputs["ego_state"][:2] == pytest.approx([5.0, 6.0])
        for name in ("map_xy", "obj_corners"):
            far = np.linalg.norm(case.inputs[name] - case.inputs["ego_state"][:2], axis=-1)
            assert np.linalg.norm(turned.inputs[name] - [5.0, 6.0], axis=-1) == pytest.approx(far, abs=1e-8, nan_ok=True)
        boxes = turned.inputs["obj_corners"][0]
        front = np.arctan2(*(boxes[:, 0] - boxes[:, 1]).T[::-1])
        there = ~np.isnan(front)
        heading = case.inputs["obj_first_heading"] + 1.0
        assert np.cos(front - heading)[there] == pytest.approx(1.0)


def test_objects_are_taken_out_of_every_array(cases):
    fewer = with_objects(cases[0], np.array([2, 0]))
    assert fewer.inputs["obj_token"].tolist() == ["o2", "o0"] or fewer.objects == 2
    assert fewer.inputs["obj_corners"].shape == (51, 2, 4, 2)
    assert with_objects(cases[0], np.zeros(0, np.int64)).objects == 0
    assert FAST(with_objects(cases[0], np.zeros(0, np.int64)))["nc"].tolist() == [1.0] * 24


def test_constant_velocity_goes_straight_on(cases):
    plan = constant_velocity(cases[0].inputs)
    assert plan[-1] == pytest.approx([4 * cases[0].inputs["ego_state"][3], 0, 0]) and (np.diff(plan[:, 0]) > 0).all()


def test_a_written_case_is_read_again(cases, folder):
    read = list(read_cases(folder))
    assert [case.name for case in read] == ["made_0", "made_1"]
    for mine, case in zip(cases, read, strict=False):
        assert set(case.inputs) == set(mine.inputs) and set(case.expected) == set(mine.expected)
        for name, value in mine.inputs.items():
            assert ((case.inputs[name] == value) | (value != value)).all()
        assert (case.human == mine.human).all()
        with pytest.raises(ValueError, match="read-only"):
            case.inputs["proposals"][0] = 0.0


def test_a_case_that_holds_objects_is_not_written(cases, tmp_path):
    odd = replace(cases[0], inputs={**cases[0].inputs, "obj_token": np.array(["a", None], dtype=object)})
    with pytest.raises(ValidationError, match="obj_token"):
        write_case(tmp_path / "odd.npz", odd)
    assert not (tmp_path / "odd.npz").exists()


def test_tolerances_and_headings():
    due = np.zeros((3, 41, 11))
    due[0, :, 2] = np.pi - 1e-9
    found = due.copy()
    found[0, :, 2] = -np.pi + 1e-9
    found[1, 5, 0] = 2e-6
    found[2, 5, 0] = np.nan
    wrong, gap = conformance.differences("simulated_states", found, due)
    assert wrong.tolist() == [False, True, True] and gap.tolist() == pytest.approx([2e-9, 2e-6, np.inf])
    wrong, _ = conformance.differences("collision_idx", np.array([np.inf, np.inf, 3.0]), np.array([np.inf, 3.0, 3.0]))
    assert wrong.tolist() == [False, True, False]


# The command.


@pytest.fixture
def wetool(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = cli.execute(["conformance", *map(str, args)])
        printed = capsys.readouterr()
        return code, printed.out if "--json" in args else " ".join(printed.out.split()), printed.err

    return run


def test_the_command_passes_us_and_writes_its_table(wetool, folder, tmp_path):
    code, out, _ = wetool("pdms", "--cases", folder)
    assert code == cli.OK and "0 failed" in out and "removing an object" in out
    document = json.loads((tmp_path / "runs" / "conformance" / "reward-pdms.json").read_text())
    assert document["part"] == "reward/pdms" and document["metric"].startswith("pdms-navsim-1.1")
    assert document["versions"]["numpy"] == np.__version__
    assert {row["subject"] for row in document["checks"]} == {"the cases", "kernels", "readable"}
    assert all(row["passed"] is not False for row in document["checks"])


def test_the_command_fails_a_mutant_with_3(wetool, folder, tmp_path):
    code, out, _ = wetool("pdms", "--cases", folder, "--against", MUTANTS / "perfect_tracking.py", "--json", "--out", "t.json")
    document = json.loads(out)
    assert code == cli.FAILED_ITEMS and document == json.loads((tmp_path / "t.json").read_text())
    rows = {row["name"]: row for row in document["checks"]}
    assert rows["simulated_states"]["passed"] is False and rows["simulated_states"]["error"] > 1e-3
    assert rows["missing scenes are left out"]["passed"] is True


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "no such file"),
        ("def score(:", "SyntaxError"),
        ("import nonsense_that_is_nowhere", "nonsense_that_is_nowhere"),
        ("raise SystemExit(0)", "SystemExit"),
        ("x = 1", "no function score"),
        ("def score(case): return case['proposals']", "without 'score'"),
        ("def score(case): return {'score': 1 / 0}", "ZeroDivisionError"),
        ("def score(case): return {'score': [0.5]}", r"shape \(1,\) where \(24,\) is due"),
        ("def score(case): return {'score': ['good'] * 24}", "not numeric"),
        ("def score(case): return {'score': [0.5] * 24, 'speed': 1}", "'speed', which is no result"),
    ],
)
def test_modules_that_cannot_be_checked_are_bad_input(text, what, wetool, folder, tmp_path):
    path = tmp_path / "theirs.py"
    if text is not None:
        path.write_text(text)
    code, out, err = wetool("pdms", "--cases", folder, "--against", path)
    assert code == cli.BAD_INPUT and re.search(what, err) and "way out" in err and not out


NAMED = """
from wetoolkit_driving.pdm.conformance_scorer import fast
from wetoolkit_driving.pdm.variants import NAVSIM_1_1
score = fast(NAVSIM_1_1).function
"""


def test_modules_are_found_by_name_from_here(wetool, folder, tmp_path):
    (tmp_path / "named_scorer.py").write_text(NAMED)
    code, out, _ = wetool("pdms", "--cases", folder, "--against", "named_scorer")
    assert code == cli.OK and "not checked" in out
    assert "cannot be imported" in wetool("pdms", "--against", "no_such_scorer")[2]


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["nonsense"], "nonsense"),
        (["miner/pdms"], "has no conformance kit"),
        (["pdms", "--cases", "nowhere"], "is no folder"),
        (["pdms", "--cases", "."], "holds no .npz file"),
        (["pdms", "--variant", "nonsense"], "variant"),
    ],
)
def test_bad_arguments_are_bad_input(args, what, wetool):
    code, _, err = wetool(*args)
    assert code == cli.BAD_INPUT and what in err


def rewritten(folder: Path, target: Path, **values) -> Path:
    with np.load(folder / "made_0.npz") as file:
        kept = {name: file[name] for name in file.files} | values
    np.savez(target / "case.npz", **{name: value for name, value in kept.items() if value is not None})
    return target


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"obj_corners": None}, "lacks obj_corners"),
        ({"proposals_10hz": np.zeros((24, 8, 3))}, r"shape \(24, 8, 3\)"),
        ({"proposals_10hz": np.zeros((5, 40, 3))}, "24 results for 5 proposals"),
        ({"obj_token": np.array([{"pickled": 1}], object)}, "Object arrays cannot be loaded"),
        ({"variant": np.array("another")}, "no case is of the variant"),
    ],
)
def test_bad_cases_are_named(values, what, folder, tmp_path):
    with pytest.raises(DataError, match=what):
        list(read_cases(rewritten(folder, tmp_path, **values)))


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "case.npz").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_cases(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("ego_state", np.full(11, np.nan), "scene.ego"),
        ("obj_corners", np.zeros((51, 1, 8)), "obj_corners"),
        ("obj_type", np.zeros(99), "scene.kind"),
    ],
)
def test_scenes_that_do_not_fit_together_are_refused(name, value, what, cases):
    with pytest.raises(ValidationError, match=what):
        scene_of({**cases[0].inputs, name: value})


def test_things_need_no_velocity_and_agents_do(cases):
    inputs, things = cases[0].inputs, cases[0].inputs["obj_type"] > 2
    assert things.any()
    still = {**inputs, "obj_first_velocity": np.where(things[:, None], np.nan, inputs["obj_first_velocity"])}
    assert (score_fast(still)["score"] == score_fast(inputs)["score"]).all()
    with pytest.raises(ValidationError, match="first_speed"):
        scene_of({**inputs, "obj_first_velocity": np.full_like(inputs["obj_first_velocity"], np.nan)})


def test_too_few_frames_are_refused(cases):
    short = {name: value[:45] if name in ("obj_corners", "map_red") else value for name, value in cases[0].inputs.items()}
    with pytest.raises(ValidationError, match="45 frames"):
        score_fast(short)


def test_a_box_that_is_nan_in_part_is_refused_not_absent(cases):
    corners = cases[0].inputs["obj_corners"].copy()
    corners[0, 0, 0, 0] = np.nan
    with pytest.raises(ValidationError, match=r"scene\.boxes"):
        scene_of({**cases[0].inputs, "obj_corners": corners})


def test_a_part_without_a_module_to_load_is_no_module():
    with pytest.raises(PluginError, match="has no function score"):
        of_module(types.ModuleType("empty"))
