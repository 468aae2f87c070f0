"""The framing of MJPEG streams: any chunking gives the same parts, and nothing grows for ever."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.adapters.cameras.multipart import MultipartParser
from edge_app.errors import CameraError

MAX_HEADER_BYTES = 200
MAX_PART_BYTES = 1000

BODIES = st.lists(st.binary(max_size=60), max_size=6)


def parser(boundary: str = "frame") -> MultipartParser:
    return MultipartParser(
        boundary, max_header_bytes=MAX_HEADER_BYTES, max_part_bytes=MAX_PART_BYTES
    )


def parsed(chunks: list[bytes], boundary: str = "frame") -> tuple[list[bytes], str | None]:
    """The parts, and the message of the error that ended them."""
    cutter = parser(boundary)
    parts = []
    try:
        for chunk in chunks:
            cutter.feed(chunk)
            while (found := cutter.next_part()) is not None:
                parts.append(found)
    except CameraError as error:
        return parts, str(error)
    return parts, None


def stream(bodies: list[bytes], *, lengths: bool, delimiter: bytes = b"--frame") -> bytes:
    pieces = []
    for body in bodies:
        length = b"Content-Length: %d\r\n" % len(body) if lengths else b""
        head = b"Content-Type: image/jpeg\r\n" + length
        pieces.append(delimiter + b"\r\n" + head + b"\r\n" + body + b"\r\n")
    return b"".join(pieces)


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def test_nothing_gives_nothing() -> None:
    assert parsed([]) == ([], None)
    assert parsed([b""]) == ([], None)


@pytest.mark.parametrize("lengths", [True, False])
def test_one_part_comes_out(lengths: bool) -> None:
    data = stream([b"picture", b"next"], lengths=lengths)
    assert parsed([data])[0][0] == b"picture"


def test_a_part_with_a_length_does_not_wait_for_the_next_delimiter() -> None:
    data = stream([b"picture"], lengths=True)
    assert parsed([data.removesuffix(b"\r\n")]) == ([b"picture"], None)


def test_a_part_without_a_length_waits_for_the_next_delimiter() -> None:
    data = stream([b"picture"], lengths=False)
    assert parsed([data]) == ([], None)
    assert parsed([data, b"--frame"]) == ([b"picture"], None)


@given(BODIES, st.booleans(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_chunking_gives_the_parts_that_were_sent(
    bodies: list[bytes], lengths: bool, cuts: list[int]
) -> None:
    data = stream(bodies, lengths=lengths) + b"--frame\r\n"
    assert parsed(chopped(data, cuts)) == (bodies, None)


NASTY = st.lists(
    st.sampled_from(
        [
            b"--frame",
            b"--frame--",
            b"----frame",
            b"\r\n",
            b"\r\n\r\n",
            b"-",
            b"frame",
            b"Content-Length: 5",
            b"Content-Length: 999999",
            b"content-length:7\r\n",
            b"Content-Length: -1",
            b"x" * 150,
            b"y" * 700,
            b"-" * 100,
        ]
    )
    | st.binary(max_size=8),
    max_size=20,
).map(b"".join)


@given(NASTY, st.lists(st.integers(0, 10_000), max_size=30))
@example(b"--frame\r\n\r\nabc\r\n--frame", list(range(40)))
@example(b"\r\n" + b"-" * 100 + b"frame\r\n\r\nabc\r\n-------frame", list(range(150)))
def test_any_chunking_of_anything_gives_the_same(data: bytes, cuts: list[int]) -> None:
    assert parsed(chopped(data, cuts)) == parsed([data])


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    ("announced", "sent"),
    [
        ("frame", b"--frame"),
        ("--frame", b"--frame"),
        ("--frame", b"----frame"),
        ("frame", b"----frame"),
    ],
)
def test_cameras_disagree_on_the_dashes(announced: str, sent: bytes, lengths: bool) -> None:
    data = stream([b"one", b"two"], lengths=lengths, delimiter=sent) + sent + b"\r\n"
    assert parsed([data], announced) == ([b"one", b"two"], None)


def test_parts_may_have_no_header() -> None:
    assert parsed([b"--frame\r\n\r\none\r\n--frame\r\n\r\n"]) == ([b"one"], None)


def test_what_comes_before_the_first_delimiter_is_skipped() -> None:
    assert parsed([b"preamble\r\n" + stream([b"one"], lengths=True)]) == ([b"one"], None)


def test_a_length_that_is_too_short_loses_bytes_and_not_the_stream() -> None:
    wrong = b"--frame\r\nContent-Length: 3\r\n\r\npicture\r\n"
    assert parsed([wrong + stream([b"next"], lengths=True)]) == ([b"pic", b"next"], None)


def test_a_length_that_is_no_number_is_ignored() -> None:
    data = b"--frame\r\nContent-Length: many\r\n\r\none\r\n--frame"
    assert parsed([data]) == ([b"one"], None)


def test_the_closing_delimiter_ends_the_stream() -> None:
    parts, error = parsed([stream([b"one"], lengths=True) + b"--frame--\r\n"])
    assert parts == [b"one"]
    assert error == "the camera ended its stream"


@pytest.mark.parametrize(
    "data",
    [
        b"garbage " * 1000,
        b"-" * 5000,
        b"--frame\r\n" + b"X: y\r\n" * 1000,
        b"--frame\r\nX: " + b"y" * 5000,
        b"--frame\r\nContent-Length: 1001\r\n\r\n",
        b"--frame\r\nContent-Length: 999999999999999999\r\n\r\n",
        b"--frame\r\n\r\n" + b"x" * 5000,
        b"--frame\r\nContent-Length: 1\r\n\r\nx" + b"y" * 5000,
    ],
    ids=[
        "no boundary",
        "only dashes",
        "endless headers",
        "endless header",
        "long part",
        "longest part",
        "endless part",
        "garbage after a part",
    ],
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_what_never_ends_is_refused_and_not_kept(data: bytes, step: int) -> None:
    cutter = parser()
    with pytest.raises(CameraError, match="is that of an MJPEG stream"):  # noqa: PT012 - any step
        for start in range(0, len(data), step):
            cutter.feed(data[start : start + step])
            while cutter.next_part() is not None:
                pass
            assert len(cutter._buffer) < 2 * MAX_PART_BYTES


@pytest.mark.parametrize("lengths", [True, False])
def test_a_part_of_the_largest_size_is_taken(lengths: bool) -> None:
    body = b"x" * MAX_PART_BYTES
    data = stream([body], lengths=lengths) + b"--frame"
    assert parsed([data]) == ([body], None)
    longer = stream([body + b"x"], lengths=lengths) + b"--frame"
    assert parsed([longer])[0] == []
    assert parsed([longer])[1] is not None


@pytest.mark.parametrize("boundary", ["", "--", "-" * 80])
def test_a_stream_without_a_boundary_is_refused(boundary: str) -> None:
    with pytest.raises(CameraError, match="names no boundary"):
        parser(boundary)


def test_a_boundary_is_no_pattern() -> None:
    data = stream([b"one"], lengths=True, delimiter=b"--a.b*c")
    assert parsed([data], "a.b*c") == ([b"one"], None)
    assert parsed([data.replace(b"a.b*c", b"axbbc")], "a.b*c") == ([], None)
