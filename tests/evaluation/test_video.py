import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.gallery import MAX_DEMO_TEMPLATES
from edge_app.errors import ConfigError, EnrolmentError, MediaError
from edge_app.evaluation.video import (
    NEVER,
    Encounter,
    Outcome,
    VideoResult,
    bootstrap_missed,
    cast,
    enrol_people,
)
from edge_app.records import Calibration, Enrolment, FrameOrigin, Probe, Rejection
from tests.evaluation.fakes import FakePipeline, detection, reader
from tests.people import enrolment

NAMES = [f"Anna_{n}.png" for n in range(1, 10)] + ["Bea_1.png", "Bea_2.png", "Carl_1.png"]
THRESHOLDS = (0.4, 0.5, 0.6, 1.0)
CALIBRATIONS = Calibration(0.5, 0.003, 25, "s"), Calibration(0.6, 0.003, 50, "s")


def mated(*frames: int, wrong: Sequence[int] = (0, 0, 0, 0)) -> Outcome:
    return outcome(0, frames, wrong)


def stranger(*wrong: int) -> Outcome:
    return outcome(None, (NEVER,) * 4, wrong)


def outcome(gallery: int | None, right: Sequence[int], wrong: Sequence[int]) -> Outcome:
    return Outcome(
        Encounter(0, "Anna", ("Anna_1.png",), gallery),
        np.array(right, np.int16),
        np.array(wrong, np.int16),
        "Bea" if any(wrong) else "",
        frames=18,
        detected=16,
        embedded=3,
        rejections={Rejection.BLURRED: 4},
    )


def result(mated_: Sequence[Outcome], strangers: Sequence[Outcome]) -> VideoResult:
    return VideoResult(
        embedder="e",
        model_sha256="s",
        enrol_images=3,
        max_looks=5,
        seed=1,
        enrolled=50,
        galleries=2,
        refused=("Zoe",),
        thresholds=THRESHOLDS,
        calibrations=CALIBRATIONS,
        mated=tuple(mated_),
        strangers=tuple(strangers),
    )


def test_who_is_enrolled_and_who_comes_by() -> None:
    enrolled, coming = cast(NAMES, enrol_images=3, max_looks=5, seed=1)
    assert enrolled == {"Anna": ("Anna_1.png", "Anna_2.png", "Anna_3.png")}
    assert coming == (
        Encounter(0, "Anna", tuple(f"Anna_{n}.png" for n in range(4, 9)), 0),
        Encounter(1, "Bea", ("Bea_1.png", "Bea_2.png"), None),
        Encounter(2, "Carl", ("Carl_1.png",), None),
    )


def test_one_look_makes_single_picture_encounters() -> None:
    _, coming = cast(NAMES, enrol_images=1, max_looks=1, seed=1)
    assert [(e.pictures, e.gallery) for e in coming] == [
        (("Anna_2.png",), 0),
        (("Bea_2.png",), 0),
        (("Carl_1.png",), None),
    ]


