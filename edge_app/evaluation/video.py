"""Video: are enrolled people named when they come by, and strangers not?

The whole program is measured: frames of composed encounters (`encounters.py`) go through
`Pipeline.process`, with galleries of demo templates that the station's own code enrolled.

- People with more than K pictures are enrolled with their first K, in file-name order; their next
  pictures (five at most) are the looks of their encounter. Everybody else is a stranger, whose
  first pictures (five at most) are theirs.
- A gallery holds 25 demo templates at most (P4). So the enrolled people are shared out at random
  among galleries, and everybody meets them all, as though walking past as many devices.
- An enrolled person is missed unless their own gallery names them. A stranger's encounter is a
  false one if any of the galleries names anybody. What a single gallery does is reported apart.
- The program is run at every threshold of a grid, and at the ones it would be calibrated to.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.adapters.clock import ManualClock
from edge_app.adapters.exact_index import ExactIndex
from edge_app.adapters.stopwatch import NullStopwatch
from edge_app.core import quality
from edge_app.core.consent import IntendedUse
from edge_app.core.gallery import MAX_DEMO_TEMPLATES, Gallery, admit, build_gallery
from edge_app.core.roster import register
from edge_app.core.scan import Region
from edge_app.errors import ConfigError, EnrolmentError
from edge_app.evaluation.encounters import FPS, Stage, look
from edge_app.evaluation.faces import FaceReader, ReadingRules, with_progress
from edge_app.evaluation.files import (
    identity_of,
    list_pictures,
    read_excluded,
    read_picture,
    write_json,
)
from edge_app.evaluation.measures import (
    RESAMPLES,
    Calibrate,
    Interval,
    allowed,
    percentile_interval,
    wilson_interval,
)
from edge_app.pipeline import Models, Pipeline, Rules, State
from edge_app.records import (
    Box,
    Calibration,
    Detection,
    Enrolment,
    FaceMesh,
    Float32Array,
    Frame,
    FrameOrigin,
    ImageBgr,
    Probe,
    Rejection,
)

FALSE_RATES: Final = (0.01, 0.003)
"""Shares of strangers' encounters that may be false ones."""

_GRID: Final = tuple(round(-0.06 + 0.01 * step, 2) for step in range(17))
"""Thresholds that are tried, from the device's own for one gallery."""

