"""The revocation code: what an enrolled person holds to leave alone, at any time (P3).

26 symbols of Crockford's base 32 (no I, L, O or U): 24 carry 120 random bits, the last two
make the whole number a multiple of 1021. That prime divides neither any difference of two
symbols nor 31, the effect of exchanging neighbours, so every single wrong symbol and every
swap of two neighbours is noticed, wherever it is. The store knows the code's digest only.
"""

from __future__ import annotations

import hashlib
from typing import Final

from edge_app.errors import ConsentError

ENTROPY_BYTES: Final = 15
CODE_LENGTH: Final = 26
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {symbol: value for value, symbol in enumerate(_ALPHABET)}
_LOOKALIKES: Final = str.maketrans("OIL", "011")
_MODULUS: Final = 1021
_GROUP: Final = 4


def new_code(entropy: bytes) -> str:
    """A code from 15 random bytes, without separators.

    Raises:
        ValueError: not 15 bytes.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a revocation code takes {ENTROPY_BYTES} random bytes")
    shifted = int.from_bytes(entropy) << 10
    number = shifted + -shifted % _MODULUS
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(CODE_LENGTH)))


def spoken_code(code: str) -> str:
    """The code in groups of four, for a receipt: `ABCD-EFGH-...-YZ`."""
    return "-".join(code[start : start + _GROUP] for start in range(0, CODE_LENGTH, _GROUP))


def normalise_code(text: str) -> str:
    """A typed or scanned code without separators, in capitals, with lookalikes resolved.

    Raises:
        ConsentError: not a code; the message says what is wrong and never repeats the text.
    """
    code = "".join(c for c in text.upper() if c.isalnum()).translate(_LOOKALIKES)
    if any(symbol not in _VALUES for symbol in code):
        raise ConsentError(
            "the revocation code holds a character that no code has (such as U); "
            "compare it with the receipt and type it again"
        )
    if len(code) != CODE_LENGTH:
        raise ConsentError(
            f"the revocation code has {len(code)} characters instead of {CODE_LENGTH}; "
            "compare it with the receipt and type it again"
        )
    number = 0
    for symbol in code:
        number = number * 32 + _VALUES[symbol]
    if number % _MODULUS:
        raise ConsentError(
            "a character of the revocation code is wrong or two have changed places; "
            "compare it with the receipt and type it again"
        )
    return code


def revocation_sha256(code: str) -> str:
    """Hex SHA-256 of a normalised code, as a consent record and a tombstone hold it."""
    return hashlib.sha256(code.encode("ascii")).hexdigest()
