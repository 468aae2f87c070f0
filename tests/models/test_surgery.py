"""Surgery on small synthetic models: no network, no files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import surgery

OP = schema.BuiltinOperator
CHAIN = (OP.RELU, OP.ABS, OP.SUB, OP.MUL, OP.ADD)


def magnitudes(smallest: float, largest: float) -> st.SearchStrategy[float]:
    """Zero, and floats of either sign between two magnitudes."""
    positive = st.floats(smallest, largest, width=32)
    return st.just(0.0) | positive | positive.map(lambda value: -value)


# Far wider than any activation. Past it the unfused chain overflows, or its results are
# subnormal, which XNNPACK's ADD flushes to zero and its PRELU doesn't.
ACTIVATIONS = magnitudes(2.0**-100, 2.0**100)
HALF_ALPHAS = magnitudes(2.0**-20, 4.0)


class ModelMaker:
    """Builds a TFLite model tensor by tensor, as old converters wrote them."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors = []
        self.graph.operators = []
        self.model.subgraphs = [self.graph]

    def activation(self, name: str, shape: list[int]) -> int:
        tensor = schema.TensorT()
        tensor.name = name.encode()
        tensor.type = schema.TensorType.FLOAT32
        tensor.shape = shape
        # Old converters give each activation an empty buffer of its own.
        tensor.buffer = self._buffer(None)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: NDArray[Any]) -> int:
        index = self.activation(name, list(values.shape))
        tensor = self.graph.tensors[index]
        if values.dtype == np.int32:
            tensor.type = schema.TensorType.INT32
        tensor.buffer = self._buffer(np.frombuffer(values.tobytes(), np.uint8))
        return index

    def operator(self, opcode: int, inputs: list[int], output: int, options: Any = None) -> None:
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode = opcode
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self.graph.operators.append(operator)

    def bytes(self, inputs: list[int], outputs: list[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        return surgery.serialise(self.model)

    def _buffer(self, data: NDArray[np.uint8] | None) -> int:
        buffer = schema.BufferT()
        buffer.data = data
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1


def prelu_chain(
    half_alpha: NDArray[np.float32], *, batch: int = 2, swapped: bool = False, leak: bool = False
) -> bytes:
    """One five-operator chain on (batch, 3, 3, channels), then a RESHAPE to 2 dimensions.

    swapped: the operands of MUL and ADD change places. leak: |x| is an output too.
    """
    maker, channels = ModelMaker(), half_alpha.size
    shape = [batch, 3, 3, channels]
    names = ("input", "relu", "abs", "sub", "mul", "add")
    x, relu, absolute, sub, mul, add = (maker.activation(name, shape) for name in names)
    slopes = maker.constant("half_alpha", half_alpha)
    maker.constant("forgotten", np.ones(5, np.float32))
    flat = maker.activation("flat", [batch, 9 * channels])
    target = maker.constant("target", np.array([batch, 9 * channels], np.int32))
    maker.operator(OP.RELU, [x], relu)
    maker.operator(OP.ABS, [x], absolute)
    maker.operator(OP.SUB, [x, absolute], sub, schema.SubOptionsT())
    maker.operator(OP.MUL, [sub, slopes][:: -1 if swapped else 1], mul, schema.MulOptionsT())
    maker.operator(OP.ADD, [relu, mul][:: -1 if swapped else 1], add, schema.AddOptionsT())
    options = schema.ReshapeOptionsT()
    options.newShape = [batch, 9 * channels]
    maker.operator(OP.RESHAPE, [add, target], flat, options)
    return maker.bytes([x], [flat, absolute] if leak else [flat])


def run(content: bytes, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    output: NDArray[np.float32] = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"]
    )
    return output


def operate(content: bytes) -> bytes:
    model = surgery.parse(content)
    surgery.set_batch(model, 1)
    surgery.fuse_prelu_chains(model)
    surgery.drop_unused(model)
    surgery.add_signature(model, ["input"], ["flat"])
    return surgery.serialise(model)


def opcodes(content: bytes) -> list[int]:
    model = surgery.parse(content)
    codes = [code.builtinCode for code in model.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


HALF = np.array([0.25, -0.5, 0.0, 1.0], np.float32)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_fused_chain_is_bit_identical(data: st.DataObject) -> None:
    channels = data.draw(st.integers(1, 9))
    slopes = st.lists(HALF_ALPHAS, min_size=channels, max_size=channels)
    half_alpha = np.array(data.draw(slopes), np.float32)
    count = 9 * channels
    values = np.array(data.draw(st.lists(ACTIVATIONS, min_size=count, max_size=count)), np.float32)
    tensor = values.reshape(1, 3, 3, channels)
    source = prelu_chain(half_alpha, swapped=data.draw(st.booleans()))

    expected = run(source, np.repeat(tensor, 2, axis=0))
    got = run(operate(source), tensor)

    # Adding zero erases the sign of a zero; all other bits must agree.
    zero = np.float32(0)
    assert (got[0] + zero).tobytes() == (expected[0] + zero).tobytes()
    assert (got[0] + zero).tobytes() == (expected[1] + zero).tobytes()


def test_fused_model_holds_nothing_but_prelu_and_reshape() -> None:
    model = surgery.parse(operate(prelu_chain(HALF)))

    assert opcodes(operate(prelu_chain(HALF))) == [OP.PRELU, OP.RESHAPE]
    names = {tensor.name for tensor in model.subgraphs[0].tensors}
    assert names == {b"input", b"half_alpha/alpha", b"add", b"flat", b"target"}
    assert len(model.buffers) == 3  # the empty one, the slopes, the RESHAPE's target


def test_alpha_is_twice_the_chain_constant() -> None:
    model = surgery.parse(operate(prelu_chain(HALF)))

    alpha = next(t for t in model.subgraphs[0].tensors if t.name == b"half_alpha/alpha")

    assert list(alpha.shape) == [1, 1, 4]
    values = np.frombuffer(bytes(model.buffers[alpha.buffer].data), np.float32)
    np.testing.assert_array_equal(values, 2 * HALF)


def test_signature_names_inputs_and_outputs() -> None:
    interpreter = Interpreter(model_content=operate(prelu_chain(HALF)))

    signatures = interpreter.get_signature_list()

    assert signatures == {"serving_default": {"inputs": ["input"], "outputs": ["flat"]}}


def test_buffers_are_aligned() -> None:
    odd = np.arange(7, dtype=np.float32)

    assert surgery.misaligned_buffers(operate(prelu_chain(odd))) == []


def test_chain_whose_inner_tensor_is_read_elsewhere_stays() -> None:
    content = prelu_chain(HALF, leak=True)
    model = surgery.parse(content)

    assert surgery.fuse_prelu_chains(model) == 0
    assert opcodes(surgery.serialise(model)) == [*CHAIN, OP.RESHAPE]


@pytest.mark.parametrize("position", range(5))
def test_chain_with_an_operator_of_another_kind_stays(position: int) -> None:
    model = surgery.parse(prelu_chain(HALF))
    others = {OP.RELU: OP.RELU6, OP.ABS: OP.NEG, OP.SUB: OP.DIV, OP.MUL: OP.ADD, OP.ADD: OP.MUL}
    model.operatorCodes[position].builtinCode = others[CHAIN[position]]

    assert surgery.fuse_prelu_chains(model) == 0


def test_chain_with_a_fused_activation_stays() -> None:
    model = surgery.parse(prelu_chain(HALF))
    add = model.subgraphs[0].operators[4]
    add.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU

    assert surgery.fuse_prelu_chains(model) == 0


def test_set_batch_refuses_a_model_of_mixed_batches() -> None:
    model = surgery.parse(prelu_chain(HALF))
    model.subgraphs[0].tensors[2].shape = [4, 3, 3, 4]

    with pytest.raises(surgery.SurgeryError, match="leading dimension 4"):
        surgery.set_batch(model, 1)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64])
def test_parse_refuses_what_is_no_tflite_file(content: bytes) -> None:
    with pytest.raises(surgery.SurgeryError, match="TFL3"):
        surgery.parse(content)


def test_signature_needs_a_name_for_each_tensor() -> None:
    model = surgery.parse(prelu_chain(HALF))

    with pytest.raises(surgery.SurgeryError, match="0 names for 1"):
        surgery.add_signature(model, [], ["flat"])