_PROCESSES: Final = 2
NOW: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When the encounters take place; consents are given a moment before."""

NEVER: Final = -1

Enrol = Callable[[str, Sequence[Probe], Sequence[Enrolment]], Enrolment]
"""The station: (name, probes, the gallery so far) to an enrolment. Raises EnrolmentError."""


@dataclass(frozen=True, slots=True)
class Encounter:
    """Somebody comes by. gallery: the number of the one they are enrolled in; None: a stranger."""

    number: int
    person: str
    pictures: tuple[str, ...]
    gallery: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What the program made of one encounter, at each threshold.

    right_frame: shape (thresholds,), the frame in which their own gallery named them, or NEVER.
    wrong:       shape (thresholds,), how many galleries named somebody else.
    taken_for:   whom, at the highest threshold at which that happened; empty if never.
    embedded:    how many times the face was embedded while nobody was named.
    """

    encounter: Encounter
    right_frame: NDArray[np.int16] = field(repr=False)
    wrong: NDArray[np.int16] = field(repr=False)
    taken_for: str = field(repr=False)
    frames: int
    detected: int
    embedded: int
    rejections: Mapping[Rejection, int]


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What every process needs to play and judge encounters; can be pickled."""

    load: Callable[[], tuple[Rules, Models]]
    reading: ReadingRules
    galleries: tuple[tuple[Enrolment, ...], ...] = field(repr=False)
    use: IntendedUse
    calibration: Calibration
    thresholds: tuple[float, ...]
    images: Path
    seed: int


class Device:
    """The program before a stage. For one process."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        rules, models = setting.load()
        self._rules = rules
        self._program = _Remembering(rules, models)
        self._reader = FaceReader(self._program, models.embedder, setting.reading)
        self._stage = Stage(setting.seed)
        self._names = {
            person.person_id: person.name for people in setting.galleries for person in people
        }
        self._galleries = [self._gallery(people) for people in setting.galleries]
        self._templates = [_matrix(people) for people in setting.galleries]
        self._nobody = Gallery.empty(
            purpose=setting.use.purpose,
            model_sha256=setting.use.model_sha256,
            calibration=setting.calibration,
        )

    def _gallery(self, people: Sequence[Enrolment]) -> Gallery:
        use = self._setting.use
        everyone = register(people, use.trusted_stations)
        admission = admit(everyone, use, tombstones=frozenset(), now=NOW)
        return build_gallery(
            admission,
            _matrix(people)[everyone.roster.template_rows(admission.rows)],
            generation=1,
            calibration=self._setting.calibration,
            index_factory=ExactIndex,
        )

    def meet(self, encounter: Encounter) -> Outcome:
        """Plays one encounter and runs the program over it, once per gallery and threshold.

        Where no look at the face comes close enough to anybody in a gallery to agree on a name,
        that run would end like one with an empty gallery, and is left out.
        """
        self._program.forget()
        frames = self._frames(encounter)
        state, _ = self._watch(frames, self._nobody)
        thresholds = self._setting.thresholds
        right = np.full(len(thresholds), NEVER, np.int16)
        wrong = np.zeros(len(thresholds), np.int16)
        taken_for = ""
        probes = self._program.embeddings
        for number, gallery in enumerate(self._galleries):
            if not probes or not len(gallery.demo.people):
                continue
            closest = max(float((self._templates[number] @ probe).max()) for probe in probes)
            for place, threshold in enumerate(thresholds):
                if threshold - self._rules.decision.agreement_slack > closest:
                    continue
                calibration = replace(gallery.calibration, threshold=threshold)
                _, named = self._watch(frames, replace(gallery, calibration=calibration))
                own = number == encounter.gallery
                right_frame = named.pop(encounter.person, None) if own else None
                if right_frame is not None:
                    right[place] = right_frame
                if named:
                    wrong[place] += 1
                    taken_for = next(iter(named))
        return Outcome(
            encounter, right, wrong, taken_for, len(frames),
            state.faces_detected, state.faces_embedded, dict(state.rejections),
        )  # fmt: skip

    def _frames(self, encounter: Encounter) -> list[Frame]:
        looks = []
        for name in encounter.pictures:
            picture = read_picture(self._setting.images / name)
            if picture is not None:
                reading = self._reader.portrait(picture)
                looks.append(look(picture, reading.mesh if reading else None))
        self._program.forget()
        random = np.random.default_rng((self._setting.seed, 1, encounter.number))
        return [
            Frame(image, number / FPS, number, FrameOrigin.REPLAY)
            for number, image in enumerate(self._stage.play(looks, random) if looks else ())
        ]

    def _watch(self, frames: Sequence[Frame], gallery: Gallery) -> tuple[State, dict[str, int]]:
        """The program over all frames: its last state, and who was named in which frame first."""
        state, clock = State(self._rules), ManualClock(NOW)
        named: dict[str, int] = {}
        for frame in frames:
            clock.advance(frame.time_s - clock.monotonic_s())
            result = self._program.process(frame, state, gallery, clock.now())
            for sighting in result.sightings:
                named.setdefault(self._names[sighting.candidate.person_id], frame.sequence)
        return state, named


def _matrix(people: Sequence[Enrolment]) -> Float32Array:
    rows = [template.embedding for person in people for template in person.templates]
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


