"""The model loader: each refusal, then what a loaded model promises."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_app.adapters import tflite
from edge_app.errors import ModelError
from edge_app.ports import TensorModel

SHIPPED = Path(__file__).resolve().parents[2] / "models"
NAME = "blazeface_short"
SHAPE = (1, 128, 128, 3)

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """A copy of the manifest with one small model."""
    for name in ("manifest.json", f"{NAME}.tflite"):
        shutil.copy(SHIPPED / name, tmp_path / name)
    return tmp_path


def change_entry(models_dir: Path, change: Change) -> None:
    path = models_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["models"][NAME])
    path.write_text(json.dumps(manifest))


def refusal(models_dir: Path, name: str = NAME) -> str:
    """The message of the refusal: one line that says what to do."""
    with pytest.raises(ModelError) as caught:
        tflite.load_model(models_dir, name)
    message = str(caught.value)
    assert "\n" not in message
    assert "make models" in message
    return message


def test_refuses_an_empty_folder(tmp_path: Path) -> None:
    assert "manifest.json" in refusal(tmp_path)


def test_refuses_an_unknown_name(models_dir: Path) -> None:
    message = refusal(models_dir, "retinaface")

    assert "'retinaface'" in message
    assert NAME in message


def test_refuses_a_missing_file(models_dir: Path) -> None:
    (models_dir / f"{NAME}.tflite").unlink()

    assert f"{NAME}.tflite" in refusal(models_dir)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "models": {}}', "\xff"])
def test_refuses_an_unreadable_manifest(models_dir: Path, text: str) -> None:
    (models_dir / "manifest.json").write_bytes(text.encode("latin-1"))

    assert "not a valid manifest" in refusal(models_dir)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.pop("sha256"),
        lambda entry: entry.update(sha256="abc"),
        lambda entry: entry.update(file="../elsewhere.tflite"),
        lambda entry: entry.update(outputs=[]),
        lambda entry: entry.update(unknown_key=1),
        lambda entry: entry["input"].update(shape=[]),
        lambda entry: entry["input"].update(shape=[0, 128, 128, 3]),
        lambda entry: entry["input"].update(scale=0),
        lambda entry: entry["input"].update(dtype="float64"),
    ],
)
def test_refuses_a_manifest_entry_of_another_form(models_dir: Path, change: Change) -> None:
    change_entry(models_dir, change)

    assert NAME in refusal(models_dir)


@pytest.mark.parametrize("position", [0, 5_000, -1])
def test_refuses_a_file_with_one_changed_bit(models_dir: Path, position: int) -> None:
    path = models_dir / f"{NAME}.tflite"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)

    assert "SHA-256" in refusal(models_dir)


def test_refuses_a_truncated_file(models_dir: Path) -> None:
    path = models_dir / f"{NAME}.tflite"
    path.write_bytes(path.read_bytes()[:1000])

    assert "SHA-256" in refusal(models_dir)


def test_refuses_a_file_that_fits_the_manifest_and_is_no_model(models_dir: Path) -> None:
    content = b"not a model at all"
    (models_dir / f"{NAME}.tflite").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change_entry(models_dir, lambda entry: entry.update(sha256=digest))

    assert "the runtime refuses" in refusal(models_dir)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("input", "shape", [1, 64, 64, 3]),
        ("input", "dtype", "int8"),
        ("input", "name", "image"),
        ("output", "shape", [1, 896, 8]),
        ("output", "dtype", "uint8"),
        ("output", "name", "boxes"),
    ],
)
def test_refuses_tensors_that_differ_from_the_manifest(
    models_dir: Path, part: str, key: str, value: Any
) -> None:
    def change(entry: dict[str, Any]) -> None:
        (entry["input"] if part == "input" else entry["outputs"][0])[key] = value

    change_entry(models_dir, change)

    assert NAME in refusal(models_dir)


def test_refuses_another_number_of_outputs(models_dir: Path) -> None:
    change_entry(models_dir, lambda entry: entry["outputs"].pop())

    assert "2 outputs, the manifest states 1 and 1" in refusal(models_dir)


def test_refuses_no_threads(models_dir: Path) -> None:
    with pytest.raises(ModelError, match="1 thread or more"):
        tflite.load_model(models_dir, NAME, threads=0)


def test_names_the_runtime_to_install_when_there_is_none(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_runtime(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", no_runtime)

    with pytest.raises(ModelError, match="pip install ai-edge-litert"):
        tflite.load_model(models_dir, NAME)


def test_loaded_model_is_a_tensor_model_with_the_manifests_name_and_hash(models_dir: Path) -> None:
    model: TensorModel = tflite.load_model(models_dir, NAME)

    assert model.name == NAME
    assert model.sha256 == tflite.read_manifest(models_dir).models[NAME].sha256


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((128, 128, 3), np.float32),
        np.zeros((2, 128, 128, 3), np.float32),
        np.zeros(SHAPE, np.float64),
        np.zeros(SHAPE, np.uint8),
        np.zeros(SHAPE, ">f4"),
    ],
)
def test_call_refuses_another_shape_or_dtype(models_dir: Path, tensor: Any) -> None:
    model = tflite.load_model(models_dir, NAME)

    with pytest.raises(ModelError, match=r"takes float32 \(1, 128, 128, 3\)"):
        model(tensor)


def test_outputs_follow_the_manifests_order_and_not_the_files(models_dir: Path) -> None:
    change_entry(models_dir, lambda entry: entry["outputs"].reverse())
    model = tflite.load_model(models_dir, NAME)

    scores, regressors = model(np.zeros(SHAPE, np.float32))

    assert scores.shape == (1, 896, 1)
    assert regressors.shape == (1, 896, 16)


def test_outputs_belong_to_the_caller(models_dir: Path) -> None:
    model = tflite.load_model(models_dir, NAME)
    first = model(np.zeros(SHAPE, np.float32))
    before = [output.copy() for output in first]

    second = model(np.ones(SHAPE, np.float32))

    assert not np.array_equal(first[0], second[0])
    for output, copy in zip(first, before, strict=True):
        np.testing.assert_array_equal(output, copy)
        output.fill(0)
    np.testing.assert_array_equal(model(np.zeros(SHAPE, np.float32))[0], before[0])


def test_call_leaves_its_input_alone_and_takes_views(models_dir: Path) -> None:
    model = tflite.load_model(models_dir, NAME)
    wide = np.random.default_rng(3).uniform(-1, 1, (1, 128, 256, 3)).astype(np.float32)
    view = wide[:, :, ::2]
    before = wide.copy()

    strided = model(view)
    contiguous = model(np.ascontiguousarray(view))

    np.testing.assert_array_equal(wide, before)
    np.testing.assert_array_equal(strided[0], contiguous[0])


def test_runs_the_bytes_it_hashed_even_if_the_file_changes(models_dir: Path) -> None:
    model = tflite.load_model(models_dir, NAME)
    expected = model(np.zeros(SHAPE, np.float32))[0]
    (models_dir / f"{NAME}.tflite").write_bytes(b"changed after loading")

    np.testing.assert_array_equal(model(np.zeros(SHAPE, np.float32))[0], expected)


def test_threads_change_no_result(models_dir: Path) -> None:
    tensor = np.random.default_rng(5).uniform(-1, 1, SHAPE).astype(np.float32)

    one = tflite.load_model(models_dir, NAME, threads=1)(tensor)
    two = tflite.load_model(models_dir, NAME, threads=2)(tensor)

    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-4)
