"""The boards on paper: work counted from the shipped networks, and what it takes at least.

    python deploy/bench/board.py > docs/boards.md

Nothing is run and nothing is measured: a prediction, from the .tflite files and data sheets.

Per operator the roofline (Williams, Waterman, Patterson, 2009): its multiply-adds at the core's
peak, or its bytes at the memory's, whichever takes longer. Weights count as the interpreter holds
them (float16 is unpacked to float32 at load), activations as read and written once each.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

from edge_app.config import Config

MODELS: Final = Path(__file__).resolve().parents[2] / "models"
FRAME_PX: Final = (1080, 1920, 3)
FPS: Final = 30
ENROLLED: Final = 50_000
AXES: Final = 64
REACHED: Final = 0.4
"""Share of the roofline that is expected. An assumption: XNNPACK's float convolutions reach 30 to
60 % of a core's peak on machines where both are known; depthwise ones less."""

_NAMES: Final = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_BYTES: Final = {
    schema.TensorType.FLOAT32: 4,
    schema.TensorType.FLOAT16: 4,
    schema.TensorType.INT32: 4,
    schema.TensorType.INT8: 1,
}


@dataclass(frozen=True, slots=True)
class Work:
    """What one operator or stage does. Multiply-adds by the width of their weights."""

    float_macs: float
    int8_macs: float
    bytes_moved: float


@dataclass(frozen=True, slots=True)
class Board:
    """Of one core, but for the memory, which all share.

    float_macs: float32 multiply-adds per cycle: 128-bit FMLA per cycle times four.
    int8_macs:  int8 ones: 16 per SDOT, or 8 where the core has none and widens (SMLAL).
    """

    name: str
    clock_ghz: float
    float_macs: int
    int8_macs: int
    memory_gb_per_s: float
    source: str

    def seconds(self, work: Work) -> tuple[float, float]:
        """(at the core's peak, at the memory's peak)."""
        cycles = work.float_macs / self.float_macs + work.int8_macs / self.int8_macs
        return cycles / self.clock_ghz / 1e9, work.bytes_moved / self.memory_gb_per_s / 1e9


BOARDS: Final = (
    Board(
        "Raspberry Pi 4", 1.5, 4, 8, 12.8,
        "BCM2711 data sheet: 4 x Cortex-A72, 1.5 GHz, 32-bit LPDDR4-3200; no dot product (ARMv8.0)",
    ),
    Board(
        "Raspberry Pi 5", 2.4, 8, 32, 17.1,
        "product brief: BCM2712, 4 x Cortex-A76, 2.4 GHz, 32-bit LPDDR4X-4267",
    ),
    Board(
        "Raspberry Pi Zero 2 W", 1.0, 4, 8, 3.6,
        "product brief: RP3A0, 4 x Cortex-A53, 1 GHz, 512 MB LPDDR2; 32 bit at 900 MT/s assumed",
    ),
    Board(
        "Jetson Orin Nano 8 GB", 1.5, 8, 32, 68.0,
        "data sheet: 6 x Cortex-A78AE, 1.5 GHz, 128-bit LPDDR5, 68 GB/s; its GPU is not used",
    ),
)  # fmt: skip


def network(name: str) -> list[tuple[str, Work]]:
    """The operators of one shipped network, in order."""
    model = schema.ModelT.InitFromPackedBuf((MODELS / f"{name}.tflite").read_bytes(), 0)
    graph = model.subgraphs[0]
    counted = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind != "DEQUANTIZE":  # done once, at load
            inputs = [graph.tensors[number] for number in operator.inputs if number >= 0]
            outputs = [graph.tensors[number] for number in operator.outputs]
            counted.append((kind, _work(kind, inputs, outputs)))
    return counted


def _work(kind: str, inputs: list[Any], outputs: list[Any]) -> Work:
    macs = 0
    if kind in {"CONV_2D", "FULLY_CONNECTED"}:  # weights: out, height, width, in
        macs = math.prod(outputs[0].shape) * math.prod(inputs[1].shape[1:])
    elif kind == "DEPTHWISE_CONV_2D":  # weights: 1, height, width, channels
        macs = math.prod(outputs[0].shape) * math.prod(inputs[1].shape[1:3])
    elif kind == "TRANSPOSE_CONV":  # inputs: shape, weights, values
        macs = math.prod(inputs[2].shape) * math.prod(inputs[1].shape[:3])
    quantised = macs > 0 and inputs[1].type == schema.TensorType.INT8
    moved = sum(math.prod(t.shape) * _BYTES[t.type] for t in (*inputs, *outputs))
    return Work(0 if quantised else macs, macs if quantised else 0, moved)


def total(operators: list[tuple[str, Work]]) -> Work:
    return Work(
        sum(work.float_macs for _, work in operators),
        sum(work.int8_macs for _, work in operators),
        sum(work.bytes_moved for _, work in operators),
    )


def stages() -> dict[str, list[tuple[str, Work]]]:
    """The work of each stage, once."""
    frame_bytes = math.prod(FRAME_PX)
    config = Config()
    match = Work(0, ENROLLED * AXES, ENROLLED * (AXES + 4))
    return {
        "tile": network(config.scan.scan_detector),
        "follow": network(config.scan.follow_detector),
        "mesh": network("facemesh"),
        "embed": network("mobilefacenet_int8"),
        "match": [("INT8 PRODUCT", match)],
        "frame": [("READ", Work(0, 0, frame_bytes))],
    }