class _Remembering(Pipeline):
    """The program, which does not run a network twice on the same part of the same frame."""

    def __init__(self, rules: Rules, models: Models) -> None:
        super().__init__(rules, models, NullStopwatch())
        self.forget()

    def forget(self) -> None:
        """Before other frames: pictures are told apart by their place in memory."""
        self._detections: dict[tuple[int, Region], list[Detection]] = {}
        self._meshes: dict[tuple[int, Box], FaceMesh] = {}
        self._embeddings: dict[bytes, Float32Array] = {}

    @property
    def embeddings(self) -> list[Float32Array]:
        """Of all faces that were embedded since `forget`."""
        return list(self._embeddings.values())

    def detect_in(self, image: ImageBgr, region: Region) -> list[Detection]:
        key = (id(image), region)
        if key not in self._detections:
            self._detections[key] = super().detect_in(image, region)
        return self._detections[key]

    def mesh(self, image: ImageBgr, detection: Detection) -> FaceMesh:
        key = (id(image), detection.box_px)
        if key not in self._meshes:
            self._meshes[key] = super().mesh(image, detection)
        return self._meshes[key]

    def embed(self, face: ImageBgr) -> Float32Array:
        key = face.tobytes()
        if key not in self._embeddings:
            self._embeddings[key] = super().embed(face)
        return self._embeddings[key]


# ------------------------------------------------------------------------------ what it comes to


