import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.core.consent import check
from edge_app.core.revocation import normalise_code, revocation_sha256
from edge_app.enrolment.consent_notice import notice_for
from edge_app.enrolment.poses import Facing
from edge_app.enrolment.station import Agreement, Enrolled, EnrolmentLimits, enrol
from edge_app.errors import ConsentError, EnrolmentError
from edge_app.records import (
    CollectionMethod,
    Enrolment,
    Float32Array,
    FrameOrigin,
    LawfulBasis,
    Pose,
    Probe,
    Purpose,
    Rejection,
)
from tests.people import CONTROLLER, DIM, MODEL_SHA256, NOW, STATION, USE, enrolment, faces, quality

DAY_S = 86_400
LIMITS = EnrolmentLimits(
    min_frames=3,
    max_frames=4,
    min_similarity=0.35,
    duplicate_similarity=0.97,
    relative_similarity=0.3,
    same_similarity=0.75,
)


def agreement(purpose: Purpose = Purpose.ASSIST, **changes: Any) -> Agreement:
    notice = notice_for(
        purpose,
        "en",
        controller=CONTROLLER,
        jurisdiction="nowhere",
        valid_days=365,
        kept_days=366,
        fleet="",
    )
    made = Agreement(
        notice=notice,
        lawful_basis=LawfulBasis.EXPLICIT_CONSENT,
        controller=CONTROLLER,
        jurisdiction="nowhere",
        storage_locations=("this device",),
        validity_s=365 * DAY_S,
        retention_s=366 * DAY_S,
    )
    return replace(made, **changes)


def looks_of(person: int, count: int, spread: float = 0.7) -> Float32Array:
    """Pictures of one person: unit vectors around one direction."""
    around = faces(1, seed=1000 + person) + spread * faces(count, seed=person)
    return np.asarray(around / np.linalg.norm(around, axis=1, keepdims=True), dtype=np.float32)


POSES = {
    Facing.STRAIGHT: Pose(0.0, 0.0, 0.0),
    Facing.LEFT: Pose(25.0, 0.0, 0.0),
    Facing.RIGHT: Pose(-25.0, 0.0, 0.0),
    Facing.UP: Pose(0.0, 15.0, 0.0),
    Facing.DOWN: Pose(0.0, -15.0, 0.0),
}


def probes(
    embeddings: Float32Array,
    origin: FrameOrigin = FrameOrigin.LIVE,
    scores: Sequence[float] = (),
    poses: Sequence[Facing] = (),
) -> list[Probe]:
    listed = list(scores) or [1.0 - 0.01 * n for n in range(len(embeddings))]
    faced = list(poses) or [Facing.STRAIGHT] * len(embeddings)
    return [
        Probe(embedding, replace(quality(score), pose=POSES[facing]), float(n), origin)
        for n, (embedding, score, facing) in enumerate(zip(embeddings, listed, faced, strict=True))
    ]


def counter() -> Callable[[int], bytes]:
    """Different bytes at every call, the same in every test."""
    calls = iter(range(1000))
    return lambda size: hashlib.shake_128(str(next(calls)).encode()).digest(size)


def enrolled(frames: list[Probe], **changes: Any) -> Enrolled:
    arguments: dict[str, Any] = {
        "name": "Ada",
        "relation": "sister",
        "agreement": agreement(),
        "demo": False,
        "limits": LIMITS,
        "enrolled": (),
        "model_sha256": MODEL_SHA256,
        "station": STATION,
        "now": NOW + timedelta(microseconds=987_654),
        "entropy": counter(),
    }
    return enrol(frames, **{**arguments, **changes})


def kept(result: Enrolled) -> list[str]:
    return [t.template_id for t in result.enrolment.templates]


# ------------------------------------------------------------------------------- signing


def test_enrolment_is_accepted_by_a_device() -> None:
    result = enrolled(probes(looks_of(1, 5)))
    record = result.enrolment.consent.record
    assert check(result.enrolment, USE, tombstones=frozenset(), now=NOW + timedelta(1)) is None
    assert record.event_time == NOW
    assert record.template_ids == tuple(kept(result))
    assert record.privacy_notice == agreement().notice.privacy_notice
    assert record.purpose is Purpose.ASSIST
    assert record.collection_method is CollectionMethod.LIVE_GUIDED_CAPTURE
    assert (result.enrolment.name, result.enrolment.relation) == ("Ada", "sister")


def test_code_is_the_persons_only() -> None:
    result = enrolled(probes(looks_of(1, 5)))
    code = result.revocation_code
    assert normalise_code(code) == code
    assert result.enrolment.consent.record.revocation_sha256 == revocation_sha256(code)
    assert code not in repr(result)
    assert "Ada" not in repr(result)


