"""What keeps the wearer's lines from flickering while scores, places and tracks do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edge_app.core.text import clean_text
from edge_app.records import Direction, HudLine


@dataclass(frozen=True, slots=True)
class PresentSettings:
    """How recognised people are put into words, and what keeps the words from flickering.

    unsure_margin: similarity above the threshold below which a person is "probably".
    unsure_slack:  how far below that a person who was certain may fall and still be so.
    ahead_share:   middle part of the frame's width that counts as ahead, in 0 to 1.
    side_slack:    share of the width by which a face must be past another, or past the middle
                   part's edge, before it changes its place.
    hold_s:        how long the line of a person stays who is not recognised any more.
    max_people:    most people shown at once; the displays are drawn for 3.
    """

    unsure_margin: float
    unsure_slack: float
    ahead_share: float
    side_slack: float
    hold_s: float
    max_people: int


@dataclass(frozen=True, slots=True)
class RecognisedFace:
    """One tracklet with a decided match, as of one frame.

    centre_x_px: centre of the face's box in that frame.
    similarity:  the decision's comparison score (cosine).
    """

    person_id: str
    name: str = field(repr=False)
    relation: str = field(repr=False)
    centre_x_px: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A person as the display keeps them from frame to frame.

    x:        where they were last seen, as a share of the frame's width.
    seen_s:   when that was, on the frames' clock.
    has_line: False if too many others are there.
    """

    person_id: str
    line: HudLine = field(repr=False)
    x: float
    similarity: float
    seen_s: float
    has_line: bool = False


def steady(
    before: Sequence[Shown],
    faces: Sequence[RecognisedFace],
    *,
    now_s: float,
    frame_width_px: int,
    threshold: float,
    settings: PresentSettings,
) -> tuple[Shown, ...]:
    """Return who is there, from left to right, given who was there a frame before.

    A person with two tracklets is where the score is higher. Who is not among the faces keeps the
    line for `hold_s`; if there are more than `max_people`, those in view come first, then those
    who had a line, then those with the highest scores.

    before:         what the last call returned, without anybody who may not be shown any more.
    now_s:          the frame's time.
    frame_width_px: 1 or more.
    threshold:      the gallery's; every score is at or above it.
    """
    best: dict[str, RecognisedFace] = {}
    for face in sorted(faces, key=lambda face: (-face.similarity, face.centre_x_px)):
        best.setdefault(face.person_id, face)
    known = {person.person_id: person for person in before}
    seen = {
        face.person_id: _shown(
            face,
            known.get(face.person_id),
            now_s=now_s,
            frame_width_px=frame_width_px,
            threshold=threshold,
            settings=settings,
        )
        for face in best.values()
    }
    held = {
        person.person_id: person
        for person in before
        if person.person_id not in seen and 0 <= now_s - person.seen_s < settings.hold_s
    }
    there = {**held, **seen}
    order = [there[person.person_id] for person in before if person.person_id in there]
    newcomers = [person for person in seen.values() if person.person_id not in known]
    order = _in_order(order, newcomers, settings.side_slack)
    ranked = sorted(
        order, key=lambda p: (p.person_id in held, not p.has_line, -p.similarity, p.person_id)
    )
    with_line = {person.person_id for person in ranked[: settings.max_people]}
    return tuple(replace(person, has_line=person.person_id in with_line) for person in order)


def _shown(
    face: RecognisedFace,
    last: Shown | None,
    *,
    now_s: float,
    frame_width_px: int,
    threshold: float,
    settings: PresentSettings,
) -> Shown:
    x = face.centre_x_px / frame_width_px
    was_sure = last is not None and not last.line.unsure
    certain = threshold + settings.unsure_margin - (settings.unsure_slack if was_sure else 0.0)
    line = HudLine(
        name=clean_text(face.name),
        relation=clean_text(face.relation),
        direction=direction(
            x,
            settings.ahead_share,
            last=last.line.direction if last else None,
            slack=settings.side_slack,
        ),
        unsure=face.similarity < certain,
    )
    return Shown(
        face.person_id, line, x, face.similarity, now_s, last is not None and last.has_line
    )


def direction(
    x: float, ahead_share: float, *, last: Direction | None = None, slack: float = 0.0
) -> Direction:
    """Return where a face is, from its centre's x relative to the frame's width, 0 to 1.

    last: where it was; it stays there until it is `slack` outside that part of the width.
    """
    left, right = 0.5 - ahead_share / 2, 0.5 + ahead_share / 2
    stays = {
        None: False,
        Direction.LEFT: x < left + slack,
        Direction.AHEAD: left - slack <= x <= right + slack,
        Direction.RIGHT: x > right - slack,
    }
    if last is not None and stays[last]:
        return last
    if left <= x <= right:
        return Direction.AHEAD
    return Direction.LEFT if x < left else Direction.RIGHT


def _in_order(order: list[Shown], newcomers: list[Shown], slack: float) -> list[Shown]:
    """The people from left to right; two who were in order swap once they are `slack` past each
    other. Each swap undoes one inversion of x, so this ends."""
    for person in sorted(newcomers, key=lambda p: (p.x, p.person_id)):
        place = next((i for i, other in enumerate(order) if other.x > person.x), len(order))
        order.insert(place, person)
    swapped = True
    while swapped:
        swapped = False
        for i in range(len(order) - 1):
            if order[i].x > order[i + 1].x + slack:
                order[i], order[i + 1] = order[i + 1], order[i]
                swapped = True
    return order
