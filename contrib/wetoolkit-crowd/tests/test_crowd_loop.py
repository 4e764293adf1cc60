"""The whole loop in a crowd; that nothing of driving is imported; and the wheel beside the toolkit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
from fresh_venv import FreshVenv
from wetoolkit_crowd.examples import write_recordings

from wetoolkit.experiment import load_experiment
from wetoolkit.pipeline import run
from wetoolkit.registry import load_registry

DRIVING = ("wetoolkit_driving", "wetoolkit_logs", "wetoolkit_minitown", "shapely")
HOME = Path(__file__).resolve().parents[1]
DOCS = HOME.parents[1] / "docs"
SMALL = [  # the experiment of the docs, a few scenarios of everything
    "limits.pretrain=36", "limits.mine=60", "limits.common=6", "limits.rare=8", "limits.failures=8", "chunk=12",
    "dataset.train=4", "dataset.field=60", "dataset.test=2", "dataset.test_rare=8", "policy.width=16", "policy.heads=2",
    "policy.vocabulary.size=24", "pretrain.steps=20", "pretrain.validation=0.0", "algorithm.steps=20",
    "algorithm.validation=0.0", "controls.imitation.steps=5", "evaluate.horizon=3.2",
]  # fmt: skip
WHOLE = """
import sys
from pathlib import Path
from wetoolkit.experiment import load_experiment
from wetoolkit.pipeline import run
from wetoolkit.registry import load_registry
finished = run(load_experiment(Path(sys.argv[1]), sys.argv[3:]), load_registry(), Path(sys.argv[2]))
assert finished.complete and not len(finished.failed), finished.failed
import wetoolkit_crowd
print(wetoolkit_crowd.__file__)
print(sorted(name for name in sys.modules if name.split(".")[0] in ("wetoolkit_driving", "wetoolkit_logs", "wetoolkit_minitown")))
"""


def test_the_loop_runs_on_people_in_their_own_text_format(tmp_path: Path) -> None:
    """A recording of the ETH/UCY format as the data set: mined, rolled out, trained on and judged."""
    settings = [
        f'dataset={{use="eth-ucy", folder="{write_recordings(tmp_path)}", splits={{train=["zara*"], test=["eth"]}}, future=6.4}}'
    ]
    settings.append("policy.vocabulary.size=10")  # people who walk straight on give few distinct futures
    settings.append("miner.least_progress=1.0")  # nobody is in danger in these recordings
    names = {"pretrain": "train", "mine": "train", "common": "test", "rare": "test"}
    settings += [f'splits.{name}="{split}"' for name, split in names.items()]
    experiment = load_experiment(
        DOCS / "crowd.toml", [*(s for s in SMALL if not s.startswith("dataset")), *settings, 'executor.use="serial"']
    )
    finished = run(experiment, load_registry(), tmp_path / "run")
    assert finished.complete and not len(finished.failed)
    results = pl.read_parquet(tmp_path / "run" / "tables" / "results.parquet")
    assert {"base", "post-trained", "imitation", "crowd-straight"} <= set(results["policy"])


def test_no_module_imports_anything_of_driving() -> None:
    modules = sorted(path.stem for path in (HOME / "wetoolkit_crowd").glob("*.py") if path.stem != "__init__")
    code = "import sys\n" + "".join(f"import wetoolkit_crowd.{name}\n" for name in modules)
    code += f"print([name for name in sys.modules if name.split('.')[0] in {DRIVING}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_its_wheel_runs_the_loop_beside_the_toolkit_and_goes_again(tmp_path: Path) -> None:
    """Installed in a fresh environment, with the plugins of driving hidden; nothing of driving is imported by any stage."""
    fresh, plugins = FreshVenv(tmp_path), {"WETOOLKIT_PLUGINS": "wetoolkit,wetoolkit-learning,wetoolkit-crowd"}
    fresh.install(HOME)
    assert "personal" in fresh.wetool("plugins", "reward/crowd", **plugins)
    said = fresh.run("-c", WHOLE, DOCS / "crowd.toml", tmp_path / "run", *SMALL, 'executor.use="serial"', **plugins)
    where, strange = said.splitlines()[-2:]
    assert Path(where).is_relative_to(tmp_path / "venv") and strange == "[]"
    outcomes = pl.read_parquet(tmp_path / "run" / "tables" / "outcomes.parquet")
    assert set(outcomes["metric"]) == {"crowd-1.0"} and set(outcomes["error"]) == {""}
    fresh.uninstall("wetoolkit-crowd")
    assert not [path for path in (tmp_path / "venv").rglob("wetoolkit_crowd*/*") if path.suffix in (".py", "") and path.is_file()]
