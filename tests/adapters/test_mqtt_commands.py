"""Commands to a device over MQTT: hints and requests, in good order and in bad."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_app.adapters.mqtt import (
    BrokerAddress,
    Commands,
    Incoming,
    MqttPublisher,
    Outgoing,
    Topics,
    ask,
    tell_all,
)
from edge_app.adapters.mqtt.commands import BURST
from edge_app.adapters.mqtt.states import gallery_state, health_state
from edge_app.adapters.outbox import Outbox
from edge_app.core.governor import Effort
from edge_app.core.health import Condition, FramePace, Health
from edge_app.core.request import RevokeRequest, Status, decode_reply, encode_request
from edge_app.core.revocation import new_code
from edge_app.errors import ConfigError, DeliveryError, StorageError
from edge_app.records import ClockState, Purpose
from tests.adapters.test_mqtt import (
    LINK,
    SETTINGS,
    TOPICS,
    DemoBroker,
    Device,
    ManualClock,
    Peer,
    Subscriber,
    TrickBroker,
    subscribed,
    until,
)
from tests.brokers import Mosquitto
from tests.support import ROOT

CODE = new_code(b"fifteen bytes!!")
REQUEST = encode_request(RevokeRequest(CODE))
ANSWERS_AT = TOPICS.reply("me")


@dataclass
class Obeying:
    """Commands, and what they led to."""

    clock: ManualClock = field(default_factory=ManualClock)
    hints: int = 0
    codes: list[str] = field(default_factory=list)
    answers: list[Outgoing] = field(default_factory=list)
    commands: Commands = field(init=False)
    known: bool = True
    fault: Exception | None = None
    go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.go_on.set()
        self.commands = Commands(
            TOPICS,
            revoke=self._revoke,
            gallery_changed=self._hint,
            monotonic_s=lambda: self.clock.added_s,
        )

    def ask(
        self,
        payload: bytes = REQUEST,
        *,
        at: str | None = ANSWERS_AT,
        correlation: bytes | None = b"c",
        topic: str = TOPICS.request,
    ) -> None:
        self.commands.take(Incoming(topic, payload, at, correlation), self.answers.append)

    def statuses(self) -> list[Status]:
        """Of everything that was asked, once it is done."""
        self.commands.close()
        return [decode_reply(answer.payload).status for answer in self.answers]

    def _hint(self) -> None:
        self.hints += 1

    def _revoke(self, code: str) -> bool:
        assert self.go_on.wait(30)
        if self.fault is not None:
            raise self.fault
        self.codes.append(code)
        return self.known


@pytest.fixture
def obeying() -> Iterator[Obeying]:
    made = Obeying()
    yield made
    made.go_on.set()
    if made.commands._thread.is_alive():
        made.commands.close()


# --- without a broker -----------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b'{"generation": 7}', b"junk", REQUEST, b"\xff" * 9_000])
def test_a_hint_makes_the_device_look_whatever_it_says_and_nothing_else(
    obeying: Obeying, payload: bytes
) -> None:
    obeying.ask(payload, topic=TOPICS.gallery_changed)
    assert obeying.hints == 1
    assert obeying.statuses() == []
    assert obeying.codes == []


def test_a_code_is_revoked_and_answered_where_it_was_asked(obeying: Obeying) -> None:
    obeying.ask()
    assert obeying.statuses() == [Status.LEFT]
    assert obeying.codes == [CODE]
    (answer,) = obeying.answers
    assert (answer.topic, answer.correlation) == (ANSWERS_AT, b"c")
    assert not answer.retain
    assert answer.expiry_s == 60


def test_the_answer_is_the_same_whether_anybody_has_the_code(obeying: Obeying) -> None:
    obeying.ask()
    until(lambda: obeying.answers, "the first is answered")
    obeying.known = False
    obeying.ask()
    assert obeying.statuses() == [Status.LEFT, Status.LEFT]
    assert obeying.answers[0] == obeying.answers[1]


@pytest.mark.parametrize("payload", [b"", b"junk", b"{}", REQUEST[:-1], REQUEST + b" " * 1_024])
def test_what_is_malformed_gets_one_answer_that_says_so(obeying: Obeying, payload: bytes) -> None:
    obeying.ask(payload)
    assert obeying.statuses() == [Status.MALFORMED]
    assert obeying.codes == []
    assert obeying.answers[0].topic == ANSWERS_AT


@pytest.mark.parametrize(
    "topic",
    [
        None,
        "",
        TOPICS.match,
        TOPICS.availability,
        TOPICS.reply(""),
        TOPICS.reply("a/b"),
        TOPICS.reply("+"),
        TOPICS.reply("me") + "\n",
        TOPICS.reply("x" * 65),
        Topics("home", "other").reply("me"),
        "$SYS/me",
    ],
)
def test_an_answer_goes_below_the_devices_own_reply_topic_and_nowhere_else(
    obeying: Obeying, topic: str | None
) -> None:
    """Or anybody could have the device publish alerts and states that it never meant."""
    obeying.ask(at=topic)
    assert obeying.statuses() == [Status.UNSUPPORTED]
    assert obeying.answers[0].topic == TOPICS.reply("unaddressed")
    assert obeying.codes == []


@pytest.mark.parametrize("correlation", [None, b"", b"x" * 65])
def test_correlation_data_are_needed_and_bounded(
    obeying: Obeying, correlation: bytes | None
) -> None:
    obeying.ask(correlation=correlation)
    assert obeying.statuses() == [Status.UNSUPPORTED]
    assert obeying.codes == []


def test_another_topic_is_not_obeyed(obeying: Obeying) -> None:
    obeying.ask(topic=TOPICS.commands.replace("+", "other"))
    assert obeying.statuses() == []
    assert (obeying.hints, obeying.codes) == (0, [])


def test_guessing_is_limited_to_one_code_a_second(obeying: Obeying) -> None:
    for _ in range(BURST):
        obeying.ask(b"junk")
    for payload in (REQUEST, b"junk"):
        obeying.ask(payload)
    obeying.clock.added_s += 1
    obeying.ask()
    obeying.ask()
    malformed, busy, left = Status.MALFORMED, Status.BUSY, Status.LEFT
    statuses = obeying.statuses()
    assert statuses[: BURST + 2] == [malformed] * BURST + [busy] * 2
    assert sorted(statuses[BURST + 2 :]) == sorted([left, busy])
    assert obeying.codes == [CODE]
    obeying.clock.added_s += 1_000
    assert sum(obeying.commands._limit.allows() for _ in range(100)) == BURST


def test_while_the_disk_is_slow_only_so_many_wait(obeying: Obeying) -> None:
    obeying.go_on.clear()
    for _ in range(30):
        obeying.ask()
        obeying.clock.added_s += 1
    assert 20 <= len(obeying.answers) <= 22
    obeying.go_on.set()
    statuses = obeying.statuses()
    assert set(statuses) == {Status.BUSY, Status.LEFT}
    assert statuses.count(Status.LEFT) == len(obeying.codes) <= 10


def test_a_device_that_cannot_store_it_says_so_and_not_why(
    obeying: Obeying, caplog: pytest.LogCaptureFixture
) -> None:
    obeying.fault = StorageError("this code's holder has left for good, but is not erased yet")
    obeying.ask()
    until(lambda: obeying.answers, "it is answered")
    assert b"holder has" not in obeying.answers[0].payload
    obeying.fault = None
    obeying.ask()
    assert obeying.statuses() == [Status.FAILED, Status.LEFT]
    assert "revocation over MQTT failed" in caplog.text


def test_a_defect_does_not_shut_the_door_to_those_who_leave_next(
    obeying: Obeying, caplog: pytest.LogCaptureFixture
) -> None:
    obeying.fault = RuntimeError(CODE)
    for _ in range(BURST - 1):
        obeying.ask()
    until(lambda: len(obeying.answers) == BURST - 1, "all are answered")
    obeying.fault = None
    obeying.ask()
    statuses = obeying.statuses()
    assert statuses[-1] is Status.LEFT
    assert set(statuses) <= {Status.FAILED, Status.BUSY, Status.LEFT}
    assert "defect: RuntimeError" in caplog.text
    assert CODE not in caplog.text


def test_nothing_of_a_request_is_logged(obeying: Obeying, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    obeying.fault = StorageError("full")
    wrong = CODE[:-1] + ("0" if CODE[-1] != "0" else "1")
    for payload in (REQUEST, REQUEST.replace(CODE.encode(), wrong.encode()), REQUEST[:-1]):
        obeying.ask(payload)
    obeying.statuses()
    said = caplog.text + repr(obeying.answers) + repr([a.payload for a in obeying.answers])
    assert CODE not in said
    assert wrong not in said
    assert CODE not in repr(Incoming(TOPICS.request, REQUEST, None, None))


# --- with brokers ---------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    clock = ManualClock()
    with ExitStack() as stack:
        outbox = Outbox(
            tmp_path / "outbox", key=bytes(32), max_alerts=10_000, boot_id="boot", clock=clock
        )
        stack.callback(outbox.close)
        yield Device(outbox, clock, stack)


def connected(device: Device, address: BrokerAddress, obeying: Obeying) -> MqttPublisher:
    publisher = MqttPublisher(
        device.outbox, address=address, tls=None, topics=TOPICS, link=LINK, settings=SETTINGS,
        on_command=obeying.commands.take,
    )  # fmt: skip
    publisher.start()
    device.stack.callback(publisher.close, 0.0)
    until(lambda: publisher.status.connected, "the device connects")
    return publisher


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def demo() -> Iterator[DemoBroker]:
    broker = DemoBroker()
    broker.start()
    yield broker
    broker.stop()


def asked(
    address: BrokerAddress,
    payload: bytes = REQUEST,
    topics: Topics = TOPICS,
    timeout_s: float = 30,
) -> bytes:
    return ask(
        address, tls=None, topics=topics, payload=payload, client_id="asker", link=LINK,
        timeout_s=timeout_s,
    )  # fmt: skip


def hint(address: BrokerAddress, count: int = 1) -> None:
    message = Outgoing(TOPICS.gallery_changed, b'{"generation": 2}', retain=True)
    tell_all(address, tls=None, messages=[message] * count, client_id="operator", link=LINK)


def test_a_request_is_answered_over_mosquitto(
    device: Device, mosquitto: Mosquitto, obeying: Obeying
) -> None:
    connected(device, mosquitto.address, obeying)
    with subscribed(mosquitto) as subscriber:
        assert decode_reply(asked(mosquitto.address)).status is Status.LEFT
        assert decode_reply(asked(mosquitto.address, b"junk")).status is Status.MALFORMED
        until(lambda: len([m for m in subscriber.messages if "/reply/" in m.topic]) == 2, "both")
        replies = [m for m in subscriber.messages if "/reply/" in m.topic]
    assert not any(message.retain for message in replies)
    assert len({message.topic for message in replies}) == 2, "each asker has a topic of its own"
    assert obeying.codes == [CODE]


def test_an_answer_to_somebody_else_is_not_taken_for_ours(
    device: Device, mosquitto: Mosquitto
) -> None:
    def confuse(message: Incoming, send: Callable[[Outgoing], None]) -> None:
        answer = Outgoing(str(message.response_topic), b"right", correlation=message.correlation)
        send(replace(answer, payload=b"wrong", correlation=b"other"))
        send(replace(answer, payload=b"wrong", correlation=None))
        send(answer)

    publisher = MqttPublisher(
        device.outbox, address=mosquitto.address, tls=None, topics=TOPICS, link=LINK,
        settings=SETTINGS, on_command=confuse,
    )  # fmt: skip
    publisher.start()
    device.stack.callback(publisher.close, 0.0)
    until(lambda: publisher.status.connected, "the device connects")
    assert asked(mosquitto.address) == b"right"


def test_a_device_that_is_not_there_or_does_not_answer_is_told_apart(
    device: Device, mosquitto: Mosquitto, obeying: Obeying
) -> None:
    with pytest.raises(DeliveryError, match="no device home/glasses-1 listens"):
        asked(mosquitto.address)
    publisher = connected(device, mosquitto.address, obeying)
    asked(mosquitto.address, b"junk")
    publisher.close(0)
    with pytest.raises(DeliveryError, match="does not answer"):
        asked(mosquitto.address, timeout_s=0.3)
    with pytest.raises(DeliveryError, match="no device home/other listens"):
        asked(mosquitto.address, topics=Topics("home", "other"))


def test_a_hint_reaches_a_device_that_was_off(
    device: Device, mosquitto: Mosquitto, obeying: Obeying
) -> None:
    hint(mosquitto.address)
    connected(device, mosquitto.address, obeying)
    until(lambda: obeying.hints == 1, "the hint arrives")
    hint(mosquitto.address, count=50)  # more than mosquitto takes unacknowledged
    until(lambda: obeying.hints == 51, "the others arrive")


def test_alerts_go_out_in_a_flood_of_requests(
    device: Device, mosquitto: Mosquitto, obeying: Obeying
) -> None:
    connected(device, mosquitto.address, obeying)
    flood = [Outgoing(TOPICS.request, b"x" * 2_000, correlation=b"c")] * 2_000
    device.put(*range(20))
    tell_all(mosquitto.address, tls=None, messages=flood, client_id="flooder", link=LINK)
    device.put(*range(20, 40))
    until(lambda: device.pending() == 0, "all alerts are delivered")
    assert device.outbox.counts().delivered == 40
    assert obeying.codes == []


def test_a_huge_request_does_not_reach_the_device(
    device: Device, mosquitto: Mosquitto, obeying: Obeying
) -> None:
    connected(device, mosquitto.address, obeying)
    huge = Outgoing(TOPICS.request, b"x" * 1_000_000, response_topic=ANSWERS_AT, correlation=b"c")
    with subscribed(mosquitto) as subscriber:
        tell_all(mosquitto.address, tls=None, messages=[huge], client_id="teller", link=LINK)
        assert decode_reply(asked(mosquitto.address)).status is Status.LEFT
        until(lambda: [m for m in subscriber.messages if "/reply/" in m.topic], "it is answered")
        assert subscriber.on(ANSWERS_AT) == []


def test_a_broker_that_grants_no_commands_gets_the_alerts(
    device: Device, obeying: Obeying, caplog: pytest.LogCaptureFixture
) -> None:
    def deny(peer: Peer) -> None:
        peer.read()
        peer.accept()
        subscribe = peer.read()
        assert subscribe.kind == 8
        assert TOPICS.commands.encode() in subscribe.body
        peer.send(b"\x90\x04" + subscribe.body[:2] + b"\x00\x87")
        while True:
            peer.ack(peer.read_alert()[0])

    with closing(TrickBroker(deny)) as broker:
        device.put(1, 2)
        connected(device, broker.address, obeying).close(30)
        assert device.pending() == 0
    assert "read no commands" in caplog.text


def test_with_mqtt_3_1_1_hints_work_and_requests_say_what_they_need(
    device: Device, demo: DemoBroker, obeying: Obeying
) -> None:
    connected(device, demo.address, obeying)
    with pytest.raises(DeliveryError, match="requests need MQTT 5"):
        asked(demo.address)
    with closing(Subscriber(demo.address, demo.protocol)) as subscriber:
        client = Client(CallbackAPIVersion.VERSION2, "sender")
        client.username_pw_set(demo.address.username, demo.address.password)
        client.connect(demo.address.host, demo.address.port)
        client.loop_start()
        client.publish(TOPICS.request, REQUEST, qos=1).wait_for_publish(30)
        topic = TOPICS.reply("unaddressed")
        until(lambda: subscriber.on(topic), "the device answers")
        reply = decode_reply(subscriber.on(topic)[0])
        client.disconnect()
        client.loop_stop()
    assert (reply.status, "need MQTT 5" in reply.detail) == (Status.UNSUPPORTED, True)
    hint(demo.address)
    until(lambda: obeying.hints > 0, "the hint arrives")
    assert obeying.codes == []


def test_telling_reports_refusals(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("user user\ntopic read #\n")
    message = Outgoing(TOPICS.gallery_changed, b"{}", retain=True)
    with Mosquitto(tmp_path / "strict", f"acl_file {tmp_path / 'acl'}\n") as strict:
        with pytest.raises(DeliveryError, match="refuses a message"):
            tell_all(strict.address, tls=None, messages=[message], client_id="o", link=LINK)
        with pytest.raises(DeliveryError, match="does not take the request"):
            asked(strict.address)

    def never(peer: Peer) -> None:
        peer.read()
        peer.accept()
        with suppress(EOFError):
            while True:
                peer.read()

    with closing(TrickBroker(never)) as silent:
        hasty = replace(LINK, connect_timeout_s=0.2)
        with pytest.raises(DeliveryError, match="does not acknowledge"):
            tell_all(silent.address, tls=None, messages=[message], client_id="o", link=hasty)
        tell_all(silent.address, tls=None, messages=[], client_id="o", link=hasty)
    with pytest.raises(ConfigError, match="device"):
        Topics("home", "a/b")


# --- states ---------------------------------------------------------------------------------


def test_the_health_state_is_what_its_schema_and_example_say() -> None:
    payload = health_state(
        Health(
            condition=Condition.RUNNING,
            pace=FramePace(29.8, 24.6),
            dropped_frames=3,
            effort=Effort.FULL,
            pending_alerts=0,
            expired_alerts=2,
            forced_out_alerts=0,
            clock_state=ClockState.SYNCHRONISED,
            temperature_c=61.3,
            throttled=False,
            memory_mb=212.4,
            version="0.1.0",
        )
    )
    schemas = ROOT / "deploy" / "schemas"
    assert json.loads(payload) == json.loads(
        (schemas / "examples" / "health-v1-running.json").read_text()
    )
    properties = json.loads((schemas / "health-v1.schema.json").read_text())["properties"]
    assert properties["state"]["enum"] == [condition.value for condition in Condition]
    assert properties["effort"]["enum"] == [effort.words for effort in Effort]
    assert properties["clock_state"]["enum"] == [state.value for state in ClockState]


def test_the_gallery_state_tells_nothing_of_anybody() -> None:
    payload = gallery_state(
        generation=None,
        lease_until=None,
        target_fpir=0.003,
        model_id="m@1",
        purpose=Purpose.CARE,
    )
    assert json.loads(payload) == {
        "generation": None,
        "lease_until": None,
        "target_fpir": 0.003,
        "model_id": "m@1",
        "purpose": "care",
    }
