"""Flatbuffer surgery on TFLite models: batch, input size, PReLU chains, unused parts, signature.

Every function takes and changes the schema's own object tree (`ModelT`), and none
reads or writes a file. A typical order is

    parse -> set_batch -> fuse_prelu_chains -> drop_unused -> add_signature -> serialise

Operators, tensors and buffers are found by structure, never by name or by number.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from numpy.typing import NDArray

FILE_IDENTIFIER: Final = b"TFL3"
"""Bytes 4 to 8 of each TFLite file (`file_identifier` in the TFLite schema)."""

BUFFER_ALIGNMENT: Final = 16
"""Bytes; `force_align` of `Buffer.data` in the TFLite schema."""

_LAST_BYTE_OPCODE: Final = 127
"""`PLACEHOLDER_FOR_GREATER_OP_CODES`: older readers see this for newer operators."""

_NO_TENSOR: Final = -1
"""Marks an operator's absent optional input."""

_OP = schema.BuiltinOperator


class SurgeryError(Exception):
    """A model is not built the way an operation needs it to be."""


@dataclass(frozen=True, slots=True)
class PreluChain:
    """Five operators that compute relu(x) + (x - |x|) * half_alpha; tensors by number."""

    operators: tuple[int, int, int, int, int]
    """Positions of RELU, ABS, SUB, MUL and ADD in the subgraph."""
    source: int
    half_alpha: int
    result: int