def test_every_enrolment_has_ids_of_its_own() -> None:
    entropy = counter()
    one, other = (enrolled(probes(looks_of(1, 5)), entropy=entropy) for _ in range(2))
    values = [
        value
        for result in (one, other)
        for value in (
            result.enrolment.person_id,
            result.enrolment.consent.record.record_id,
            result.revocation_code,
        )
    ]
    assert len(set(values)) == 6


def test_clock_without_zone_is_refused() -> None:
    with pytest.raises(ConsentError, match="UTC"):
        enrolled(probes(looks_of(1, 5)), now=NOW.replace(tzinfo=None))


@pytest.mark.parametrize("purpose", list(Purpose))
def test_purpose_is_the_notices(purpose: Purpose) -> None:
    result = enrolled(probes(looks_of(1, 5)), agreement=agreement(purpose))
    assert result.enrolment.consent.record.purpose is purpose


@pytest.mark.parametrize("purpose", list(Purpose))
def test_representative_can_consent_to_care_only(purpose: Purpose) -> None:
    represented = agreement(purpose, lawful_basis=LawfulBasis.LEGAL_REPRESENTATIVE)
    if purpose is Purpose.CARE:
        enrolled(probes(looks_of(1, 5)), agreement=represented)
        return
    with pytest.raises(EnrolmentError, match="care only"):
        enrolled(probes(looks_of(1, 5)), agreement=represented)


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "A\nB", "\x1b[31mAda", "A\u202eda"])
def test_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(EnrolmentError, match="give a name"):
        enrolled(probes(looks_of(1, 5)), name=name)


@pytest.mark.parametrize("relation", ["x" * 81, "my\tsister"])
def test_relation_that_cannot_be_shown_is_refused(relation: str) -> None:
    with pytest.raises(EnrolmentError, match="give a relation"):
        enrolled(probes(looks_of(1, 5)), relation=relation)


# ----------------------------------------------------------------------------- P4: origins


@pytest.mark.parametrize(
    ("origins", "demo", "message"),
    [
        ([], False, "no frame was good enough"),
        ([], True, "no frame was good enough"),
        (["replay"] * 4, False, "with --demo"),
        (["live"] * 4, True, "leave --demo away"),
        (["live", "live", "live", "replay"], False, "mixed"),
        (["replay", "replay", "replay", "live"], True, "mixed"),
    ],
)
def test_origin_decides_what_may_be_enrolled(
    origins: list[str], *, demo: bool, message: str
) -> None:
    frames = [
        replace(frame, origin=FrameOrigin(origin))
        for frame, origin in zip(probes(looks_of(1, len(origins) or 1)), origins, strict=False)
    ]
    with pytest.raises(EnrolmentError, match=message):
        enrolled(frames, demo=demo)


def test_demo_enrolment_says_so_under_the_signature() -> None:
    result = enrolled(probes(looks_of(1, 2), FrameOrigin.REPLAY), demo=True)
    record = result.enrolment.consent.record
    assert record.demo
    assert record.collection_method is CollectionMethod.DEMO_REPLAY
    assert check(result.enrolment, USE, tombstones=frozenset(), now=NOW + timedelta(1)) is None


def test_a_browsers_camera_is_named_under_the_signature() -> None:
    """P4: whoever reads the record sees that the frames came through somebody's hands."""
    record = enrolled(probes(looks_of(1, 5)), by_browser=True).enrolment.consent.record
    assert record.collection_method is CollectionMethod.LIVE_GUIDED_BROWSER_CAPTURE
    assert not record.demo
    replayed = enrolled(probes(looks_of(1, 5), FrameOrigin.REPLAY), demo=True, by_browser=True)
    assert replayed.enrolment.consent.record.collection_method is CollectionMethod.DEMO_REPLAY


def test_photograph_is_not_compared_with_people_who_enrolled_live() -> None:
    """The warning of look-alikes would else be a search among real people."""
    looks = looks_of(1, 3)
    known = [enrolment(7, looks[:1]), enrolment(8, looks_of(2, 1), demo=True)]
    result = enrolled(probes(looks, FrameOrigin.REPLAY), demo=True, enrolled=known)
    assert result.report.look_alike is None
    live = enrolled(probes(looks), enrolled=[enrolment(8, looks[:1], demo=True)])
    assert live.report.look_alike is None


# ----------------------------------------------------------------------------- selection


def test_one_picture_makes_a_demo_template() -> None:
    result = enrolled(probes(looks_of(1, 1), FrameOrigin.REPLAY), demo=True)
    used, missing = result.report.lines()
    assert used == "one template averaged from 1 good frame of 1: straight 1"
    assert missing.startswith("no good frame faces left or right or up or down: pictures guide")


