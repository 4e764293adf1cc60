"""What wetoolkit-driving offers, by name only: nothing heavy is imported here."""

from wetoolkit.component import Component, Domain
from wetoolkit.hooks import hookimpl


@hookimpl
def domains() -> list[Domain]:
    """The domain of road vehicles."""
    driving, examples = "wetoolkit_driving.domain:Driving", "wetoolkit_driving.examples:DrivingExamples"
    return [Domain("driving", driving, "road vehicles: plans are 40 rear-axle poses of 0.1 s", examples)]


@hookimpl
def components() -> list[Component]:
    """The parts of this distribution."""
    return [
        Component(
            kind="reward",
            name="pdms",
            domain="driving",
            target="wetoolkit_driving.pdm.reward:PdmReward",
            config="wetoolkit_driving.pdm.reward:PdmRewardConfig",
            summary="PDM score of NAVSIM v1.1 (or another variant) over proposals and over what was driven",
            contract="1.1",
        ),
        Component(
            kind="reward",
            name="epdms",
            domain="driving",
            target="wetoolkit_driving.pdm.reward:PdmReward",
            config="wetoolkit_driving.pdm.reward:EpdmsRewardConfig",
            summary="extended PDM score of NAVSIM v2.2: direction and lights as gates, lane keeping, comfort with the past",
            contract="1.1",
        ),
        Component(
            kind="miner",
            name="pdms",
            domain="driving",
            target="wetoolkit_driving.miners.pdms:PdmsMiner",
            config="wetoolkit_driving.miners.pdms:PdmsMinerConfig",
            summary="frames where the plan collides at fault, leaves the road or makes little progress",
            contract="1.1",
        ),
        Component(
            kind="miner",
            name="criticality",
            domain="driving",
            target="wetoolkit_driving.miners.criticality:CriticalityMiner",
            config="wetoolkit_driving.miners.criticality:CriticalityMinerConfig",
            summary="near-misses of the log by TTC, PET and the deceleration needed; independent of the policy",
            contract="1.1",
        ),
        Component(
            kind="policy",
            name="constant-velocity",
            domain="driving",
            target="wetoolkit_driving.policies:ConstantVelocity",
            config="wetoolkit_driving.policies:ConstantVelocityConfig",
            summary="goes straight on at its present speed",
            contract="1.1",
        ),
        Component(
            kind="policy",
            name="pdm-closed",
            domain="driving",
            target="wetoolkit_driving.pdm.closed:PdmClosed",
            config="wetoolkit_driving.pdm.closed:PdmClosedConfig",
            summary="rule-based reference planner: 15 IDM proposals along the route, best by the PDM score",
            contract="1.1",
        ),
        Component(
            kind="reconstructor",
            name="replay",
            domain="driving",
            target="wetoolkit_driving.reconstruct:Replay",
            config="wetoolkit_driving.reconstruct:ReplayConfig",
            summary="an interactive world without sensors, from the log",
            contract="1.1",
        ),
        Component(
            kind="behaviour",
            name="replay",
            domain="driving",
            target="wetoolkit_driving.traffic.behaviours:ReplayTraffic",
            config="wetoolkit_driving.traffic.behaviours:ReplayTrafficConfig",
            summary="the others do what the log says",
            contract="1.1",
        ),
        Component(
            kind="behaviour",
            name="idm",
            domain="driving",
            target="wetoolkit_driving.traffic.behaviours:IdmTraffic",
            config="wetoolkit_driving.traffic.behaviours:IdmTrafficConfig",
            summary="the others react along their paths by the intelligent driver model, with manners drawn per variant",
            contract="1.1",
        ),
        Component(
            kind="behaviour",
            name="mixed",
            domain="driving",
            target="wetoolkit_driving.traffic.mixed:MixedTraffic",
            config="wetoolkit_driving.traffic.mixed:MixedTrafficConfig",
            summary="each class by its own model, once something touches it: IDM, paths beside the lane, social forces",
            contract="1.1",
        ),
        Component(
            kind="behaviour",
            name="constant-velocity",
            domain="driving",
            target="wetoolkit_driving.traffic.constant:ConstantTraffic",
            config="wetoolkit_driving.traffic.constant:ConstantTrafficConfig",
            summary="the others go on as they move now, asked anew at every decision",
            contract="1.1",
        ),
        Component(
            kind="behaviour",
            name="perturb",
            domain="driving",
            target="wetoolkit_driving.traffic.perturb:Perturb",
            config="wetoolkit_driving.traffic.perturb:PerturbConfig",
            summary="bends the log by rules: sooner or later, faster or slower, aside, a cut-in",
            contract="1.1",
        ),
        Component(
            kind="simulator",
            name="closed-loop",
            domain="driving",
            target="wetoolkit_driving.simulator:ClosedLoop",
            config="wetoolkit_driving.simulator:ClosedLoopConfig",
            summary="10 Hz bicycle with LQR tracking, replanning at 2 Hz, reactive traffic",
            contract="1.1",
        ),
    ]
