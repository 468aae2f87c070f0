"""When the health is told, and the pace that is told with it."""

from edge_app.core.health import Condition, FramePace, HealthPeriod

RUNNING, LOST = Condition.RUNNING, Condition.CAMERA_LOST


def test_the_first_is_told_at_once_and_has_no_pace() -> None:
    period = HealthPeriod(60.0)
    assert period.due(RUNNING, 1000.0)
    assert period.close(RUNNING, 1000.0) == FramePace(None, None)
    assert not period.due(RUNNING, 1000.0)


def test_it_is_told_again_after_the_interval_and_on_another_condition() -> None:
    period = HealthPeriod(60.0)
    period.close(RUNNING, 1000.0)
    assert not period.due(RUNNING, 1059.9)
    assert period.due(RUNNING, 1060.0)
    assert period.due(LOST, 1001.0)
    period.close(LOST, 1001.0)
    assert not period.due(LOST, 1060.0)
    assert period.due(RUNNING, 1001.0)


def test_a_period_has_its_own_frames_only() -> None:
    period = HealthPeriod(10.0)
    period.close(RUNNING, 0.0)
    for took_ms in range(101):
        period.worked(took_ms / 1e3)
    assert period.close(RUNNING, 10.0) == FramePace(10.1, 95.0)
    assert period.close(LOST, 20.0) == FramePace(0.0, None)
    period.worked(0.004)
    assert period.close(RUNNING, 20.0) == FramePace(None, 4.0)  # no time went by


def test_without_an_end_it_remembers_no_more_than_it_needs() -> None:
    period = HealthPeriod(10.0)
    period.close(RUNNING, 0.0)
    for _ in range(5000):
        period.worked(9.0)
    for _ in range(10_000):
        period.worked(0.001)
    assert period.close(RUNNING, 1000.0) == FramePace(15.0, 1.0)
