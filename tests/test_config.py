import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.config import BOUNDS, Config, load_config, make_config, numbers
from edge_app.errors import ConfigError
from edge_app.records import Purpose

ZONE = [[0.3, 0.0], [0.7, 0.0], [0.7, 1.0], [0.3, 1.0]]


def nested(key: str, value: object) -> dict[str, object]:
    tree: object = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    assert isinstance(tree, dict)
    return tree


def test_nothing_stated_is_the_defaults() -> None:
    assert make_config({}) == Config()
    assert load_config(None) == Config()


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    assert load_config(tmp_path / "config.toml") == Config()


def test_every_number_has_bounds_and_a_default_within_them() -> None:
    stated = dict(numbers(Config().model_dump()))
    assert stated.keys() == BOUNDS.keys()
    assert all(BOUNDS[key][0] <= value <= BOUNDS[key][1] for key, value in stated.items())


@pytest.mark.parametrize("key", sorted(BOUNDS))
def test_numbers_out_of_bounds_are_refused(key: str) -> None:
    low, high = BOUNDS[key]
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
            make_config(nested(key, value))


@given(
    st.sampled_from(["look.min_coherence", "hud.unsure_margin"]),
    st.sampled_from([math.nan, math.inf]),
)
def test_no_number_is_not_a_number(key: str, value: float) -> None:
    with pytest.raises(ConfigError):
        make_config(nested(key, value))


@pytest.mark.parametrize(
    "zone",
    [
        [[math.nan, 0], [1, 0], [1, 1], [0, 1]],
        [[0, 0], [math.inf, 0], [1, 1]],
        [[0, 0], [1.1, 0], [0.5, 0.5]],
        [[0, 0], [1, 0], [1, 1], [0, 1]],
        [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]],
    ],
)
def test_zones_that_mark_nothing_or_everything(zone: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match=r"attention\.zone"):
        make_config({"purpose": "entry", "attention": {"zone": zone}})


def test_one_value_leaves_the_rest_of_its_section() -> None:
    config = make_config({"attention": {"max_distance_m": 2.0}})
    assert config.attention.max_distance_m == 2.0
    assert config.attention.max_yaw_deg == Config().attention.max_yaw_deg


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"purpos": "assist"}, 'did you mean "purpose"'),
        ({"attention": {"max_distanc_m": 2}}, 'did you mean "attention.max_distance_m"'),
        ({"attention": 3}, r"write \[attention\]"),
        ({"purpose": "surveillance"}, "purpose"),
        ({"match": {"target_fpir": "low"}}, "match.target_fpir"),
        ({"embedder": "another"}, "embedder"),
        ({"zzz": 1}, 'unknown key "zzz"'),
        ({"scan": {"tile_detector": "facemesh"}}, "no detector"),
        ({"hud": {"language": "xx"}}, "hud.language"),
        ({"site": "My Home"}, "site"),
        ({"home_assistant": {"prefix": "a/#"}}, "home_assistant.prefix"),
        ({"pins": {"indicator": "17"}}, "pins.indicator"),
        ({"pins": {"indicator": "GPIO28"}}, "pins.indicator"),
        ({"pins": {"indicator": "GPIO2"}}, "pins.indicator"),
        ({"pins": {"indicator": "GPIO17\n"}}, "pins.indicator"),
        ({"pins": {"indicator": "GPIO17"}, "indicator": {"led": "/sys/x"}}, "are both set"),
        ({"pins": {"indicator": "GPIO17", "shutter": "GPIO17"}}, "GPIO17 is named more than once"),
        ({"quality": {"min_brightness": 200, "max_brightness": 100}}, "min_brightness"),
    ],
)
def test_wrong_keys_and_values_are_named(stated: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(stated)


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.ASSIST])
def test_the_other_purposes_need_a_marked_zone(purpose: Purpose) -> None:
    with pytest.raises(ConfigError, match=r"attention\.zone"):
        make_config({"purpose": purpose.value})
    config = make_config({"purpose": purpose.value, "attention": {"zone": ZONE}})
    assert len(config.attention.zone) == 4


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"purpose = ", b"[camera\n", b"site = 'a'\nsite = 'b'"]
)
def test_files_that_are_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")
