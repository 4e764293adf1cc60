"""What wetoolkit-crowd offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component, Domain, Kind
from wetoolkit.hooks import hookimpl

_PARTS: tuple[tuple[Kind, str, str, str], ...] = (
    ("dataset", "plaza", "plaza:Plaza", "a synthetic crowd around a robot, with rare events, from one seed"),
    ("dataset", "eth-ucy", "eth_ucy:EthUcy", "tracks of people in metres, in the text format of ETH and UCY"),
    ("policy", "crowd-straight", "straight:CrowdStraight", "walks straight towards the goal"),
    ("policy", "crowd-vocabulary", "vocabulary:CrowdVocabulary", "attention over people and walls -> a vocabulary of walks"),
    ("miner", "crowd", "miner:CrowdMiner", "plans that run into somebody, crowd somebody or get nowhere"),
    ("reconstructor", "crowd-replay", "scenes:CrowdReplay", "an interactive world from the recording"),
    ("behaviour", "social-force", "scenes:SocialForce", "people walk by social forces, with habits drawn per variant"),
    ("simulator", "crowd-loop", "simulator:CrowdLoop", "holonomic or unicycle robot among people who react, replanning at 2.5 Hz"),
    ("reward", "crowd", "reward:CrowdReward", "nobody run into, personal space, progress and smoothness"),
)


EXAMPLES = "wetoolkit_crowd.examples:CrowdExamples"


@hookimpl
def domains() -> list[Domain]:
    """The domain of a robot among people."""
    return [Domain("crowd", "wetoolkit_crowd.domain:Crowd", "a mobile robot among people: plans are 16 poses of 0.2 s", EXAMPLES)]


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind=kind,
            name=name,
            domain="crowd",
            target=f"wetoolkit_crowd.{target}",
            config=f"wetoolkit_crowd.{target}Config",
            summary=summary,
            contract="1.1",
        )
        for kind, name, target, summary in _PARTS
    ]
