"""Putting data into a JPEG changes nothing else in it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.errors import BadInputError, DamagedFileError
from backend.storage import jpeg


def plain_jpeg(progressive: bool = False, restart: int = 0) -> bytes:
    """A small JPEG of a gradient."""
    ramp = np.linspace(0, 255, 40 * 56).reshape(40, 56)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    return cv2.imencode(".jpg", np.dstack([ramp, ramp[::-1], ramp.T.reshape(40, 56)]).astype(np.uint8), options)[
        1
    ].tobytes()


PLAIN = plain_jpeg()


def segment(marker: int, body: bytes) -> bytes:
    """One segment of a header."""
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def pixels(data: bytes) -> np.ndarray:
    """Decoded picture."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("data", [PLAIN, plain_jpeg(progressive=True), plain_jpeg(restart=4)])
def test_put_read_replace_take_out(data: bytes) -> None:
    first = jpeg.with_payload(data, b"first")
    second = jpeg.with_payload(first, b"the second")
    assert jpeg.read_payload(data) is None
    assert jpeg.read_payload(first) == b"first"
    assert jpeg.read_payload(second) == b"the second"
    assert jpeg.with_payload(second, None) == data
    assert np.array_equal(pixels(second), pixels(data))
    assert jpeg.read_header(second).width == 56
    assert jpeg.read_header(second).height == 40
    assert jpeg.is_complete_jpeg(second)


def test_the_segment_goes_behind_the_last_application_segment() -> None:
    head = PLAIN[:2] + segment(0xE1, b"Exif\0\0some") + segment(0xEF, b"old") + segment(0xE2, b"ICC") + b"\xff\xff\xff"
    data = head + segment(0xFE, b"comment")[1:] + PLAIN[2:]
    changed = jpeg.with_payload(data, b"new")
    markers = [s.marker for s in jpeg.read_header(changed).segments]
    assert markers[:5] == [0xE1, 0xE2, 0xFE, 0xE0, 0xEF]
    assert jpeg.read_payload(changed) == b"new"
    assert jpeg.with_payload(changed, None) == jpeg.with_payload(data, None)


def test_without_application_segments_it_goes_behind_the_first() -> None:
    first = jpeg.read_header(PLAIN).segments[0]
    bare = PLAIN[: first.start] + PLAIN[first.end :]
    assert [s.marker for s in jpeg.read_header(jpeg.with_payload(bare, b"x")).segments][1] == jpeg.APP15


def test_bytes_after_the_end_stay() -> None:
    data = PLAIN + b"\xff\xefgarbage\xff\xd8"
    assert jpeg.with_payload(data, b"x").endswith(b"\xff\xefgarbage\xff\xd8")
    assert jpeg.is_complete_jpeg(data)


def test_the_largest_payload_fits_and_one_more_byte_does_not() -> None:
    assert jpeg.read_payload(jpeg.with_payload(PLAIN, bytes(jpeg.MAX_PAYLOAD))) == bytes(jpeg.MAX_PAYLOAD)
    with pytest.raises(BadInputError, match="65,534"):
        jpeg.with_payload(PLAIN, bytes(jpeg.MAX_PAYLOAD + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xd9",
        PLAIN[:30],
        b"\xff\xd8" + b"\xff" * 5_000_000,
        b"\xff\xd8" + segment(0xE0, b"") * 500_000,
        b"\xff\xd8\xff\xe0\x00\x01" + PLAIN[2:],
    ],
    ids=["empty", "start", "png", "no picture", "cut", "fill bytes", "very many segments", "length of one"],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    for action in (jpeg.read_payload, lambda d: jpeg.with_payload(d, b"x")):
        with pytest.raises(DamagedFileError):
            action(data)
    assert not jpeg.is_complete_jpeg(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_gives_one_clear_error_or_a_result(data: st.DataObject) -> None:
    broken = bytearray(jpeg.with_payload(PLAIN, b"payload"))
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, 700))] = data.draw(st.sampled_from((0, 1, 2, 255, 0xD8, 0xD9, 0xDA, 0xEF)))
    broken = broken[: data.draw(st.integers(0, len(broken)))]
    try:
        jpeg.read_payload(bytes(broken))
        changed = jpeg.with_payload(bytes(broken), b"fresh")
    except DamagedFileError:
        return
    assert jpeg.read_payload(changed) == b"fresh"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_noise_gives_one_clear_error_or_a_result(noise: bytes) -> None:
    jpeg.is_complete_jpeg(noise)
    try:
        jpeg.with_payload(b"\xff\xd8\xff" + noise, b"x")
    except DamagedFileError:
        return
