"""What wetoolkit-minitown offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind="dataset",
            name="minitown",
            domain="driving",
            target="wetoolkit_minitown.dataset:Minitown",
            config="wetoolkit_minitown.dataset:MinitownConfig",
            summary="seeded procedural towns with traffic and rare events; splits share no town",
            contract="1.1",
        ),
        Component(
            kind="reconstructor",
            name="minitown-cameras",
            domain="driving",
            target="wetoolkit_minitown.cameras:Cameras",
            config="wetoolkit_minitown.cameras:CamerasConfig",
            summary="the log's world, looked at by minitown's own ray caster: the truth that other reconstructors are held to",
            contract="1.1",
        ),
    ]
