"""What wetoolkit-learning offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component
from wetoolkit.hooks import hookimpl


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind="policy",
            name="vocabulary-vector",
            domain="any",
            target="wetoolkit_learning.policy:VocabularyVector",
            config="wetoolkit_learning.policy:VocabularyVectorConfig",
            summary="attention over vector tokens -> log-probabilities over a trajectory vocabulary",
            contract="1.1",
        ),
        Component(
            kind="policy",
            name="vocabulary-camera",
            domain="any",
            target="wetoolkit_learning.camera:VocabularyCamera",
            config="wetoolkit_learning.camera:VocabularyCameraConfig",
            summary="pictures by a small convolutional encoder, own state and route -> the same distribution as vocabulary-vector",
            contract="1.1",
        ),
        Component(
            kind="algorithm",
            name="imitation",
            domain="any",
            target="wetoolkit_learning.imitation:Imitation",
            config="wetoolkit_learning.imitation:ImitationConfig",
            summary="cross-entropy to the nearest vocabulary entry, with label smoothing",
            contract="1.1",
        ),
        Component(
            kind="algorithm",
            name="world-engine",
            domain="any",
            target="wetoolkit_learning.world_engine:WorldEngine",
            config="wetoolkit_learning.world_engine:WorldEngineConfig",
            summary="policy gradient over the whole vocabulary with dense rewards and KL to the reference",
            contract="1.1",
        ),
    ]