@dataclass(frozen=True, slots=True)
class VideoPoint:
    """What one threshold costs, in encounters.

    missed:            enrolled people whom their own gallery did not name.
    misidentified:     enrolled people for whom any gallery named somebody else.
    false:             strangers for whom any gallery named anybody.
    false_in_one:      the same over (stranger, gallery), that is, in one gallery on average.
    seconds, frames:   to the right name, from the first frame: median and 95th percentile; None
                       if nobody was named.
    """

    threshold: float
    missed: int
    misidentified: int
    false: int
    false_in_one: int
    seconds: tuple[float, float] | None
    frames: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class VideoResult:
    """Every encounter's outcome, and what follows from them.

    galleries:     how many the `enrolled` people are shared out among.
    refused:       people whom the station did not enrol; their encounters count as missed.
    thresholds:    rising.
    calibrations:  the device's own, for one gallery and for one of all enrolled people.
    """

    embedder: str
    model_sha256: str
    enrol_images: int
    max_looks: int
    seed: int
    enrolled: int
    galleries: int
    refused: tuple[str, ...] = field(repr=False)
    thresholds: tuple[float, ...]
    calibrations: tuple[Calibration, Calibration]
    mated: tuple[Outcome, ...] = field(repr=False)
    strangers: tuple[Outcome, ...] = field(repr=False)

    @property
    def named(self) -> NDArray[np.bool_]:
        """Shape (mated, thresholds): whether their own gallery named them."""
        return np.not_equal(np.stack([outcome.right_frame for outcome in self.mated]), NEVER)

    @property
    def alarms(self) -> NDArray[np.int16]:
        """Shape (strangers, thresholds): how many galleries named anybody."""
        return np.stack([outcome.wrong for outcome in self.strangers])

    def at_false(self, rate: float) -> VideoPoint:
        """At the lowest threshold from which on no more than `rate` of the strangers match."""
        return self.at(_lowest((self.alarms > 0).sum(axis=0), allowed(len(self.strangers), rate)))

    def at_false_in_one(self, rate: float) -> VideoPoint:
        """The same for a single gallery."""
        most = allowed(len(self.strangers) * self.galleries, rate)
        return self.at(_lowest(self.alarms.sum(axis=0), most))

    def at_calibrated(self, calibration: Calibration) -> VideoPoint:
        """At the device's own threshold."""
        return self.at(self.thresholds.index(calibration.threshold))

    def at(self, place: int) -> VideoPoint:
        """At one of the thresholds."""
        reached = [o.right_frame[place] for o in self.mated if o.right_frame[place] != NEVER]
        p50, p95 = np.percentile(reached, (50, 95)) if reached else (math.nan, math.nan)
        return VideoPoint(
            threshold=self.thresholds[place],
            missed=len(self.mated) - len(reached),
            misidentified=sum(int(outcome.wrong[place] > 0) for outcome in self.mated),
            false=int((self.alarms[:, place] > 0).sum()),
            false_in_one=int(self.alarms[:, place].sum()),
            seconds=(float(p50) / FPS, float(p95) / FPS) if reached else None,
            frames=(float(p50), float(p95)) if reached else None,
        )

    def missed_ci95(self, rate: float) -> Interval:
        """Of the share missed at `rate`: bootstrap over people, the threshold set anew in each."""
        return percentile_interval(
            bootstrap_missed(
                self.named, self.alarms > 0, allowed(len(self.strangers), rate), seed=self.seed
            )
        )

    def missed_in_one_ci95(self, rate: float) -> Interval:
        """The same for a single gallery."""
        most = allowed(len(self.strangers) * self.galleries, rate)
        return percentile_interval(bootstrap_missed(self.named, self.alarms, most, seed=self.seed))

    @property
    def rejected(self) -> dict[str, float]:
        """Share of the faces found, frame by frame, that were not searched, by reason."""
        outcomes = (*self.mated, *self.strangers)
        faces = max(1, sum(outcome.detected for outcome in outcomes))
        counts: Counter[Rejection] = Counter()
        for outcome in outcomes:
            counts.update(outcome.rejections)
        return {reason.value: number / faces for reason, number in counts.most_common()}

    def to_json(self) -> dict[str, Any]:
        """The numbers of this result; names of people stay in the report.

        encounters, non_mated:   of enrolled people and of strangers.
        missed_at_false:         share of `encounters` missed where a share of "0.01" or "0.003"
                                 of `non_mated` is false; _ci95: bootstrap over people.
        threshold_at_false:      the thresholds; false_encounters, misidentified_at_false: counts.
        time_to_name_at_false:   seconds and frames, median and 95th percentile.
        one_gallery:             the same for a single gallery of `gallery_size` people.
        calibrated:              at the device's own thresholds, by the gallery's size they are
                                 for: what it was calibrated to and what was measured.
        rejected:                share of found faces that were not searched, by reason.
        no_face, never_searched: encounters in which no face was found, or none passed the gates.
        """
        rates = {f"{rate:g}": rate for rate in FALSE_RATES}
        points = {key: self.at_false(rate) for key, rate in rates.items()}
        return {
            "measure": "video",
            "protocol": "open set; people with more than K pictures enrolled with the first K in "
            "file-name order, their next pictures the looks of one encounter; everybody else a "
            "stranger; everybody meets every gallery; missed: not named by their own gallery; "
            "false: a stranger named by any; intervals: bootstrap over people, or Wilson",
            "embedder": self.embedder,
            "model_sha256": self.model_sha256,
            "enrol_images": self.enrol_images,
            "max_looks": self.max_looks,
            "seed": self.seed,
            "gallery": self.enrolled,
            "galleries": self.galleries,
            "gallery_size": MAX_DEMO_TEMPLATES,
            "refused": len(self.refused),
            "encounters": len(self.mated),
            "non_mated": len(self.strangers),
            "no_face": {
                "encounters": sum(outcome.detected == 0 for outcome in self.mated),
                "non_mated": sum(outcome.detected == 0 for outcome in self.strangers),
            },
            "never_searched": {
                "encounters": sum(outcome.embedded == 0 for outcome in self.mated),
                "non_mated": sum(outcome.embedded == 0 for outcome in self.strangers),
            },
            "missed_at_false": {k: p.missed / len(self.mated) for k, p in points.items()},
            "missed_at_false_ci95": {k: list(self.missed_ci95(r)) for k, r in rates.items()},
            "threshold_at_false": {k: p.threshold for k, p in points.items()},
            "false_encounters": {k: p.false for k, p in points.items()},
            "misidentified_at_false": {k: p.misidentified for k, p in points.items()},
            "time_to_name_at_false": {k: _times(p) for k, p in points.items()},
            "one_gallery": {k: self._one_gallery(rate) for k, rate in rates.items()},
            "calibrated": {
                f"{calibration.max_templates}": self._calibrated(calibration)
                for calibration in self.calibrations
            },
            "rejected": self.rejected,
        }

    def _one_gallery(self, rate: float) -> dict[str, Any]:
        point = self.at_false_in_one(rate)
        return {
            "threshold": point.threshold,
            "missed": point.missed / len(self.mated),
            "missed_ci95": list(self.missed_in_one_ci95(rate)),
            "false_encounters": point.false_in_one,
            "non_mated": len(self.strangers) * self.galleries,
        }

    def _calibrated(self, calibration: Calibration) -> dict[str, Any]:
        point = self.at_calibrated(calibration)
        meetings = len(self.strangers) * self.galleries
        return {
            "threshold": point.threshold,
            "target_fpir": calibration.target_fpir,
            "missed": point.missed / len(self.mated),
            "missed_ci95": list(wilson_interval(point.missed, len(self.mated))),
            "misidentified": point.misidentified,
            "false": point.false / len(self.strangers),
            "false_ci95": list(wilson_interval(point.false, len(self.strangers))),
            "false_in_one_gallery": point.false_in_one / meetings,
            "false_in_one_gallery_ci95": list(wilson_interval(point.false_in_one, meetings)),
            **_times(point),
        }


