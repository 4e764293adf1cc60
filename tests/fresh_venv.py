"""A fresh virtual environment beside the toolkit: build a wheel, install it, use it, uninstall it. No network."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


class FreshVenv:
    """What is installed here is seen there (by a .pth file), not the other way round."""

    def __init__(self, folder: Path):
        self.folder = folder
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        site = Path(self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        here = sysconfig.get_path("purelib")
        (site / "toolkit.pth").write_text(f"import site; site.addsitedir({here!r})\n")

    def run(self, *args, **environment) -> str:
        """The output of the venv's Python with these arguments; it must end well."""
        code, out, err = self.attempt(*args, **environment)
        assert code == 0, f"{args}\n{out[-3000:]}\n{err[-3000:]}"
        return out

    def attempt(self, *args, **environment) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        mine = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), **environment}
        mine.pop("PYTHONPATH", None)
        done = subprocess.run(
            [self.python, *map(str, args)], cwd=self.folder, env=mine, capture_output=True, text=True, timeout=600
        )
        return done.returncode, done.stdout, done.stderr

    def wetool(self, *args, **environment) -> str:
        """The output of `wetool` in the venv."""
        return self.run("-c", "from wetoolkit.cli import main; main()", *args, **environment)

    def install(self, project: Path) -> Path:
        """Build the project's wheel and install it; the wheel."""
        wheels = self.folder / "wheels"
        quiet = ("-q", "--disable-pip-version-check", "--no-index", "--no-deps")
        build = ["-m", "pip", "wheel", *quiet, "--no-build-isolation", "-w", str(wheels), str(project)]
        subprocess.run([sys.executable, *build], check=True, cwd=self.folder, timeout=300)
        (wheel,) = wheels.glob(f"{project.name.replace('-', '_')}-*.whl")
        self.pip("install", *quiet, str(wheel))
        return wheel

    def uninstall(self, distribution: str) -> None:
        """Remove a distribution from the venv."""
        self.pip("uninstall", "-q", "--disable-pip-version-check", "-y", distribution)

    def pip(self, *args: str) -> None:
        """This environment's pip, working on the venv."""
        subprocess.run([sys.executable, "-m", "pip", "--python", str(self.python), *args], check=True, cwd=self.folder, timeout=300)
