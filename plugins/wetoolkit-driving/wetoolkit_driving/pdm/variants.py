"""The variants of the PDM score, each difference between them one described switch.

``navsim-1.1`` and ``epdms-2.2`` are what NAVSIM computes in those versions, its quirks included; ``world-engine`` is the copy in
World Engine's simulator; ``corrected`` is ``navsim-1.1`` with the quirks that are bugs mended (``MENDS``, each switchable). The
readable text (``score``) and the kernels take their switches from the same ``Variant``, and a metric's stamp names it: scores of
two variants are different metrics. Section numbers are those of the PDM-score reference, see docs/pdm.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from wetoolkit.errors import UnknownName

STRETCHES = 0  # a driving-direction window: whole stretches against traffic
MASKED, CLIPPED, GATED, RAW = range(4)  # how progress becomes EP, see ``Variant.ep``


class Switches(NamedTuple):
    """What kernels need of a variant, as plain numbers."""

    typed_areas: bool
    clip_collision: bool
    clip_ttc: bool
    ttc_every: int
    ttc_frames: int
    ttc_spare: int
    ddc_window: int
    ddc_exempt: bool
    lk_exempt: bool


@dataclass(frozen=True)
class Variant:
    """One exact definition of the score. The defaults are NAVSIM v1.1."""

    name: str  # the metric's version in every stamp
    mends: tuple[str, ...] = ()  # the MENDS that are on

    # what the car does (sections 2 and 3 of the reference)
    true_jerk: bool = False  # the speed fit penalises jerk; NAVSIM and World Engine overwrite a diagonal and penalise accelerations

    # what is observed (section 4)
    sample_every: int = 5  # the record is looked at every so many steps of 0.1 s, from now on (5: 2 Hz); 1: every step
    sample_beyond: int = 10  # frames after the last judged state that are looked at as well; at least ``look``
    single_everywhere: bool = True  # a track seen in one sample only stands in every frame; else only in its own
    bridge: bool = (
        True  # a track is there between its first and last sample; else it stands still from a sample before a gap to the next
    )
    drop_touching: bool = False  # tracks that touch the ego in frame 0 are taken out of all frames (NAVSIM v2.2's log replay)

    # areas (section 5)
    typed_areas: bool = (
        True  # lanes decide multi-lane, {roadblock, intersection, car park} decide drivable; else every polygon both
    )

    # collisions and time to collision (sections 6 and 8)
    clip_collision: bool = False  # arccos's argument is cut to [-1, 1]; else dead ahead may be NaN: neither ahead nor behind
    clip_ttc: bool = False
    ttc_every: int = 3  # frames between two looks ahead
    ttc_frames: int = 9  # the last look ahead
    ttc_spare: int = 0  # so many states at the end are not tested

    # progress (section 11)
    ep_least: float = 5.0  # metres: where nobody gets further, progress is no measure
    ep: int = MASKED  # see ``result.ego_progress``

    # driving direction (section 10), traffic lights, lane keeping
    ddc_window: int = 10  # states before the present one whose way against traffic is added; STRETCHES: each stretch by itself
    ddc_exempt: bool = False  # ways whose end (the centre) lies in an intersection do not count
    ddc_gate: bool = False  # a factor of the score; else reported
    tlc: bool = False  # a touch of a red light's lane connector closes a gate
    lk: bool = False  # lane keeping is computed (centre above 0.5 m from the route for 20 states on end)
    lk_exempt: bool = False  # states in an intersection are skipped: they neither count nor break a run

    # comfort (section 9)
    centre_acceleration: bool = False  # longitudinal and lateral accelerations are those of the box centre, not of the rear axle
    acceleration_window: int = 41  # states; Savitzky-Golay windows are cut to the number of states
    jerk_window: int = 41  # states
    history: bool = False  # the past of the car as it was driven goes before the states

    # weights of the mean; terms that are neither gates nor weighted are reported
    w_ep: float = 5.0
    w_ttc: float = 5.0
    w_comfort: float = 2.0
    w_lk: float = 0.0
    w_ec: float = 0.0  # extended comfort; the score of one plan leaves it out, see ``aggregate``

    @property
    def switches(self) -> Switches:
        """The numbers kernels take."""
        return Switches(*(getattr(self, name) for name in Switches._fields))

    @property
    def look(self) -> int:
        """Frames after the last state that the score asks for."""
        return max(0, self.ttc_frames - self.ttc_spare)

    @property
    def driven(self) -> Variant:
        """The same for what was driven: the record itself is looked at, at its own rate."""
        return replace(self, sample_every=1, single_everywhere=False)

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the factors."""
        return ("nc", "dac", *(("ddc",) if self.ddc_gate else ()), *(("tlc",) if self.tlc else ()))

    @property
    def weights(self) -> dict[str, float]:
        """Weights above 0 of the mean of one plan, extended comfort apart."""
        given = {"ep": self.w_ep, "ttc": self.w_ttc, "comfort": self.w_comfort, "lk": self.w_lk}
        return {name: weight for name, weight in given.items() if weight > 0}

    def differences(self, other: Variant) -> dict[str, tuple[object, object]]:
        """Switch -> (here, there) where two variants differ; their names apart."""
        names = [f.name for f in fields(self) if f.name not in ("name", "mends")]
        return {name: (getattr(self, name), getattr(other, name)) for name in names if getattr(self, name) != getattr(other, name)}


