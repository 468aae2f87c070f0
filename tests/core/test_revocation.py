import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.core.revocation import (
    CODE_LENGTH,
    ENTROPY_BYTES,
    new_code,
    normalise_code,
    revocation_sha256,
    spoken_code,
)
from edge_app.errors import ConsentError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE = new_code(bytes(range(15)))
entropies = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)


def test_code_is_pinned() -> None:
    """Codes on paper must stay valid through every release."""
    assert CODE == "000G40R40M30E209185GR38EC1"
    assert spoken_code(CODE) == "000G-40R4-0M30-E209-185G-R38E-C1"
    assert revocation_sha256(CODE) == hashlib.sha256(CODE.encode()).hexdigest()


def test_at_least_100_bits_are_random() -> None:
    assert ENTROPY_BYTES * 8 >= 100


@given(entropies, entropies)
def test_all_entropy_is_in_the_code(one: bytes, other: bytes) -> None:
    assert (new_code(one) == new_code(other)) == (one == other)
    assert len(new_code(one)) == CODE_LENGTH
    assert set(new_code(one)) <= set(ALPHABET)


@given(entropies)
def test_code_is_read_as_it_is_written(entropy: bytes) -> None:
    code = new_code(entropy)
    assert normalise_code(code) == code
    assert normalise_code(spoken_code(code)) == code
    assert normalise_code(f"  {spoken_code(code).lower().replace('-', ' ')}\n") == code
    assert normalise_code(code.replace("0", "O").replace("1", "l")) == code
    assert normalise_code(code.replace("0", "o").replace("1", "I")) == code
    assert normalise_code(spoken_code(code).replace("-", "\u2013")) == code


@given(entropies, st.integers(0, CODE_LENGTH - 1), st.sampled_from(ALPHABET))
def test_every_single_wrong_symbol_is_noticed(entropy: bytes, place: int, symbol: str) -> None:
    code = new_code(entropy)
    wrong = code[:place] + symbol + code[place + 1 :]
    if wrong != code:
        with pytest.raises(ConsentError, match="is wrong or two have changed places"):
            normalise_code(wrong)


@given(entropies, st.integers(0, CODE_LENGTH - 2))
def test_every_swap_of_neighbours_is_noticed(entropy: bytes, place: int) -> None:
    code = new_code(entropy)
    wrong = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if wrong != code:
        with pytest.raises(ConsentError, match="changed places"):
            normalise_code(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 characters instead of 26"),
        (CODE[:-1], "has 25 characters"),
        (CODE + "0", "has 27 characters"),
        ("U" + CODE[1:], "a character that no code has"),
        ("\u00e9" + CODE[1:], "a character that no code has"),
        ("\u0665" + CODE[1:], "a character that no code has"),
        ("1" * 100_000, "has 100000 characters"),
    ],
)
def test_what_is_wrong_is_said_and_the_text_is_not_repeated(text: str, message: str) -> None:
    with pytest.raises(ConsentError, match=message) as caught:
        normalise_code(text)
    assert CODE[1:10] not in str(caught.value)


@pytest.mark.parametrize("size", [0, 14, 16])
def test_entropy_of_another_size_is_a_defect(size: int) -> None:
    with pytest.raises(ValueError, match="15 random bytes"):
        new_code(bytes(size))