def _times(point: VideoPoint) -> dict[str, float | None]:
    seconds, frames = point.seconds or (None, None), point.frames or (None, None)
    return {
        "p50_s": seconds[0],
        "p95_s": seconds[1],
        "p50_frames": frames[0],
        "p95_frames": frames[1],
    }


def _lowest(false: NDArray[Any], most: int) -> int:
    """The place of the lowest threshold from which on no more than `most` are false.

    At the last one, a cosine of 1, nobody is named.
    """
    too_many = np.flatnonzero(false > most)
    return min(int(too_many[-1]) + 1 if too_many.size else 0, len(false) - 1)


def bootstrap_missed(
    named: NDArray[np.bool_], alarms: NDArray[Any], most: int, *, seed: int
) -> NDArray[np.float64]:
    """Shares missed in resamples of people, shape (resamples,); the threshold is set in each.

    named:  shape (mated, thresholds); alarms: shape (strangers, thresholds), false ones.
    most:   how many may be false.
    """
    random = np.random.default_rng(seed)
    shares = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = np.bincount(random.integers(0, len(alarms), len(alarms)), minlength=len(alarms))
        place = _lowest(drawn @ alarms, most)
        shares[i] = 1 - named[random.integers(0, len(named), len(named)), place].mean()
    return shares


# ------------------------------------------------------------------------------------ the program