def test_the_enrolled_are_shared_out_at_random_among_galleries_of_25() -> None:
    names = [f"P{p:03}_{n}.png" for p in range(60) for n in (1, 2)] + ["S_1.png"]
    enrolled, coming = cast(names, enrol_images=1, max_looks=5, seed=1)
    places = [e.gallery for e in coming if e.gallery is not None]
    assert [places.count(gallery) for gallery in range(3)] == [25, 25, 10]
    assert places != sorted(places)
    assert list(enrolled) != sorted(enrolled)
    by_order = {person: i // MAX_DEMO_TEMPLATES for i, person in enumerate(enrolled)}
    assert all(by_order[e.person] == e.gallery for e in coming if e.gallery is not None)
    assert cast(names, enrol_images=1, max_looks=5, seed=1) == (enrolled, coming)
    assert cast(names, enrol_images=1, max_looks=5, seed=2)[1] != coming


@pytest.mark.parametrize(
    ("names", "enrol_images", "looks"),
    [((), 1, 1), (NAMES, 9, 1), (NAMES[:9], 3, 1), (NAMES, 0, 1), (NAMES, 1, 0)],
)
def test_a_folder_without_enrolled_people_or_strangers_is_refused(
    names: Sequence[str], enrol_images: int, looks: int
) -> None:
    with pytest.raises(ConfigError):
        cast(names, enrol_images=enrol_images, max_looks=looks, seed=1)


def test_a_tiny_case_counted_by_hand() -> None:
    seen = result(
        [mated(2, 2, 3, NEVER), mated(4, 4, NEVER, NEVER, wrong=(1, 1, 0, 0))],
        [stranger(2, 1, 0, 0), stranger(1, 0, 0, 0), stranger(0, 0, 0, 0), stranger(0, 0, 0, 0)],
    )
    assert seen.at_false(0.5).threshold == 0.4
    assert seen.at_false(0.25).threshold == 0.5
    strict = seen.at_false(0.0)
    assert (strict.threshold, strict.missed, strict.false) == (0.6, 1, 0)
    assert strict.frames == (3.0, 3.0)
    # Of 4 strangers x 2 galleries, one meeting in eight is a false one at 0.5.
    assert seen.at_false_in_one(1 / 8).threshold == 0.5
    at = seen.at_calibrated(CALIBRATIONS[0])
    assert (at.missed, at.misidentified, at.false, at.false_in_one) == (0, 1, 1, 1)
    nobody = seen.at(3)
    assert (nobody.missed, nobody.seconds, nobody.frames) == (2, None, None)


def test_a_threshold_must_hold_from_there_on() -> None:
    """Agreement over frames is no monotone function of the threshold."""
    seen = result([mated(1, 1, 1, NEVER)], [stranger(0, 1, 0, 0)])
    assert seen.at_false(0.0).threshold == 0.6


def test_where_even_the_highest_threshold_is_too_low_nobody_is_named() -> None:
    seen = result([mated(1, 1, 1, NEVER)], [stranger(1, 1, 1, 0)])
    assert seen.at_false(0.0).missed == 1


def test_the_json_has_its_keys_and_no_names() -> None:
    seen = result([mated(2, 2, 3, NEVER)], [stranger(2, 1, 0, 0)])
    content = json.loads(json.dumps(seen.to_json(), allow_nan=False))
    assert content["measure"] == "video"
    assert (content["encounters"], content["non_mated"], content["gallery"]) == (1, 1, 50)
    for key in ("missed_at_false", "missed_at_false_ci95", "threshold_at_false",
                "false_encounters", "misidentified_at_false", "time_to_name_at_false",
                "one_gallery"):  # fmt: skip
        assert set(content[key]) == {"0.01", "0.003"}
    assert content["missed_at_false"] == {"0.01": 0.0, "0.003": 0.0}
    assert content["threshold_at_false"] == {"0.01": 0.6, "0.003": 0.6}
    assert set(content["calibrated"]) == {"25", "50"}
    assert content["calibrated"]["25"]["false_in_one_gallery"] == 0.5
    assert content["calibrated"]["50"]["false"] == 0.0
    assert content["rejected"] == {"blurred": 8 / 32}
    assert "Anna" not in str(content)
    assert "Bea" not in str(content)


def test_the_bootstrap_is_certain_where_there_is_nothing_to_draw() -> None:
    named = np.array([[True, False]] * 3)
    alarms = np.array([[False, False]] * 3)
    assert set(bootstrap_missed(named, alarms, 0, seed=1)) == {0.0}
    assert set(bootstrap_missed(named, ~alarms, 0, seed=1)) == {1.0}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 100))
def test_the_bootstrap_brackets_the_estimate(seed: int) -> None:
    random = np.random.default_rng(seed)
    own, others = random.normal(0.6, 0.1, 200), random.normal(0.3, 0.1, 300)
    grid = np.linspace(0, 1, 41)
    named, alarms = own[:, None] >= grid, others[:, None] >= grid
    shares = bootstrap_missed(named, alarms, 3, seed=seed)
    place = int(np.flatnonzero(alarms.sum(axis=0) > 3)[-1]) + 1
    low, high = np.percentile(shares, (1, 99))
    assert low <= 1 - named[:, place].mean() <= high


def test_people_are_enrolled_from_what_could_be_read(tmp_path: Path) -> None:
    for name in NAMES[:2]:
        cv2.imwrite(str(tmp_path / name), np.full((60, 60, 3), (200, 0, 0), np.uint8))
    (tmp_path / NAMES[2]).write_bytes(b"no picture")
    asked: list[tuple[str, int]] = []

    def enrol(name: str, probes: Sequence[Probe], enrolled: Sequence[Enrolment]) -> Enrolment:
        asked.append((name, len(probes)))
        if not probes:
            raise EnrolmentError("no frame")
        assert {probe.origin for probe in probes} == {FrameOrigin.REPLAY}
        return enrolment(len(asked), [probes[0].embedding], demo=True)

    faces = reader(FakePipeline({"follow": [detection(30, 30, 20)]}))
    wanted = {"Anna": tuple(NAMES[:3]), "Bea": (NAMES[2],), "Carl": (NAMES[0],)}
    galleries, refused = enrol_people(faces, tmp_path, wanted, enrol)
    assert asked == [("Anna", 2), ("Bea", 0), ("Carl", 1)]
    assert refused == ("Bea",)
    assert [len(people) for people in galleries] == [2]
    with pytest.raises(MediaError):
        enrol_people(faces, tmp_path, {"Zoe": ("absent.png",)}, enrol)
