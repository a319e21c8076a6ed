"""The parser of ISMRMRD headers under random text: numbers in range, or a reason."""

from __future__ import annotations

import fastmri_files
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcsr_bench.data.raw.header import MAX_SIZE, Header, parse

HEADER = fastmri_files.header((640, 372), (320, 320), acquired=332).encode()
NUMBERS = st.one_of(
    st.integers(-10, 70_000).map(str), st.text(max_size=8), st.sampled_from(["1e3", "0x10", "٣", "1_0", ""])
)


def parsed(text: bytes) -> Header | None:
    """What the parser says; None where it refuses. Anything but ValueError is a fault."""
    said = ""
    try:
        header = parse(text)
    except ValueError as error:
        said, header = str(error), None
    assert "\n" not in said
    if header is None:
        assert said
        return None
    assert all(0 < n <= MAX_SIZE for n in (*header.encoded, *header.recon))
    assert 0 < header.acquired_columns <= header.encoded[1]
    assert 0 < header.acquired_fraction <= 1
    return header


@given(st.binary(max_size=400))
@example(b"")
@example(b"\xef\xbb\xbf<a/>")
@example(b"<" * 50_000)
@example(b"<a>" * 20_000)
def test_any_bytes(text: bytes) -> None:
    assert parsed(text) is None


@given(st.integers(0, len(HEADER)), st.integers(0, 40), st.binary(max_size=12))
def test_a_header_with_a_piece_replaced(start: int, length: int, piece: bytes) -> None:
    parsed(HEADER[:start] + piece + HEADER[start + length :])


@given(encoded=st.integers(1, 2000), centre=st.integers(0, 2000), last=st.integers(0, 2000))
def test_limits_mean_what_the_format_says(encoded: int, centre: int, last: int) -> None:
    text = HEADER.replace(b"<y>372</y>", b"<y>%d</y>" % encoded)
    text = text.replace(
        b"<maximum>331</maximum><center>166</center>", b"<maximum>%d</maximum><center>%d</center>" % (last, centre)
    )
    header = parsed(text)
    # line k of the limits lies at column k - centre + encoded // 2: count those that are there
    columns = {k - centre + encoded // 2 for k in range(last + 1)} & set(range(encoded))
    if centre > last or not columns:
        assert header is None
    else:
        assert header is not None
        assert header.encoded == (640, encoded)
        assert header.acquired_columns == len(columns)


@given(NUMBERS)
def test_a_matrix_size_is_a_whole_number_or_refused(number: str) -> None:
    header = parsed(HEADER.replace(b"<y>372</y>", b"<y>" + number.encode("utf-8", "replace") + b"</y>"))
    if header is not None:
        assert str(header.encoded[1]) == number.strip().lstrip("0")


@pytest.mark.parametrize("codec", ["utf-16", "utf-32", "latin-1"])
def test_other_encodings(codec: str) -> None:
    text = HEADER.decode().replace("1799", "é").encode(codec, "replace")
    assert (parsed(text) is None) == (codec != "latin-1")