def test_live_capture_needs_its_frames() -> None:
    assert enrolled(probes(looks_of(1, 3))).report.kept == {Facing.STRAIGHT: 3}
    with pytest.raises(EnrolmentError, match="2 good frames instead of 3"):
        enrolled(probes(looks_of(1, 2)))


def test_frames_that_do_not_agree_do_not_count_as_good() -> None:
    frames = probes(np.concatenate([looks_of(1, 2), looks_of(2, 1)]))
    with pytest.raises(EnrolmentError, match="2 good frames instead of 3"):
        enrolled(frames)


def test_passer_by_is_dropped() -> None:
    own, other = looks_of(1, 4), looks_of(2, 2)
    result = enrolled(probes(np.concatenate([other[:1], own, other[1:]])))
    assert {t.template_id for t in result.enrolment.templates} == {
        t.template_id for t in enrolled(probes(own)).enrolment.templates
    }
    assert "2 good frames left out: looked different from the others" in result.report.lines()


@pytest.mark.parametrize(("first", "second"), [(1, 1), (3, 3), (10, 10)])
def test_two_people_in_equal_parts_are_refused(first: int, second: int) -> None:
    both = np.concatenate([looks_of(1, first), looks_of(2, second)])
    with pytest.raises(EnrolmentError, match="do not look like one person"):
        enrolled(probes(both, FrameOrigin.REPLAY), demo=True)


def test_strangers_all_over_are_refused() -> None:
    with pytest.raises(EnrolmentError, match="do not look like one person"):
        enrolled(probes(faces(12)))


def test_still_picture_gives_one_template() -> None:
    still = np.repeat(looks_of(1, 1), 45, axis=0)
    result = enrolled(probes(still, FrameOrigin.REPLAY, [1.0] * 45), demo=True)
    assert result.report.lines()[:2] == (
        "one template averaged from 1 good frame of 45: straight 1",
        "44 good frames left out: added nothing to a better one",
    )


def test_frames_are_averaged_into_one_template() -> None:
    looks = looks_of(1, 2)
    stills = np.repeat(looks, 45, axis=0)
    result = enrolled(probes(stills, FrameOrigin.REPLAY, [1.0] * 90), demo=True)
    assert sum(result.report.kept.values()) == 2
    (template,) = result.enrolment.templates
    mean = looks.mean(axis=0)
    assert template.embedding == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert template.embedding.dtype == np.float32


def test_best_quality_is_kept() -> None:
    looks = looks_of(1, 6)
    scores = [0.1, 0.9, 0.2, 0.8, 0.7, 0.6]
    result = enrolled(probes(looks, scores=scores))
    wanted = enrolled(probes(looks[[1, 3, 4, 5]]))
    assert kept(result) == kept(wanted)
    assert result.report.lines()[:2] == (
        "one template averaged from 4 good frames of 6: straight 4",
        "2 good frames left out: went beyond the limit per person",
    )


ALL_WAYS = [*Facing, Facing.STRAIGHT, Facing.STRAIGHT]


def test_poses_share_the_template_evenly() -> None:
    """The best of each pose comes before the second of any, whatever their quality."""
    looks = looks_of(1, 7)
    scores = [0.7, 0.3, 0.3, 0.3, 0.3, 0.9, 0.8]
    frames = probes(looks, scores=scores, poses=ALL_WAYS)
    five, six = (enrolled(frames, limits=replace(LIMITS, max_frames=n)) for n in (5, 6))
    assert five.report.kept == dict.fromkeys(Facing, 1)
    assert six.report.kept == {**dict.fromkeys(Facing, 1), Facing.STRAIGHT: 2}
    assert five.report.missing == ()
    assert kept(five) == kept(enrolled(probes(looks[[5, 1, 2, 3, 4]]), limits=replace(
        LIMITS, max_frames=5)))  # fmt: skip


def test_turned_frames_are_no_outliers_among_straight_ones() -> None:
    """LFW's turned faces have a median cosine of 0.6 to 0.77 to straight ones of the person."""
    straight, turn = looks_of(1, 4, spread=0.3), looks_of(1, 2, spread=0.8)
    among = np.concatenate([straight, turn])
    poses = [Facing.STRAIGHT] * 4 + [Facing.LEFT, Facing.RIGHT]
    assert float(np.mean(turn @ straight.T)) < 0.8
    report = enrolled(probes(among, poses=poses)).report
    assert report.outliers == 0
    assert {Facing.LEFT, Facing.RIGHT} <= report.kept.keys()


def test_a_pose_that_only_a_passer_by_took_is_missing() -> None:
    frames = probes(
        np.concatenate([looks_of(1, 5), looks_of(2, 1)]),
        poses=[Facing.STRAIGHT, *list(Facing)[:4], Facing.DOWN],
    )
    report = enrolled(frames).report
    assert (report.outliers, report.missing) == (1, (Facing.DOWN,))
    (warning,) = [line for line in report.lines() if "no good frame" in line]
    assert warning.startswith("no good frame faces down: turned that way,")