def parse(content: bytes) -> Any:
    """Return the object tree (`ModelT`) of a TFLite file.

    Buffers that lie behind the flatbuffer (`Buffer.offset`) become ordinary ones, and
    operator codes are made equal in their old and new fields.

    Raises:
        SurgeryError: not a TFLite file, or not exactly one subgraph.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise SurgeryError("not a TFLite file: the identifier TFL3 is missing")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if len(model.subgraphs) != 1:
        raise SurgeryError(f"expected one subgraph, found {len(model.subgraphs)}")
    for buffer in model.buffers:
        # Offsets 0 and 1 both mean "no data behind the flatbuffer".
        if buffer.offset > 1:
            behind = content[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(behind, np.uint8)
            buffer.offset = buffer.size = 0
    for code in model.operatorCodes:
        # Files older than schema 3a hold the operator in the deprecated field only.
        _set_opcode(code, max(code.builtinCode, code.deprecatedBuiltinCode))
    return model


def serialise(model: Any) -> bytes:
    """Return the file of an object tree, with each buffer's data aligned to 16 bytes."""
    model.buffers = [_AlignedBuffer.of(buffer) for buffer in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def set_batch(model: Any, batch: int) -> None:
    """Give every activation the leading dimension `batch`.

    The old batch is the leading dimension of the model's first input. A RESHAPE that
    names it in its target gets the new one there too.

    Raises:
        SurgeryError: an activation has another leading dimension.
    """
    graph = model.subgraphs[0]
    old = int(graph.tensors[graph.inputs[0]].shape[0])
    for tensor in graph.tensors:
        if len(tensor.shape) == 0 or _constant(model, tensor) is not None:
            continue
        if int(tensor.shape[0]) != old:
            name = tensor.name.decode()
            raise SurgeryError(f"tensor {name}: leading dimension {tensor.shape[0]}, not {old}")
        tensor.shape = [batch, *map(int, tensor.shape[1:])]
        tensor.shapeSignature = None
    for operator in graph.operators:
        if _opcode(model, operator) == _OP.RESHAPE:
            _set_reshape_batch(model, operator, batch)


def set_input_size(model: Any, height: int, width: int) -> None:
    """Give a convolutional network with a square input another one; weights stay as they are.

    Every image inside changes in proportion, and so do the lists that a RESHAPE makes of
    images and a CONCATENATION joins: (batch, height * width * anchors, numbers).

    Raises:
        SurgeryError: an image inside would not have whole sides, or its proportions differ.
    """
    graph = model.subgraphs[0]
    side = int(graph.tensors[graph.inputs[0]].shape[1])
    unpacked = {int(op.outputs[0]) for op in _operators(model, _OP.DEQUANTIZE)}
    for number, tensor in enumerate(graph.tensors):
        if number in unpacked or _constant(model, tensor) is not None or len(tensor.shape) != 4:
            continue
        batch, rows, columns, channels = map(int, tensor.shape)
        if rows != columns or rows * height % side or columns * width % side:
            name = tensor.name.decode()
            raise SurgeryError(f"tensor {name}: {rows} x {columns} does not become whole")
        tensor.shape = [batch, rows * height // side, columns * width // side, channels]
    for operator in _operators(model, _OP.RESHAPE):
        source, listed = (graph.tensors[int(t)] for t in (operator.inputs[0], operator.outputs[0]))
        batch, _, numbers = map(int, listed.shape)
        listed.shape = [batch, math.prod(map(int, source.shape)) // (batch * numbers), numbers]
        _set_reshape_target(model, operator, listed.shape)
    for operator in _operators(model, _OP.CONCATENATION):
        joined = graph.tensors[operator.outputs[0]]
        batch, _, numbers = map(int, joined.shape)
        rows = sum(int(graph.tensors[int(t)].shape[1]) for t in operator.inputs)
        joined.shape = [batch, rows, numbers]


def find_prelu_chains(model: Any) -> list[PreluChain]:
    """Return the five-operator PReLU chains whose inner tensors nothing else reads."""
    graph = model.subgraphs[0]
    producer = {int(out): i for i, op in enumerate(graph.operators) for out in op.outputs}
    uses = Counter(int(tensor) for op in graph.operators for tensor in op.inputs)
    uses.update(int(tensor) for tensor in graph.outputs)
    chains = (_chain_ending_at(model, i, producer) for i in range(len(graph.operators)))
    return [chain for chain in chains if chain and _is_closed(graph, chain, uses)]


def fuse_prelu_chains(model: Any) -> int:
    """Replace each five-operator PReLU chain by one PRELU; return how many there were.

    Why the result is the same to the bit: for x < 0 the chain computes
    0 + (x - |x|) * h = (2 x) * h, and PRELU computes x * (2 h). A factor of two is
    exact in binary floating point, so both round the same real number once. For
    x >= 0 both return x. Three things differ, far outside what activations hold: the
    sign of a zero; magnitudes above half the largest float, where the chain overflows;
    and subnormal results, which XNNPACK's ADD flushes to zero.
    """
    graph = model.subgraphs[0]
    chains = find_prelu_chains(model)
    replaced: dict[int, Any] = {}
    for chain in chains:
        alpha = _add_alpha(model, chain.half_alpha)
        fused = schema.OperatorT()
        fused.opcodeIndex = _opcode_index(model, _OP.PRELU)
        fused.inputs = [chain.source, alpha]
        fused.outputs = [chain.result]
        replaced |= dict.fromkeys(chain.operators)
        replaced[chain.operators[-1]] = fused
    operators = [replaced.get(i, op) for i, op in enumerate(graph.operators)]
    graph.operators = [op for op in operators if op is not None]
    return len(chains)


def drop_unused(model: Any) -> None:
    """Remove tensors, buffers and operator codes that nothing refers to."""
    _drop_unused_tensors(model)
    _drop_unused_buffers(model)
    used = sorted({op.opcodeIndex for op in model.subgraphs[0].operators})
    position = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[old] for old in used]
    for operator in model.subgraphs[0].operators:
        operator.opcodeIndex = position[operator.opcodeIndex]


def add_signature(model: Any, inputs: list[str], outputs: list[str]) -> None:
    """Name the model's inputs and outputs in one `serving_default` signature."""
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = _tensor_map(inputs, graph.inputs)
    signature.outputs = _tensor_map(outputs, graph.outputs)
    model.signatureDefs = [signature]


def misaligned_buffers(content: bytes) -> list[int]:
    """Return the numbers of buffers whose data doesn't start at a multiple of 16 bytes."""
    root = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, np.uint8).ctypes.data
    # Generated accessors return views into `content`, so addresses tell the offsets.
    filled = [i for i in range(root.BuffersLength()) if root.Buffers(i).DataLength()]
    offsets = {i: root.Buffers(i).DataAsNumpy().ctypes.data - start for i in filled}
    return [i for i, offset in offsets.items() if offset % BUFFER_ALIGNMENT]


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer that keeps the schema's `force_align: 16`, which generated Python ignores."""

    @classmethod
    def of(cls, buffer: Any) -> _AlignedBuffer:
        aligned = cls()
        if buffer.data is not None and len(buffer.data):
            aligned.data = np.frombuffer(bytes(buffer.data), np.uint8)
        return aligned

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (the generated base class names it)
        if self.data is not None:
            builder.Prep(BUFFER_ALIGNMENT, len(self.data))
        return super().Pack(builder)


def _chain_ending_at(model: Any, last: int, producer: dict[int, int]) -> PreluChain | None:
    """Match the chain backwards from its ADD."""
    graph = model.subgraphs[0]
    add = graph.operators[last]
    if not _is_plain(model, add, _OP.ADD):
        return None
    for relu_out, mul_out in _both_orders(add.inputs):
        relu, mul = producer.get(relu_out), producer.get(mul_out)
        if relu is None or mul is None or not _is_plain(model, graph.operators[relu], _OP.RELU):
            continue
        source = int(graph.operators[relu].inputs[0])
        negative = _scaled_negative_part(model, mul, source, producer)
        if negative is not None:
            absolute, sub, half_alpha = negative
            operators = (relu, absolute, sub, mul, last)
            return PreluChain(operators, source, half_alpha, int(add.outputs[0]))
    return None


def _scaled_negative_part(
    model: Any, mul: int, source: int, producer: dict[int, int]
) -> tuple[int, int, int] | None:
    """Match (source - |source|) * constant; return (ABS, SUB, constant tensor)."""
    graph = model.subgraphs[0]
    if not _is_plain(model, graph.operators[mul], _OP.MUL):
        return None
    for constant, difference in _both_orders(graph.operators[mul].inputs):
        sub = producer.get(difference)
        if sub is None or _constant(model, graph.tensors[constant]) is None:
            continue
        if not _is_plain(model, graph.operators[sub], _OP.SUB):
            continue
        minuend, subtrahend = map(int, graph.operators[sub].inputs)
        absolute = producer.get(subtrahend)
        if absolute is None or not _is_plain(model, graph.operators[absolute], _OP.ABS):
            continue
        if minuend == source and int(graph.operators[absolute].inputs[0]) == source:
            return absolute, sub, constant
    return None


def _is_closed(graph: Any, chain: PreluChain, uses: Counter[int]) -> bool:
    """Say whether nothing outside the chain reads its inner tensors."""
    inner = chain.operators[:-1]
    return all(uses[int(graph.operators[i].outputs[0])] == 1 for i in inner)


def _both_orders(inputs: Any) -> list[tuple[int, int]]:
    first, second = map(int, inputs)
    return [(first, second), (second, first)]


def _is_plain(model: Any, operator: Any, opcode: int) -> bool:
    """Say whether an operator is `opcode` with no activation fused into it."""
    options = operator.builtinOptions
    return _opcode(model, operator) == opcode and not getattr(
        options, "fusedActivationFunction", schema.ActivationFunctionType.NONE
    )


def _add_alpha(model: Any, half_alpha: int) -> int:
    """Add the tensor of a PRELU's slopes, float32 of shape (1, 1, channels)."""
    graph = model.subgraphs[0]
    half = graph.tensors[half_alpha]
    slopes = _constant(model, half)
    if slopes is None or half.type != schema.TensorType.FLOAT32:
        raise SurgeryError(f"tensor {half.name.decode()}: slopes are not constant float32")
    doubled = slopes.view(np.float32) * np.float32(2)
    buffer = schema.BufferT()
    buffer.data = doubled.view(np.uint8)
    model.buffers.append(buffer)
    alpha = schema.TensorT()
    alpha.name = half.name + b"/alpha"
    alpha.type = schema.TensorType.FLOAT32
    # XNNPACK takes a slope tensor only if every dimension but the last is 1.
    alpha.shape = [1, 1, doubled.size]
    alpha.buffer = len(model.buffers) - 1
    graph.tensors.append(alpha)
    return len(graph.tensors) - 1


def _set_reshape_batch(model: Any, operator: Any, batch: int) -> None:
    graph = model.subgraphs[0]
    target = [int(size) for size in graph.tensors[operator.outputs[0]].shape]
    if target[0] != batch:
        raise SurgeryError("a RESHAPE moves the batch away from the leading dimension")
    _set_reshape_target(model, operator, target)


def _set_reshape_target(model: Any, operator: Any, target: list[int]) -> None:
    if operator.builtinOptions is not None:
        operator.builtinOptions.newShape = target
    if len(operator.inputs) > 1:
        tensor = model.subgraphs[0].tensors[operator.inputs[1]]
        model.buffers[tensor.buffer].data = np.array(target, np.int32).view(np.uint8)


def _drop_unused_tensors(model: Any) -> None:
    graph = model.subgraphs[0]
    used = {int(t) for op in graph.operators for t in (*op.inputs, *op.outputs)}
    used = (used | {int(t) for t in (*graph.inputs, *graph.outputs)}) - {_NO_TENSOR}
    kept = sorted(used)
    position = {old: new for new, old in enumerate(kept)} | {_NO_TENSOR: _NO_TENSOR}
    graph.tensors = [graph.tensors[old] for old in kept]
    graph.inputs = [position[int(t)] for t in graph.inputs]
    graph.outputs = [position[int(t)] for t in graph.outputs]
    for operator in graph.operators:
        operator.inputs = [position[int(t)] for t in operator.inputs]
        operator.outputs = [position[int(t)] for t in operator.outputs]
    for signature in model.signatureDefs or []:
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = position[entry.tensorIndex]


def _drop_unused_buffers(model: Any) -> None:
    """Keep buffer 0 (empty, by the schema) and those with data that a tensor reads."""
    tensors = model.subgraphs[0].tensors
    users = [*tensors, *(model.metadata or [])]
    kept = sorted({0} | {user.buffer for user in users if _has_data(model.buffers[user.buffer])})
    position = {old: new for new, old in enumerate(kept)}
    model.buffers = [model.buffers[old] for old in kept]
    for user in users:
        # Activations need no buffer of their own: 0 is the shared empty one.
        user.buffer = position.get(user.buffer, 0)


def _tensor_map(names: list[str], tensors: Any) -> list[Any]:
    if len(names) != len(tensors):
        raise SurgeryError(f"{len(names)} names for {len(tensors)} tensors")
    entries = []
    for name, tensor in zip(names, tensors, strict=True):
        entry = schema.TensorMapT()
        entry.name = name.encode()
        entry.tensorIndex = int(tensor)
        entries.append(entry)
    return entries


def _constant(model: Any, tensor: Any) -> NDArray[np.uint8] | None:
    """Return a constant tensor's raw bytes, or None for an activation."""
    buffer = model.buffers[tensor.buffer]
    return np.frombuffer(bytes(buffer.data), np.uint8) if _has_data(buffer) else None


def _has_data(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _operators(model: Any, opcode: int) -> list[Any]:
    return [op for op in model.subgraphs[0].operators if _opcode(model, op) == opcode]


def _opcode(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def _opcode_index(model: Any, opcode: int) -> int:
    """Return the position of an operator code, appending it if it isn't there."""
    for i, code in enumerate(model.operatorCodes):
        if code.builtinCode == opcode:
            return i
    code = schema.OperatorCodeT()
    _set_opcode(code, opcode)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _set_opcode(code: Any, opcode: int) -> None:
    code.builtinCode = opcode
    code.deprecatedBuiltinCode = min(opcode, _LAST_BYTE_OPCODE)