def situations() -> dict[str, Mapping[str, float]]:
    """How often each stage runs in one frame (docs/adr/0016-scan.md)."""
    config = Config()
    scan, look = config.scan, config.look
    still = 1 / scan.still_frames
    found: dict[str, Mapping[str, float]] = {
        "nobody, still camera": {"frame": 1.0, "tile": still},
        "nobody, swaying camera": {"frame": 1.0, "tile": float(scan.tiles_per_frame)},
    }
    for faces in (1, 16):
        who = f"{faces} face{'s' * (faces > 1)}"
        at_once = float(min(faces, look.looks_per_frame))
        deciding = min(at_once, faces * 2 / (FPS * look.look_interval_s))
        settled = min(at_once, faces / (FPS * look.look_interval_s))
        found[f"first frame, {who}"] = {
            "frame": 1.0,
            "tile": 1.0,
            "mesh": at_once,
            "embed": at_once,
            "match": at_once,
        }
        found[f"deciding, {who}"] = {
            "frame": 1.0,
            "tile": still,
            "follow": float(faces),
            "mesh": deciding,
            "embed": deciding,
            "match": deciding,
        }
        found[f"settled, {who}"] = {
            "frame": 1.0,
            "tile": still,
            "follow": faces / 3,
            "mesh": settled,
        }
    return found


def roofline(board: Board, operators: list[tuple[str, Work]]) -> tuple[float, float]:
    """(seconds, share of them in which the memory is what takes longer)."""
    seconds = memory_bound = 0.0
    for _, work in operators:
        core, memory = board.seconds(work)
        seconds += max(core, memory)
        memory_bound += memory if memory > core else 0.0
    return seconds, memory_bound / seconds if seconds else 0.0


INTRODUCTION: Final = """# The boards on paper: a prediction

Written by `deploy/bench/board.py` from the shipped networks and data sheets. **Nothing here was
measured on a board.** One core, no accelerator.
"""

STAGES: Final = """
`tile` and `follow` are the two detectors, `match` is one probe against {enrolled:,} in int8 over
{axes} axes, `frame` reads a 1080p picture once.
"""

OCCASIONS: Final = """
The first frame is searched as a whole; a still camera's later ones in a tile now and then, a
swaying one's in two. A new face is followed in every frame and looked at closely twice as often
as a settled one, of which a third is followed in a frame. A camera gives 30 frames a second: what
is above that is idle time.
"""

LEFT_OUT: Final = """
Multiply-adds a cycle follow from the cores' vector units as Arm's optimisation guides describe
them. What the paper leaves out: caches that keep activations, more than one core (faster); narrow
depthwise kernels, other programs, heat and throttling (slower); the camera's own path.
"""


def page() -> str:
    work, occasions = stages(), situations()
    boards = [board.name for board in BOARDS]
    counted = [(stage, *_counted(operators)) for stage, operators in work.items()]
    least = [
        (stage, *(_milliseconds(*roofline(board, operators)) for board in BOARDS))
        for stage, operators in work.items()
    ]
    rates = [
        (name, *(_rate(board, work, counts) for board in BOARDS))
        for name, counts in occasions.items()
    ]
    heads = ("stage", "operators", "float multiply-adds, M", "int8, M", "MB moved", "most of them")
    return "".join(
        (
            INTRODUCTION,
            "\n## Work per stage, counted\n",
            _table(heads, counted),
            STAGES.format(enrolled=ENROLLED, axes=AXES),
            "\n## Rooflines: the least each stage takes, ms (share that waits for memory)\n",
            _table(("stage", *boards), least),
            f"\n## Frames a second at {REACHED:.0%} of the roofline, an assumption (their bound)\n",
            _table(("in one frame", *boards), rates),
            OCCASIONS,
            "\n## Data sheets\n",
            *(f"- {board.name}: {board.source}. {_peaks(board)}\n" for board in BOARDS),
            LEFT_OUT,
        )
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _counted(operators: list[tuple[str, Work]]) -> tuple[str, ...]:
    whole = total(operators)
    kinds: Counter[str] = Counter()
    for kind, work in operators:
        kinds[kind] += int(work.float_macs + work.int8_macs)
    most, macs = kinds.most_common(1)[0]
    return (
        str(len(operators)),
        f"{whole.float_macs / 1e6:.1f}",
        f"{whole.int8_macs / 1e6:.1f}",
        f"{whole.bytes_moved / 1e6:.1f}",
        f"{most}, {macs / kinds.total():.0%}" if macs else "-",
    )


def _milliseconds(seconds: float, memory_share: float) -> str:
    return f"{1000 * seconds:.2f} ({memory_share:.0%})"


def _peaks(board: Board) -> str:
    return (
        f"Peaks used: {board.clock_ghz} GHz, {board.float_macs} float and {board.int8_macs} int8 "
        f"multiply-adds a cycle, {board.memory_gb_per_s} GB/s."
    )


def _rate(
    board: Board, work: dict[str, list[tuple[str, Work]]], counts: Mapping[str, float]
) -> str:
    seconds = {stage: n * roofline(board, work[stage])[0] for stage, n in counts.items()}
    bound, most = max(seconds.items(), key=lambda item: item[1])
    memory = roofline(board, work[bound])[1]
    whole = sum(seconds.values())
    why = "memory" if memory > 0.5 else "core"
    rate = REACHED / whole
    return f"{rate:.{0 if rate >= 10 else 1}f} ({bound} {most / whole:.0%}, {why})"


if __name__ == "__main__":
    sys.stdout.write(page())
