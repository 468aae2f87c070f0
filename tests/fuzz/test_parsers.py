"""The short form of the campaigns: sound bytes are read, and damaged ones refused in one line."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import TARGETS, try_one

ROUNDS = 400


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_sound_is_read(name: str) -> None:
    target, sound = TARGETS[name]
    target(sound)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_read_or_refused(name: str) -> None:
    _, sound = TARGETS[name]
    draw = random.Random(name)  # noqa: S311 - repeatable, no secret
    for _ in range(ROUNDS):
        data = bytearray(sound)
        for _ in range(draw.randint(1, 4)):
            place = draw.randint(0, len(data))
            match draw.randrange(4):
                case 0:
                    data[place : place + 1] = draw.randbytes(1)
                case 1:
                    del data[place : place + draw.randint(1, 40)]
                case 2:
                    data[place:place] = draw.randbytes(draw.randint(1, 40))
                case _:
                    data[place:place] = data[:place]
        try_one(name, bytes(data))
