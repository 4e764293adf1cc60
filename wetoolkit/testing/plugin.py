"""The toy domain as a plugin: `load_registry(extra_modules=["wetoolkit.testing.plugin"])`."""

from wetoolkit.component import Component, Domain, Kind
from wetoolkit.hooks import hookimpl

_PARTS: tuple[tuple[Kind, str, str, str], ...] = (
    ("dataset", "toy", "fakes:ToyDataset", "walks among moving points, some of which step in the way"),
    ("policy", "toy-softmax", "fake_learning:ToyPolicy", "linear softmax over twelve walks"),
    ("policy", "toy-straight", "fake_learning:ToyStraight", "walks straight on"),
    ("dataset", "toy-filmed", "fake_sight:ToyFilmed", "the toy with a camera"),
    ("policy", "toy-eyes", "fake_sight:ToyEyes", "linear softmax over twelve walks, by what the camera shows"),
    ("reconstructor", "toy-studio", "fake_sight:ToyStudio", "the scenario's own world, and pictures of it with their trust"),
    ("miner", "toy", "fakes:ToyMiner", "scenarios in which the plan hits somebody or gets nowhere"),
    ("reconstructor", "toy", "fakes:ToyReconstructor", "the scenario's own world, cut to the failure"),
    ("behaviour", "toy", "fakes:ToyBehaviour", "shifts the others sideways"),
    ("simulator", "toy", "fakes:ToySimulator", "does what the plan says, replanning every second"),
    ("reward", "toy", "fakes:ToyReward", "keeps clear and gets on"),
    ("algorithm", "toy-imitation", "fake_learning:ToyImitation", "cross-entropy to the nearest walk"),
    ("algorithm", "toy-gradient", "fake_learning:ToyGradient", "exact policy gradient with KL to the reference"),
)


@hookimpl
def domains() -> list[Domain]:
    """A point that walks among moving points."""
    toy, examples = "wetoolkit.testing.fakes:Toy", "wetoolkit.testing.toy_examples:ToyExamples"
    return [Domain("toy", toy, "a point that walks among moving points", examples)]


@hookimpl
def components() -> list[Component]:
    """One part of every kind but the executor."""
    return [
        Component(
            kind=kind,
            name=name,
            domain="toy",
            target=f"wetoolkit.testing.{target}",
            config=f"wetoolkit.testing.{target}Config",
            summary=summary,
            contract="1.1",
        )
        for kind, name, target, summary in _PARTS
    ]
