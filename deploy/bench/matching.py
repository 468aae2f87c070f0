"""Every way to search a gallery, measured side by side: time, recall, memory, build, deletion.

    python deploy/bench/matching.py OUT_FOLDER [TEMPLATES...]

Writes matching.json, matching.md (the table) and matching.png there. One thread; each index in a
process of its own, so that its memory is its own. Times are the processor's, which a shared machine
disturbs less than the clock on the wall.

The vectors are drawn, nobody's face, and spread as the embedder spreads LFW: over 64 axes of 192,
with energies that fall in a straight line from the first to the last, 0.0015 beside them, lengths
of 0.90 to 1 (`edge_app/core/embed.py`). Two strangers score 0.14 apart from 0 (standard deviation;
LFW: 0.14). Every second probe is a stranger, drawn likewise; the others lie at a cosine of 0.45 to
0.8 from a template, in a drawn direction. LFW's mated pairs have 0.52 (5 %) to 0.83 (95 %).
"""

from __future__ import annotations

import ctypes
import importlib
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_app.adapters.exact_index import ExactIndex
from edge_app.adapters.int8_index import Int8Index
from edge_app.records import Float32Array

DIM: Final = 192
AXES: Final = 64
REST: Final = 0.0015
LENGTHS: Final = (0.90, 1.0)
COSINES: Final = (0.45, 0.8)
PROBES: Final = 100
COUNT: Final = 20
SIZES: Final = (1_000, 10_000, 50_000, 200_000, 1_000_000)
TREES: Final = 40
LIBRARIES: Final = ("numpy", "simsimd", "numkong", "faiss-cpu", "usearch", "annoy")

Search = Callable[[Float32Array, int], NDArray[Any]]
"""(embedding (dim,), count) -> rows, best first."""


@dataclass(frozen=True, slots=True)
class Built:
    """An index. remove: takes one row out of memory; None: by building anew."""

    search: Search
    remove: Callable[[int], Any] | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """largest: templates up to which it is built here; graphs and forests take minutes beyond."""

    name: str
    build: Callable[[Float32Array], Built]
    largest: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """One index at one size.

    recall:   share of mated probes whose best template is returned first.
    alike:    share of strangers' probes whose best template is returned first.
    memory_mb: resident memory that the index added to the float32 templates.
    remove_s: until one template is out of memory; a mask hides it at once in any case.
    """

    method: str
    templates: int
    p50_ms: float
    p95_ms: float
    recall: float
    alike: float
    memory_mb: float
    build_s: float
    remove_s: float


def draw(random: np.random.Generator, count: int, axes: Float32Array) -> Float32Array:
    """Vectors of strangers, (count, DIM). axes: (DIM, DIM), orthogonal."""
    energy = np.sqrt(np.arange(AXES, 0, -1, dtype=np.float32))
    rows = np.empty((count, DIM), np.float32)
    for first in range(0, count, 50_000):
        size = min(50_000, count - first)
        along = random.standard_normal((size, AXES), np.float32) * energy
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        beside = random.standard_normal((size, DIM - AXES), np.float32)
        beside *= REST / np.linalg.norm(beside, axis=1, keepdims=True)
        unit = np.concatenate([along, beside], axis=1) @ axes
        rows[first : first + size] = unit * random.uniform(*LENGTHS, (size, 1)).astype(np.float32)
    return rows


def scene(templates: int) -> tuple[Float32Array, Float32Array]:
    """The templates and the probes of one size; mated probes have even numbers."""
    random = np.random.default_rng(templates)
    axes = np.linalg.qr(random.standard_normal((DIM, DIM)))[0].astype(np.float32)
    matrix = draw(random, templates, axes)
    probes = draw(random, PROBES, axes)
    for number in range(0, PROBES, 2):
        template = matrix[random.integers(templates)]
        template = template / np.linalg.norm(template)
        aside = probes[number] - (probes[number] @ template) * template
        cosine = random.uniform(*COSINES)
        probes[number] = cosine * template
        probes[number] += np.float32(np.sqrt(1 - cosine**2)) * aside / np.linalg.norm(aside)
    return matrix, probes