def cast(
    names: Collection[str], enrol_images: int, max_looks: int, seed: int
) -> tuple[dict[str, tuple[str, ...]], tuple[Encounter, ...]]:
    """Who is enrolled with which pictures, gallery by gallery, and who comes by.

    Raises:
        ConfigError: enrol_images or max_looks is below 1, or nobody is enrolled, or nobody not.
    """
    if enrol_images < 1 or max_looks < 1:
        raise ConfigError("--enrol-images and --looks must be 1 or more")
    by_person: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        by_person[identity_of(name)].append(name)
    people = [person for person, own in by_person.items() if len(own) > enrol_images]
    if not people or len(people) == len(by_person):
        raise ConfigError(
            f"video needs people with more than {enrol_images} pictures and people with fewer, "
            "named like Anna_Smith_0001.jpg; name another folder"
        )
    order = np.random.default_rng((seed, 2)).permutation(len(people))
    shuffled = [people[int(i)] for i in order]
    gallery = {person: i // MAX_DEMO_TEMPLATES for i, person in enumerate(shuffled)}
    encounters_ = tuple(
        Encounter(number, person, tuple(_looks(own, enrol_images, max_looks)), gallery.get(person))
        for number, (person, own) in enumerate(by_person.items())
    )
    return {person: tuple(by_person[person][:enrol_images]) for person in shuffled}, encounters_


def _looks(own: Sequence[str], enrol_images: int, max_looks: int) -> Sequence[str]:
    left = own[enrol_images:] if len(own) > enrol_images else own
    return left[:max_looks]


def enrol_people(
    reader: FaceReader, images: Path, pictures: Mapping[str, Sequence[str]], enrol: Enrol
) -> tuple[tuple[tuple[Enrolment, ...], ...], tuple[str, ...]]:
    """The galleries, and the people whom the station refused.

    pictures: whom to enrol with which, 25 people a gallery. They are read as portraits, without
    the gates of a live capture: those ask for larger faces than a benchmark's.

    Raises:
        MediaError: a picture cannot be read.
    """
    galleries: list[list[Enrolment]] = []
    refused = []
    for number, person in enumerate(with_progress(list(pictures), "Enrolling")):
        if number % MAX_DEMO_TEMPLATES == 0:
            galleries.append([])
        probes = [
            probe
            for name in pictures[person]
            if (probe := _probe(reader, read_picture(images / name))) is not None
        ]
        try:
            galleries[-1].append(enrol(person, probes, galleries[-1]))
        except EnrolmentError:
            refused.append(person)
    return tuple(tuple(people) for people in galleries), tuple(refused)


def _probe(reader: FaceReader, picture: ImageBgr | None) -> Probe | None:
    reading = reader.portrait(picture) if picture is not None else None
    if reading is None:
        return None
    measured = quality.assess(reading.face, reading.mesh)
    return Probe(reader.embed_for_template(reading), measured, 0.0, FrameOrigin.REPLAY)


def run(
    *,
    load: Callable[[], tuple[Rules, Models]],
    reading: ReadingRules,
    use: IntendedUse,
    enrol: Enrol,
    calibrate: Calibrate,
    images: Path,
    exclude: Path | None,
    enrol_images: int,
    max_looks: int,
    seed: int,
    json_out: Path,
) -> VideoResult:
    """`familiar evaluate video`: enrols, plays every encounter in two processes, writes the JSON.

    load: of a module, so that another process can import it. use: trusts the station behind
    `enrol`.

    Raises:
        ConfigError: a list is malformed, or nobody is enrolled, or nobody a stranger.
        CalibrationError: there is no threshold for this embedder or so many people.
        MediaError: the folder or a picture in it cannot be read.
        StorageError: the result cannot be written.
    """
    excluded = read_excluded(exclude) if exclude else frozenset()
    pictures, coming = cast(set(list_pictures(images)) - excluded, enrol_images, max_looks, seed)
    calibrations = calibrate(MAX_DEMO_TEMPLATES), calibrate(len(pictures))
    rules, models = load()
    reader = FaceReader(Pipeline(rules, models, NullStopwatch()), models.embedder, reading)
    galleries, refused = enrol_people(reader, images, pictures, enrol)
    own = calibrations[0].threshold
    thresholds = {*(own + step for step in _GRID), *(c.threshold for c in calibrations), 1.0}
    setting = Setting(
        load=load,
        reading=reading,
        galleries=galleries,
        use=use,
        calibration=calibrations[0],
        thresholds=tuple(sorted(threshold for threshold in thresholds if threshold <= 1)),
        images=images,
        seed=seed,
    )
    outcomes = _play(setting, coming)
    result = VideoResult(
        embedder=reader.embedder_name,
        model_sha256=reader.embedder_sha256,
        enrol_images=enrol_images,
        max_looks=max_looks,
        seed=seed,
        enrolled=len(pictures),
        galleries=len(galleries),
        refused=refused,
        thresholds=setting.thresholds,
        calibrations=calibrations,
        mated=tuple(o for o in outcomes if o.encounter.gallery is not None),
        strangers=tuple(o for o in outcomes if o.encounter.gallery is None),
    )
    write_json(json_out, result.to_json())
    return result


def _play(setting: Setting, coming: Sequence[Encounter]) -> list[Outcome]:
    """The outcomes, in order, whichever process they came from."""
    with ProcessPoolExecutor(
        _PROCESSES,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_take_the_stage,
        initargs=(setting,),
    ) as processes:
        outcomes = processes.map(_meet, coming, chunksize=4)
        return list(with_progress(outcomes, "Playing encounters", total=len(coming)))


_devices: list[Device] = []
"""This process's only one; set by the executor before anything is played."""


def _take_the_stage(setting: Setting) -> None:
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _devices[:] = [Device(setting)]


def _leave_with_the_parent() -> None:
    """A killed evaluation would leave its processes waiting for encounters for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _meet(encounter: Encounter) -> Outcome:
    return _devices[0].meet(encounter)
