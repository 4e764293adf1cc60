"""A plugin of tests: a data set that reads ``*.toy`` files (JSON lists of numbers), and a format that writes them."""

import json
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from wetoolkit.component import Component, Domain, Exporter
from wetoolkit.config import Config
from wetoolkit.errors import DataError
from wetoolkit.hooks import hookimpl
from wetoolkit.store import write_atomic
from wetoolkit.testing.fakes import ToyDataset, ToyDatasetConfig
from wetoolkit.types import Defect, Ref


class ToyFilesConfig(Config):
    """Where the files are."""

    folder: str = Field(description="folder of *.toy files")
    strict: bool = Field(False, description="take no file with a negative number")


class ToyFiles:
    """One recording and one window a file; the worlds are the toy's own, drawn by the file's first number."""

    def __init__(self, config):
        self.config = config
        self._toy = ToyDataset(ToyDatasetConfig())

    @classmethod
    def recognise(cls, path):
        return {"folder": str(path)} if path.is_dir() and any(path.glob("*.toy")) else None

    def inspect(self):
        return {"format": "toy files", "files": str(len(self._files()))}

    def defects(self):
        for path in self._files():
            try:
                self._read(path.stem)
            except DataError as error:
                yield Defect(path.name, "", error.what, "refused")

    def splits(self):
        return ("all",)

    def index(self, split):
        return [Ref(f"{path.stem}/0", split, path.stem) for path in self._files()]

    def load(self, ref):
        self._read(ref.log)
        return replace(self._toy.load(self._toy.index("val")[0]), id=ref.id, split=ref.split, log=ref.log)

    def recordings(self, split):
        return [Ref(path.stem, split, path.stem) for path in self._files()]

    def recording(self, ref):
        loaded = self.load(ref)
        return replace(loaded, clock=replace(loaded.clock, now=0))

    def sensors(self, ref, cameras=None):
        return {"seen": ref.id}

    def _files(self):
        return sorted(Path(self.config.folder).glob("*.toy"))

    def _read(self, stem):
        path = Path(self.config.folder) / f"{stem}.toy"
        try:
            numbers = json.loads(path.read_text())
        except ValueError as error:
            raise DataError("is no JSON", file=path, way_out="write it again") from error
        if self.config.strict and min(numbers) < 0:
            raise DataError("a negative number", file=path, way_out="strict = false takes it")
        return numbers


def write(recordings, folder, sensors, progress):
    """One file a recording: its steps, or what the sensors saw of it."""
    paths = []
    for done, recording in enumerate(recordings, 1):
        paths.append(folder / f"{recording.id}.toy")
        said = sensors(recording) if sensors else [recording.clock.steps]
        write_atomic(paths[-1], json.dumps(said).encode())
        if progress:
            progress(done, 0, recording.id)
    return paths


@hookimpl
def components():
    return [Component("dataset", "toy-files", "toy_files:ToyFiles", "toy_files:ToyFilesConfig", "reads *.toy files", "toy")]


@hookimpl
def exporters():
    return [
        Exporter("toy-files", "toy_files:write", "writes *.toy files", "toy"),
        Exporter("ashore", "toy_files:write", "a format of a domain that nobody defines", "land"),
        Exporter("elsewhere", "toy_files:write", "a format of another domain", "sea"),
    ]


@hookimpl
def domains():
    return [Domain("sea", "wetoolkit.testing.fakes:Toy", "another domain")]