def exact(matrix: Float32Array) -> Built:
    index = ExactIndex(matrix)
    return Built(lambda probe, count: index.search(probe, count)[0])


def int8_axes(matrix: Float32Array) -> Built:
    index = Int8Index(matrix)
    return Built(lambda probe, count: index.search(probe, count)[0])


def float_axes(matrix: Float32Array) -> Built:
    """float32 along the principal axes, and nothing else."""
    sample = matrix[:: max(1, len(matrix) // 4096)]
    axes = np.ascontiguousarray(np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :AXES])
    index = ExactIndex(matrix @ axes)
    return Built(lambda probe, count: index.search(probe @ axes, count)[0])


def int8_of(library: str) -> Callable[[Float32Array], Built]:
    """All 192 numbers in int8, best four times COUNT rows scored again."""

    def build(matrix: Float32Array) -> Built:
        cdist = importlib.import_module(library).cdist
        step = np.abs(matrix).max() / 127
        rows = np.round(matrix / step).astype(np.int8)

        def search(probe: Float32Array, count: int) -> NDArray[Any]:
            quantised = np.round(probe * (127 / np.abs(probe).max())).astype(np.int8)
            scores = np.asarray(cdist(quantised[None], rows, "dot", out_dtype="float32")).ravel()
            wanted = min(4 * count, len(rows) - 1)
            near = np.sort(np.argpartition(scores, -wanted)[-wanted:])
            rows_found: NDArray[Any] = near[ExactIndex(matrix[near]).search(probe, count)[0]]
            return rows_found

        return Built(search)

    return build


def faiss_of(description: str) -> Callable[[Float32Array], Built]:
    def build(matrix: Float32Array) -> Built:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        index = faiss.index_factory(DIM, description, faiss.METRIC_INNER_PRODUCT)
        index.train(matrix)
        index.add(matrix)
        if description.startswith("HNSW"):
            index.hnsw.efSearch = 64
        removable = not description.startswith("HNSW")
        return Built(
            lambda probe, count: index.search(probe[None], count)[1][0],
            (lambda row: index.remove_ids(np.array([row]))) if removable else None,
        )

    return build


def usearch_of(*, whole: bool) -> Callable[[Float32Array], Built]:
    """usearch's graph with its own defaults, or its search of all rows."""

    def build(matrix: Float32Array) -> Built:
        module = importlib.import_module("usearch.index")
        if whole:
            return Built(
                lambda probe, count: (
                    module.search(
                        matrix, probe, count, module.MetricKind.IP, exact=True, threads=1
                    ).keys
                )
            )
        index = module.Index(ndim=DIM, metric=module.MetricKind.IP, dtype="i8")
        index.add(np.arange(len(matrix)), matrix, threads=1)
        return Built(lambda probe, count: index.search(probe, count, threads=1).keys, index.remove)

    return build


def annoy_of(nodes: int) -> Callable[[Float32Array], Built]:
    def build(matrix: Float32Array) -> Built:
        forest = importlib.import_module("annoy").AnnoyIndex(DIM, "angular")
        forest.set_seed(1)
        for row, vector in enumerate(matrix):
            forest.add_item(row, vector)
        forest.build(TREES, 1)

        def search(probe: Float32Array, count: int) -> NDArray[Any]:
            near = np.sort(forest.get_nns_by_vector(probe, count, search_k=nodes))
            rows_found: NDArray[Any] = near[ExactIndex(matrix[near]).search(probe, count)[0]]
            return rows_found

        return Built(search)

    return build


METHODS: Final = (
    Method("exact float32 (numpy)", exact),
    Method("float32, 64 axes (numpy)", float_axes),
    Method("**int8, 64 axes, bounded (simsimd)**", int8_axes),
    Method("int8, 192 (simsimd)", int8_of("simsimd")),
    Method("int8, 192 (numkong)", int8_of("numkong")),
    Method("faiss Flat", faiss_of("Flat")),
    Method("faiss SQ8", faiss_of("SQ8")),
    Method("faiss HNSW32, ef 64", faiss_of("HNSW32"), 50_000),
    Method("usearch exact", usearch_of(whole=True)),
    Method("usearch HNSW, i8", usearch_of(whole=False), 50_000),
    Method("Annoy, search_k 2,000", annoy_of(2_000), 50_000),
    Method("Annoy, search_k 8,000", annoy_of(8_000), 50_000),
    Method("Annoy, search_k 20,000", annoy_of(20_000), 50_000),
)


def measure(method: Method, templates: int) -> Row:
    """One row of the table; run it in a process of its own."""
    matrix, probes = scene(templates)
    truth = [int(np.argmax(matrix @ probe)) for probe in probes]
    before_mb = resident_mb()
    began_s = time.process_time()
    built = method.build(matrix)
    build_s = time.process_time() - began_s
    for probe in probes[:5]:
        built.search(probe, COUNT)
    times_ms = []
    found = []
    for probe, best in zip(probes, truth, strict=True):
        began_s = time.process_time()
        rows = built.search(probe, COUNT)
        times_ms.append(1000 * (time.process_time() - began_s))
        found.append(int(rows[0]) == best)
    memory_mb = resident_mb() - before_mb
    remove_s = build_s
    if built.remove:
        began_s = time.process_time()
        built.remove(templates // 2)
        remove_s = time.process_time() - began_s
    return Row(
        method.name,
        templates,
        float(np.median(times_ms)),
        float(np.quantile(times_ms, 0.95)),
        float(np.mean(found[::2])),
        float(np.mean(found[1::2])),
        memory_mb,
        build_s,
        remove_s,
    )


def resident_mb() -> float:
    """Without what the allocator keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def machine() -> dict[str, str]:
    """What the figures hold for."""
    model = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "machine": platform.machine(),
        "processor": model[0] if model else "unknown",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
        **{name: version(name) for name in LIBRARIES},
    }


HEADS: Final = (
    "templates",
    "index",
    "p50 ms",
    "p95 ms",
    "of exact",
    "mated found",
    "strangers alike",
    "memory MB",
    "build s",
    "remove one s",
)


def table(rows: list[Row]) -> str:
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    exact_ms = {row.templates: row.p50_ms for row in rows if row.method == METHODS[0].name}
    lines += [
        f"| {row.templates:,} | {row.method} | {row.p50_ms:.3f} | {row.p95_ms:.3f} "
        f"| {row.p50_ms / exact_ms[row.templates]:.0%} | {row.recall:.1%} | {row.alike:.1%} "
        f"| {row.memory_mb:.1f} | {row.build_s:.2f} "
        f"| {row.remove_s:.4f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def plot(rows: list[Row], path: Path) -> None:
    """Median time over size; one line per index."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axis = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    for method in METHODS:
        own = [row for row in rows if row.method == method.name]
        worst = min((row.recall for row in own), default=0)
        axis.loglog(
            [row.templates for row in own],
            [row.p50_ms for row in own],
            marker="o",
            linewidth=3 if "bounded" in method.name else 1.2,
            linestyle="-" if worst == 1 else ":",
            label=f"{method.name.strip('*')} ({worst:.0%})",
        )
    axis.set(xlabel="templates", ylabel="milliseconds per probe, median, one thread")
    axis.legend(fontsize=7, title="in brackets: least share of mated probes found")
    axis.grid(visible=True, which="both", alpha=0.2)
    figure.savefig(path, dpi=110)


def main() -> None:
    folder = Path(sys.argv[1])
    sizes = [int(argument) for argument in sys.argv[2:]] or SIZES
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = "1"  # for the processes to come
    context = multiprocessing.get_context("spawn")
    for templates in sizes:
        for method in METHODS:
            if templates > method.largest:
                continue
            with context.Pool(1) as pool:
                rows.append(pool.apply(_measure_named, (method.name, templates)))
            print(table(rows).splitlines()[-1], flush=True)
        result = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        (folder / "matching.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        (folder / "matching.md").write_text(table(rows), "utf-8")
        plot(rows, folder / "matching.png")


def _measure_named(name: str, templates: int) -> Row:
    return measure(next(method for method in METHODS if method.name == name), templates)


if __name__ == "__main__":
    main()
