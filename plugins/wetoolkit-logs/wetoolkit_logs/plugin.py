"""What wetoolkit-logs offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind="dataset",
            name="scenarionet",
            domain="driving",
            target="wetoolkit_logs.scenarionet:ScenarioNet",
            config="wetoolkit_logs.scenarionet:ScenarioNetConfig",
            summary="pickled scenarios of ScenarioNet/MetaDrive (nuScenes, Waymo, nuPlan, Argoverse conversions)",
            contract="1.1",
        ),
    ]