def test_a_live_capture_without_a_straight_look_is_refused() -> None:
    poses = [Facing.LEFT, Facing.RIGHT] * 3
    with pytest.raises(EnrolmentError, match="straight at the camera"):
        enrolled(probes(looks_of(1, 6), poses=poses))
    replayed = probes(looks_of(1, 6), FrameOrigin.REPLAY, poses=poses)
    assert Facing.STRAIGHT in enrolled(replayed, demo=True).report.missing


def test_refused_frames_are_told_with_their_reasons() -> None:
    report = enrolled(probes(looks_of(1, 3))).report
    refused = {Rejection.TOO_DARK: 1, Rejection.BLURRED: 4}
    assert "5 frames refused: blurred 4, too dark 1" in replace(report, refused=refused).lines()
    assert not any("refused" in line for line in report.lines())


def test_shrunk_vectors_are_judged_by_their_direction() -> None:
    """Comparison scores of easy faces are below their cosine (docs/adr/0012)."""
    looks = np.repeat(looks_of(1, 3), 2, axis=0)
    shrunk = looks * np.float32(0.8)
    one, other = (enrolled(probes(vectors)) for vectors in (looks, shrunk))
    assert one.report == other.report
    assert one.report.duplicates == 3
    (template,) = other.enrolment.templates
    assert np.linalg.norm(template.embedding) == pytest.approx(0.8, abs=1e-6)


@settings(deadline=None)
@given(st.data())
def test_report_accounts_for_every_frame(data: st.DataObject) -> None:
    own = data.draw(st.integers(3, 12))
    others = data.draw(st.integers(0, own - 1))
    repeats = data.draw(st.integers(0, 3))
    stack = [looks_of(1, own), looks_of(2, others) if others else np.empty((0, DIM), np.float32)]
    stack += [looks_of(1, own)[:1]] * repeats
    embeddings = np.concatenate(stack)[data.draw(st.permutations(range(own + others + repeats)))]
    report = enrolled(probes(embeddings)).report
    kept_frames = sum(report.kept.values())
    assert kept_frames + report.outliers + report.duplicates + report.surplus == report.frames
    assert report.frames == own + others + repeats
    assert 1 <= kept_frames <= LIMITS.max_frames
    assert report.outliers == others


# --------------------------------------------------------------------------- look-alikes


def known_people(*near: float) -> list[Enrolment]:
    """People whose best template has these cosines to `looks_of(1, 3)[0]`."""
    towards = looks_of(1, 3)[0]
    people = []
    for number, cosine in enumerate(near):
        aside = faces(1, seed=50 + number)[0]
        aside -= (aside @ towards) * towards
        aside /= np.linalg.norm(aside)
        embedding = (cosine * towards + np.sqrt(1 - cosine**2) * aside).astype(np.float32)
        people.append(enrolment(number, [embedding]))
    return people


def test_relative_is_warned_of_without_a_name_or_a_percentage() -> None:
    towards = looks_of(1, 3)
    report = enrolled(probes(towards), enrolled=known_people(0.1, 0.6, 0.45)).report
    assert report.look_alike is not None
    assert report.look_alike.person_id == "person-1"
    assert report.look_alike.similarity == pytest.approx(0.6, abs=0.08)
    (warning,) = [line for line in report.lines() if "close to someone" in line]
    assert "%" not in warning
    assert "no percentage" in warning
    assert "Name" not in warning
    assert "person-1" not in repr(report)


@pytest.mark.parametrize("demo", [False, True])
def test_same_face_is_not_enrolled_twice(*, demo: bool) -> None:
    """Two records of one person would silence each other: neither leads by the margin."""
    origin = FrameOrigin.REPLAY if demo else FrameOrigin.LIVE
    again = probes(looks_of(1, 8)[4:], origin)
    first = enrolled(probes(looks_of(1, 8)[:4], origin), demo=demo).enrolment
    with pytest.raises(EnrolmentError, match="enrolled already, or too like somebody's"):
        enrolled(again, demo=demo, enrolled=[*known_people(0.1), first])
    like = float(
        first.templates[0].embedding @ enrolled(again, demo=demo).enrolment.templates[0].embedding
    )
    limits = replace(LIMITS, same_similarity=like + 0.001)
    report = enrolled(again, demo=demo, enrolled=[first], limits=limits).report
    assert report.look_alike is not None


def test_nobody_close_gives_no_warning() -> None:
    report = enrolled(probes(looks_of(1, 3)), enrolled=known_people(0.0, 0.05)).report
    assert report.look_alike is None
