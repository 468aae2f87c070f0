"""One probe against the gallery: who comes closest, best first.

This is where the promises meet the search: a probe sees only the templates of its own origin
(P4), and only people whose consent stands at this moment (P2) and who have not left (P3).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from edge_app.core.gallery import Gallery
from edge_app.records import Candidate, Probe

_ROWS_PER_CANDIDATE: Final = 4
_WIDENING: Final = 4


def match(probe: Probe, gallery: Gallery, now: datetime, count: int) -> tuple[Candidate, ...]:
    """The `count` nearest people, best first, each with the best score of their templates.

    now: aware, UTC; consents are judged by it anew at every match.

    Rows of hidden people and second templates of one person use up places in the index's
    answer, so the search widens until `count` people are found or all rows were seen: an
    enrolled person is never lost behind one who expired.
    """
    rows_wanted = count * _ROWS_PER_CANDIDATE
    while True:
        candidates = _candidates(probe, gallery, now, rows_wanted)
        if len(candidates) >= count or rows_wanted >= len(gallery.section(probe.origin).index):
            return candidates[:count]
        rows_wanted *= _WIDENING


def _candidates(
    probe: Probe, gallery: Gallery, now: datetime, rows_wanted: int
) -> tuple[Candidate, ...]:
    section = gallery.section(probe.origin)
    rows, similarities = section.index.search(probe.embedding, rows_wanted)
    best: dict[int, float] = {}
    for person, similarity in zip(section.person_of_row[rows].tolist(), similarities, strict=True):
        best.setdefault(person, float(similarity))
    return tuple(
        Candidate(person_id, similarity)
        for person, similarity in best.items()
        if section.people.is_valid(person, now)
        and (person_id := section.people.person_id(person)) not in gallery.masked
    )
