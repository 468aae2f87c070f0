"""What the wearer of a running device sees, hears and feels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from edge_app.config import Config
from edge_app.core.gallery import Gallery
from edge_app.core.health import Condition
from edge_app.core.present import fault_words, hud_view, phrases
from edge_app.core.quality import too_dark
from edge_app.core.question import Question, Reply
from edge_app.core.steady import PresentSettings, RecognisedFace, Shown, steady
from edge_app.pipeline import FrameResult
from edge_app.ports import Clock, Display, Haptic, Speaker
from edge_app.records import Frame, HudView, Touch, Utterance
from edge_app.wearer import Announcer


class Presenter:
    """Who is in view now, in words; and "who is this?", asked and answered.

    For one thread, but for `ask`.
    """

    def __init__(
        self, config: Config, display: Display, speaker: Speaker, haptic: Haptic, clock: Clock
    ) -> None:
        """Raises ConfigError: there is no such language, or the quiet hours are none."""
        self._hud = config.hud
        self._asked_for_s = config.look.asked_s
        self._darkest = config.quality.min_brightness
        self._display = display
        self._speaker = speaker
        self._haptic = haptic
        self._clock = clock
        self._words = phrases(config.hud.language)
        self._settings = PresentSettings(
            unsure_margin=config.hud.unsure_margin,
            unsure_slack=config.hud.unsure_slack,
            ahead_share=config.hud.ahead_share,
            side_slack=config.hud.side_slack,
            hold_s=config.hud.hold_s,
            max_people=config.hud.max_people,
        )
        self._announcer = Announcer(config, speaker, clock)
        self._people: tuple[Shown, ...] = ()
        self._last_view = HudView((), "")
        self._asked_s: float | None = None
        self._question: Question[Shown] = Question(config.hud.answer_s)
        self._widen_gate = False
        self._notice, self._notice_until_s = "", float("-inf")

    def close(self) -> None:
        self._display.close()
        self._speaker.close()
        self._haptic.close()

    # ------------------------------------------------------------------ who is in view

    def show_frame(
        self,
        result: FrameResult,
        frame: Frame,
        gallery: Gallery,
        *,
        condition: Condition,
        now: datetime,
        lease: datetime | None,
    ) -> None:
        """Shows who is recognised, and for a moment who was, while they may be (P2)."""
        self._people = steady(
            [p for p in self._people if gallery.is_usable(p.person_id, frame.origin, now)],
            _faces(result, gallery),
            now_s=frame.time_s,
            frame_width_px=frame.width_px,
            threshold=gallery.calibration.threshold,
            settings=self._settings,
        )
        fault = fault_words(condition, self._hud.language)
        hint = self._noted() or self._hint(lease, now)
        self._show(hud_view(self._people, fault=fault, hint=hint, language=self._hud.language))
        self._announcer.fault(fault)
        if self._question.is_open:
            dark = too_dark(frame.image_bgr, self._darkest)
            someone = {person.person_id: person for person in self._people}
            self._question.looked(someone, unsure=result.unsure, dark=dark)

    def greet(self, newcomers: AbstractSet[str]) -> None:
        """Says and taps who has come; while a question is open, they are part of its answer."""
        if newcomers and not self._question.is_open:
            people = [p for p in self._people if p.person_id in newcomers]
            self._announcer.name(people)
            self._touch(people)

    def show_camera_lost(self) -> None:
        self._people = ()
        self._show(HudView((), self._words.camera_lost, fault=True))
        self._announcer.fault(self._words.camera_lost)

    def show_covered(self, *, covered: bool) -> None:
        """The wearer covered the camera, or uncovered it."""
        words = self._words
        if covered:
            self._people = ()
            self._question.drop()  # that it is covered is the answer
            self._notice = ""
        self._show(HudView((), words.camera_covered if covered else "", fault=covered))
        self._speaker.say(words.camera_covered if covered else words.camera_uncovered)

    # ------------------------------------------------------------------ "who is this?"

    def ask(self) -> None:
        """The wearer asks "who is this?". Safe from any thread and from signal handlers."""
        self._asked_s = self._clock.monotonic_s()

    def hear(self) -> None:
        """Opens the question that was asked since the last frame; not one that waited longer."""
        asked_s, self._asked_s = self._asked_s, None
        now_s = self._clock.monotonic_s()
        if asked_s is not None and now_s - asked_s < self._asked_for_s:
            self._question.ask(now_s)
            self._widen_gate = True

    def asks_further(self) -> bool:
        """Whether the wearer asked since the last frame: told once (P11)."""
        widen, self._widen_gate = self._widen_gate, False
        return widen

    def answer(self, condition: Condition, gallery: Gallery) -> None:
        """Tells the wearer who is there, once a question's answer is due."""
        if not self._question.is_open:
            return
        fault = condition is not Condition.RUNNING
        answer = self._question.answer(self._clock.monotonic_s(), fault=fault)
        if answer is None:
            return
        self._widen_gate = False
        people = [p for p in answer.people if gallery.member(p.person_id) is not None]
        if people:
            self._announcer.answer(people)
            self._touch(people)
        elif fault or answer.reply is Reply.UNSEEN:
            self._tell_fault(condition if fault else Condition.CAMERA_LOST)
        else:
            self._tell(answer.reply)

    def _tell_fault(self, condition: Condition) -> None:
        """It is shown for as long as it holds."""
        fault = fault_words(condition, self._hud.language)
        self._show(HudView((), fault, fault=True))
        self._announcer.answer_fault(fault)

    def _tell(self, reply: Reply) -> None:
        """An answer without a name. PEOPLE: they left the gallery since they were seen."""
        words = self._words
        shown, said = {
            Reply.UNSURE: (words.known, words.said_not_sure),
            Reply.TOO_DARK: (words.too_dark, words.too_dark),
        }.get(reply, (words.nobody_enrolled, words.nobody_enrolled))
        self._notice = shown
        self._notice_until_s = self._clock.monotonic_s() + self._hud.notice_s
        self._speaker.say([Utterance(said, chime=reply is Reply.UNSURE)])
        if reply is Reply.UNSURE:
            self._haptic.play(Touch.UNSURE)

    # ------------------------------------------------------------------ words

    def _noted(self) -> str:
        """The last answer without a name, for a while, or until somebody is recognised."""
        if self._people or self._clock.monotonic_s() >= self._notice_until_s:
            self._notice = ""
        return self._notice

    def _hint(self, lease: datetime | None, now: datetime) -> str:
        """What the wearer had better know while all is well; empty: nothing."""
        if self._speaker.silent:
            return self._words.no_sound
        if lease is None:
            return ""
        left_h = (lease - now).total_seconds() / 3600
        if left_h > self._hud.lease_warning_h:
            return ""
        return self._words.lease_ends.format(hours=math.ceil(left_h))

    def _touch(self, people: Sequence[Shown]) -> None:
        unsure = all(person.line.unsure for person in people)
        self._haptic.play(Touch.UNSURE if unsure else Touch.RECOGNISED)

    def _show(self, view: HudView) -> None:
        if view != self._last_view:
            self._last_view = view
            self._display.show(view)


def _faces(result: FrameResult, gallery: Gallery) -> list[RecognisedFace]:
    """Who is recognised, by name."""
    return [
        RecognisedFace(
            seen.person_id, person.name, person.relation, seen.box_px.centre[0], seen.similarity
        )
        for seen in result.recognised
        if (person := gallery.member(seen.person_id)) is not None
    ]