NAVSIM_1_1 = Variant("navsim-1.1")

EPDMS_2_2 = Variant(
    "epdms-2.2", sample_beyond=0, drop_touching=True, ttc_spare=9, ep=CLIPPED, ddc_exempt=True, ddc_gate=True, tlc=True, lk=True,
    lk_exempt=True, centre_acceleration=True, acceleration_window=8, jerk_window=15, history=True, w_lk=2.0, w_ec=2.0,
)  # fmt: skip

WORLD_ENGINE = Variant(
    "world-engine", sample_beyond=0, single_everywhere=False, bridge=False, typed_areas=False, clip_ttc=True, ttc_every=1,
    ttc_frames=10, ttc_spare=10, ep_least=0.1, ep=RAW, ddc_window=STRETCHES, lk=True,
)  # fmt: skip

MENDS: dict[str, dict[str, object]] = {
    "jerk": {"true_jerk": True},  # R is the second difference that nuplan-devkit has
    "arccos": {"clip_collision": True, "clip_ttc": True},  # an object exactly dead ahead is ahead, whatever the last bit says
    "single": {"single_everywhere": False},  # a track seen in one sample is there then, and not for the rest of the horizon
    "rate": {"sample_every": 1},  # the others are where the record saw them at its own rate, not interpolated from 2 Hz
    "half": {"ep": GATED},  # an NC of 0.5 halves the score once, not EP as well
}


def corrected(mends: tuple[str, ...] = tuple(MENDS)) -> Variant:
    """``navsim-1.1`` with the mends asked for, all of them by default; ``UnknownName`` for others than MENDS."""
    for name in mends:
        if name not in MENDS:
            raise UnknownName("mend", name, MENDS, field="mends")
    chosen = tuple(name for name in MENDS if name in mends)
    settings = {key: value for name in chosen for key, value in MENDS[name].items()}
    return replace(NAVSIM_1_1, name="corrected", mends=chosen, **settings)  # type: ignore[arg-type]


def find_variant(name: str, mends: tuple[str, ...] | None = None) -> Variant:
    """The variant of a name; ``mends`` chooses among those of ``corrected`` (None: all). Raises ``UnknownName``."""
    if name not in VARIANTS:
        raise UnknownName("variant", name, VARIANTS, field="variant")
    return corrected(mends) if name == "corrected" and mends is not None else VARIANTS[name]


VARIANTS: dict[str, Variant] = {v.name: v for v in (NAVSIM_1_1, EPDMS_2_2, WORLD_ENGINE, corrected())}
