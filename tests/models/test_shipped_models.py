"""The files in `models/`, as they are shipped: manifest, cards, contracts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from numpy.typing import NDArray

from edge_app.adapters.tflite import load_model, read_manifest
from models import build, surgery

MODELS = build.MODELS_DIR
MANIFEST = read_manifest(MODELS)
NAMES = sorted(MANIFEST.models)
BUILT = ["blazeface_wide", "mobilefacenet_float", "mobilefacenet_int8"]


def probe(seed: int = 7) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return random.uniform(-1, 1, (1, 112, 112, 3)).astype(np.float32)


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / np.linalg.norm(vector))


def raw_run(content: bytes, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def test_manifest_lists_the_seven_models() -> None:
    assert NAMES == [
        "blazeface_back",
        "blazeface_full",
        "blazeface_short",
        "blazeface_wide",
        "facemesh",
        "mobilefacenet_float",
        "mobilefacenet_int8",
    ]


def test_folder_holds_the_models_of_the_manifest_and_no_others() -> None:
    files = {path.name for path in MODELS.glob("*.tflite")}

    assert files == {spec.file for spec in MANIFEST.models.values()}


def test_models_take_less_than_12_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODELS.glob("*.tflite")) < 12_000_000


@pytest.mark.parametrize("name", NAMES)
def test_manifest_states_size_and_hash(name: str) -> None:
    spec = MANIFEST.models[name]
    content = (MODELS / spec.file).read_bytes()

    assert len(content) == spec.bytes
    assert hashlib.sha256(content).hexdigest() == spec.sha256


@pytest.mark.parametrize("name", NAMES)
def test_manifest_agrees_with_the_sources(name: str) -> None:
    spec, source = MANIFEST.models[name], build.read_sources().models[name]

    assert (spec.input, spec.outputs, spec.built) == (source.input, source.outputs, source.built)
    assert spec.source.member_sha256 == source.member_sha256


@pytest.mark.parametrize("name", NAMES)
def test_model_has_a_card(name: str) -> None:
    card = (MODELS / "cards" / f"{name}.md").read_text(encoding="utf-8")

    for heading in ("For", "Input", "Outputs", "Measured", "Limits", "Not measured", "Licence"):
        assert f"\n## {heading}\n" in card, heading


@pytest.mark.parametrize("name", NAMES)
def test_model_runs_with_a_batch_of_one(name: str) -> None:
    spec = MANIFEST.models[name]

    outputs = load_model(MODELS, name)(np.zeros(spec.input.shape, spec.input.dtype))

    assert spec.input.shape[0] == 1
    assert [output.shape for output in outputs] == [output.shape for output in spec.outputs]


@pytest.mark.parametrize("name", NAMES)
def test_copied_models_are_the_packages_bytes(name: str) -> None:
    spec = MANIFEST.models[name]

    copied = spec.built == ("copied byte for byte",)
    assert (spec.sha256 == spec.source.member_sha256) == copied
    assert copied == (name not in BUILT)


@pytest.mark.parametrize("name", BUILT)
def test_built_models_have_aligned_buffers_and_no_chain_left(name: str) -> None:
    content = (MODELS / MANIFEST.models[name].file).read_bytes()
    model = surgery.parse(content)

    assert surgery.misaligned_buffers(content) == []
    assert surgery.find_prelu_chains(model) == []
    assert len(model.signatureDefs or []) == name.startswith("mobilefacenet")


def test_the_wide_network_is_the_short_one_but_for_its_size() -> None:
    short, wide = ((MODELS / f"blazeface_{name}.tflite").read_bytes() for name in ("short", "wide"))

    assert build.reshape(short, 192, 320) == wide
    same_size = build.reshape(short, 128, 128)
    tensor = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    for answer, expected in zip(raw_run(same_size, tensor), raw_run(short, tensor), strict=True):
        assert answer.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("height", "width"), [(190, 320), (192, 328), (8, 8)])
def test_a_size_that_does_not_halve_to_the_end_is_refused(height: int, width: int) -> None:
    short = (MODELS / "blazeface_short.tflite").read_bytes()

    with pytest.raises(surgery.SurgeryError, match="does not become whole"):
        build.reshape(short, height, width)


def test_int8_embedding_stays_close_to_the_float_one() -> None:
    exact = load_model(MODELS, "mobilefacenet_float")(probe())[0][0]
    quantised = load_model(MODELS, "mobilefacenet_int8")(probe())[0][0]

    # 0.9997 on average over faces; noise is harder than any face.
    assert float(unit(exact) @ unit(quantised)) > 0.99


def test_sources_name_no_registry_host() -> None:
    for path in (MODELS / "sources.json", MODELS / "manifest.json"):
        assert "://" not in Path(path).read_text(encoding="utf-8")
