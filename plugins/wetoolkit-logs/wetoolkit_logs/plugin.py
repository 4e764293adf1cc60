"""What wetoolkit-logs offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component, Exporter
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
        Component(
            kind="dataset",
            name="argoverse2",
            domain="driving",
            target="wetoolkit_logs.argoverse2.dataset:Argoverse2",
            config="wetoolkit_logs.argoverse2.dataset:Argoverse2Config",
            summary="Argoverse 2 sensor logs and motion-forecasting scenarios",
            contract="1.1",
        ),
        Component(
            kind="dataset",
            name="nuplan",
            domain="driving",
            target="wetoolkit_logs.nuplan.dataset:NuPlan",
            config="wetoolkit_logs.nuplan.dataset:NuPlanConfig",
            summary="nuPlan logs (.db) and maps (.gpkg), 2 to 20 Hz, with sensor files; NAVSIM's filters select splits",
            contract="1.1",
        ),
        Component(
            kind="dataset",
            name="worldengine",
            domain="driving",
            target="wetoolkit_logs.worldengine:WorldEngine",
            config="wetoolkit_logs.worldengine:WorldEngineConfig",
            summary="scenes of World Engine's all_scenarios.pkl",
            contract="1.1",
        ),
    ]


@hookimpl
def exporters() -> list[Exporter]:
    """The formats that recordings can be written in."""
    return [
        Exporter(
            name="scenarionet",
            domain="driving",
            target="wetoolkit_logs.scenarionet_writer:write",
            summary="a ScenarioNet/MetaDrive database: a pickle a scene and its summaries, map and signals included",
        ),
        Exporter(
            name="openscenario",
            domain="driving",
            target="wetoolkit_logs.openscenario.writer:write",
            summary="OpenSCENARIO 1.1 trajectories (.xosc) on OpenDRIVE 1.7 roads (.xodr), for other simulators to replay",
        ),
        Exporter(
            name="nuplan",
            domain="driving",
            target="wetoolkit_logs.nuplan.writer:write",
            summary="nuPlan logs (.db at 20 Hz) beside one map (.gpkg) of all their towns, sensor files where there are any",
        ),
    ]
