"""The shared-trunk engine: exact relevance for a family of readouts on one trunk.

All readouts of a trunk share every convolutional activation and every denominator of the rules. So
the forward pass and the denominators are computed once per image, and the readouts' relevances go
backward as one batch.

Two forms of the quantity that goes backward save most of the arithmetic. Where the layer above
hands down ``R = x * g`` with the layer's own input ``x`` (the usual case: inputs are not negative,
so every part of a rule takes ``x`` itself), only the *multiplier* ``g`` is kept. The layer below,
with output ``y = x``, then needs ``R / Z = g * (y / Z)``; ``y / Z`` is the same for all readouts,
is stored once per image with the max-pooling mask folded in, and a layer costs one product and one
convolution. Otherwise the *relevance* itself is kept.

With ``precision="winograd"`` these convolutions take the short way of
:mod:`lib.winograd`, layer by layer; else both passes are TensorFlow graphs.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from lib import memory, network, winograd
from lib.errors import InputError
from lib.network import Chain, Readout
from lib.relevance import collapsed, denominators
from lib.relevance.composites import Composite
from lib.relevance.rules import ZERO_DENOMINATOR, Branch, GradientRule, Kernel, Part, Rule

PRECISIONS = ("float32", "winograd", "mixed")
MULTIPLIER, RELEVANCE = "multiplier", "relevance"


def stabilise(z: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Denominator: ``z + epsilon sign(z)`` with sign(0) = +1, or exact zeros replaced."""
    if epsilon:
        return z + tf.where(z >= 0, epsilon, -epsilon)
    return tf.where(tf.equal(z, 0), tf.fill(tf.shape(z), ZERO_DENOMINATOR), z)


#: What the layer itself computes.
_LAYER = Part("x", Kernel("w"), bias="b")


def _key(part: Part) -> tuple:
    return (part.kernel, part.bias)


def _part_bias(part: Part, bias: tf.Tensor) -> tf.Tensor:
    """What a part adds to its branch's denominator."""
    if not part.bias:
        return tf.zeros_like(bias)
    kernels = {"b": "w", "b+": "w+", "b-": "w-", "b+gb+": "w+gw+"}
    return Kernel(kernels[part.bias], part.kernel.gamma)(bias)


def _taken(take: str, x: tf.Tensor) -> tf.Tensor:
    if take == "x+":
        return tf.nn.relu(x)
    if take == "x-":
        return -tf.nn.relu(-x)
    return x


def _simplify(branch: Branch, nonnegative: bool) -> Branch:
    """For inputs that are not negative x+ is x and x- is nothing, but for its share of the bias."""
    if not nonnegative:
        return branch
    halves = {part.bias for part in branch.parts} == {"b+", "b-"}
    parts = tuple(
        replace(part, take="x", bias="b" if halves else part.bias) if part.take == "x+" else part
        for part in branch.parts
        if part.take != "x-"
    )
    return replace(branch, parts=parts)


class _Convolve:
    """A convolution and its transpose, for any stride, padding and dilation.

    Kernels are (height, width, before, after), in the layer's own form; ``forward_kernel`` and
    ``backward_kernel`` bring them once into the form that ``forward`` and ``backward`` take.
    """

    def __init__(self, layer: network.Convolution, shape: tuple[int, ...]):
        self.shape = shape
        self.strides = list(layer.strides)
        self.padding = layer.padding
        self.dilation = layer.dilation
        height, width = layer.kernel.shape[:2]
        odd = height % 2 == 1 and width % 2 == 1
        self.flips = self.strides == [1, 1] and (self.dilation == (1, 1)) and odd
        self.flips = self.flips and self.padding == "SAME"

    def _spread(self, kernel: tf.Tensor) -> tf.Tensor:
        """A dilated kernel as a plain one with zeros between its taps."""
        if self.dilation == (1, 1):
            return kernel
        height, width, before, after = kernel.shape
        rows, columns = self.dilation
        spread = tf.reshape(kernel, (height, 1, width, 1, before, after))
        spread = tf.pad(spread, [[0, 0], [0, rows - 1], [0, 0], [0, columns - 1], [0, 0], [0, 0]])
        spread = tf.reshape(spread, (height * rows, width * columns, before, after))
        return spread[: (height - 1) * rows + 1, : (width - 1) * columns + 1]

    def forward_kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel as :meth:`forward` takes it."""
        return self._spread(kernel)

    def forward(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """(n, y, x, before) -> (n, y', x', after), without bias."""
        return tf.nn.conv2d(x, kernel, self.strides, self.padding)

    def backward_kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel as :meth:`backward` takes it."""
        kernel = self._spread(kernel)
        if self.flips:
            return tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
        return kernel

    def backward(self, s: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """(n, y', x', after) -> (n, y, x, before): every output to the inputs of its window."""
        if self.flips:
            # At stride 1 the transpose is itself a convolution, with the kernel turned round.
            return tf.nn.conv2d(s, kernel, 1, "SAME")
        size = tf.stack([tf.shape(s)[0], *self.shape[:2], kernel.shape[2]])
        return tf.nn.conv2d_transpose(s, kernel, size, self.strides, self.padding)


class _Multiply:
    """A dense layer and its transpose; kernels are (before, after)."""

    def __init__(self, layer: network.Dense, shape: tuple[int, ...]):
        self.shape = shape

    def forward_kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel as :meth:`forward` takes it."""
        return kernel

    def forward(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """(n, before) -> (n, after), without bias."""
        return tf.tensordot(x, kernel, 1)

    def backward_kernel(self, kernel: tf.Tensor) -> tf.Tensor:
        """A kernel as :meth:`backward` takes it."""
        return tf.transpose(kernel)

    def backward(self, s: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """(n, after) -> (n, before)."""
        return tf.tensordot(s, kernel, 1)


def _per_readout(values: tf.Tensor, once: tf.Tensor) -> tf.Tensor:
    """``values`` (images * readouts, ...) times ``once`` (images, ...), readouts side by side."""
    images, inner = tf.shape(once)[0], int(np.prod(once.shape[1:]))
    product = tf.reshape(values, (images, -1, inner)) * tf.reshape(once, (images, 1, inner))
    return tf.reshape(product, (-1, *once.shape[1:]))


class _Linear:
    """A convolution or dense layer under a rule."""

    def __init__(
        self,
        layer,
        rule: Rule,
        shape: tuple[int, ...],
        nonnegative: bool,
        dtype: tf.DType,
        buffers: memory.Buffers | None,
    ):
        self.relu = layer.relu
        self.rule = rule
        self.dtype = dtype
        kind = _Convolve if isinstance(layer, network.Convolution) else _Multiply
        self.operation = kind(layer, shape)
        self.kernel = tf.constant(layer.kernel)
        self.bias = tf.constant(layer.bias)
        self.shape = shape
        self.gradient = isinstance(rule, GradientRule)
        self.branches = tuple(_simplify(branch, nonnegative) for branch in rule.branches())
        takes = [part.take for branch in self.branches for part in branch.parts]
        #: Distinct inputs, in order; one block of output channels of the backward convolution each.
        self.takes = list(dict.fromkeys(takes))
        self.gives = MULTIPLIER if self.gradient or self.takes == ["x"] else RELEVANCE
        kernels = {part.kernel.name for branch in self.branches for part in branch.parts}
        self.uniform = self.takes == [(1.0,)] and kernels == {"1"}
        self._prepare()
        #: The convolution back by the short way, and what it needs of the layer, where they are.
        self.short = self.quotients = None
        if buffers is not None and winograd.fits(layer) and not self.uniform:
            self.short = winograd.Convolution(self.whole_back(), buffers)
            single = all(len(branch.parts) == 1 for branch in self.branches)
            if not self.gradient and self.takes == ["x"] and single:
                self.quotients = _Quotients(self)

    def _prepare(self) -> None:
        """Fused kernels of the forward and the backward convolution, and constant denominators."""
        operation = self.operation
        # Input -> (kernel, bias) pairs it goes through. The layer itself is x through w with b.
        wanted: dict[str, dict] = {"x": {_key(_LAYER): _LAYER}}
        self.constant = []
        for branch in self.branches:
            fixed = 0.0
            for part in branch.parts:
                if isinstance(part.take, tuple):
                    filled = tf.broadcast_to(tf.constant(part.take), (1, *self.shape))
                    kernel = operation.forward_kernel(part.kernel(self.kernel))
                    fixed += part.sign * operation.forward(filled, kernel)
                else:
                    wanted.setdefault(part.take, {})[_key(part)] = part
            self.constant.append(fixed)
        self.wanted = {take: list(parts) for take, parts in wanted.items()}
        self.fused = {}
        for take, parts in wanted.items():
            kernels = tf.concat([part.kernel(self.kernel) for part in parts.values()], -1)
            biases = tf.concat([_part_bias(part, self.bias) for part in parts.values()], -1)
            self.fused[take] = (operation.forward_kernel(kernels), biases)
        # Backward: a kernel for each branch, whose blocks are inputs.
        if self.gradient:
            backs = [self.kernel]
        elif self.uniform:
            backs = [tf.ones_like(self.kernel[..., :1, :1])] * len(self.branches)
        else:
            nothing = tf.zeros_like(self.kernel)
            backs = []
            for branch in self.branches:
                blocks = []
                for take in self.takes:
                    parts = [part for part in branch.parts if part.take == take]
                    given = [part.sign * part.kernel(self.kernel) for part in parts]
                    blocks.append(tf.add_n(given) if given else nothing)
                backs.append(tf.concat(blocks, -2))
        self.backs = [tf.cast(operation.backward_kernel(back), self.dtype) for back in backs]

    def forward(self, x: tf.Tensor, arrives: str) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Output and, per branch, the quotient that what arrives is multiplied with.

        Parameters
        ----------
        x : Tensor, (images, ...)
            The layer's input.
        arrives : {"multiplier", "relevance"}
            Form in which the layer above hands down.

        Returns
        -------
        y : Tensor or ndarray, (images, ...)
            The layer's output, rectified where it is.
        quotients : sequence of Tensor or ndarray
            Shaped as ``y``: ``y / Z`` for a multiplier, ``1 / Z`` for relevance, times the branch's
            factor; of a gradient 1 where the unit is active.
        """
        if self.quotients is not None:
            return self.quotients(x, arrives)
        products = {}
        for take, keys in self.wanted.items():
            kernels, biases = self.fused[take]
            fused = tf.nn.bias_add(self.operation.forward(_taken(take, x), kernels), biases)
            pieces = tf.split(fused, len(keys), -1) if len(keys) > 1 else [fused]
            products |= {(take, key): piece for key, piece in zip(keys, pieces, strict=True)}
        z = products["x", _key(_LAYER)]
        y = tf.nn.relu(z) if self.relu else z
        if self.gradient:
            return y, [tf.cast(z > 0, tf.float32)] if self.relu else []
        quotients = []
        for branch, fixed in zip(self.branches, self.constant, strict=True):
            # Each part with its bias, then the sum: iNNvestigate's order. Where a denominator
            # nearly vanishes, another order gives another number.
            total = fixed
            for part in branch.parts:
                if not isinstance(part.take, tuple):
                    total += part.sign * products[part.take, _key(part)]
            over = y if arrives == MULTIPLIER else tf.ones_like(y)
            quotients.append(branch.factor * over / stabilise(total, branch.epsilon))
        return y, quotients

    def backward(self, state: tf.Tensor, quotients: list, inputs: dict, spread: int = 1):
        """What arrives at the output -> what is handed to the input.

        Parameters
        ----------
        state : Tensor, (images * readouts, ...)
            Shaped as the layer's output; multiplier or relevance, as ``forward`` was told.
        quotients : list of Tensor
            Of :meth:`forward`, per image.
        inputs : dict
            Of :meth:`inputs`, per image.
        spread : int
            Side of the window that a value of the state stands for; above 1 only the short way.

        Returns
        -------
        Tensor or ndarray, (images * readouts, ...)
            Shaped as the layer's input, in the form that :attr:`gives` names.
        """
        if self.short is not None and len(quotients):
            arrays = [memory.as_array(quotient) for quotient in quotients]
            found = self.short(memory.as_array(state), arrays, spread)
        elif self.gradient:
            s = _per_readout(state, quotients[0]) if quotients else state
            found = self.operation.backward(s, self.backs[0])
        else:
            parts = [_per_readout(state, quotient) for quotient in quotients]
            if self.uniform:
                # Weights and inputs are ones: sum the output channels first, in float32.
                parts = [tf.cast(part, tf.float32) for part in parts]
                return self.share_evenly([tf.reduce_sum(x, -1, keepdims=True) for x in parts])
            found = self._add_branches(parts)
        if self.gives == MULTIPLIER:
            return found
        blocks = tf.split(tf.cast(found, tf.float32), len(self.takes), -1)
        relevance = 0.0
        for take, block in zip(self.takes, blocks, strict=True):
            if isinstance(take, tuple):
                relevance += block * tf.constant(take)
            else:
                relevance += _per_readout(block, inputs[take])
        return tf.cast(relevance, self.dtype)

    def share_evenly(self, sums: list) -> tf.Tensor:
        """Of a rule whose weights and inputs are ones, what the inputs get.

        ``sums`` are the products of what arrives and the quotients, (images * readouts, y, x, 1),
        summed over the channels, one for each branch.
        """
        found = self._add_branches(sums)
        return tf.cast(tf.repeat(found, self.shape[-1], -1), self.dtype)

    def _add_branches(self, parts: list) -> tf.Tensor:
        """What the branches hand down together.

        One after the other and then the sum, as iNNvestigate does it: added up in one convolution,
        branches that nearly cancel end at another number.
        """
        pairs = zip(parts, self.backs, strict=True)
        return tf.add_n([self.operation.backward(x, tf.cast(k, x.dtype)) for x, k in pairs])

    def whole_back(self) -> np.ndarray:
        """The backward kernel for the branches side by side."""
        return tf.concat(self.backs, -2).numpy()

    def inputs(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """The inputs that the backward pass multiplies with (none when multipliers go on)."""
        if self.gives == MULTIPLIER:
            return {}
        return {take: _taken(take, x) for take in self.takes if isinstance(take, str)}


class _Quotients:
    """Output and quotients of a convolution whose branches have one part each, in one go.

    By plain convolutions: a change in the last digit would decide anew which of equal inputs wins a
    max pooling, in an even background everywhere, and be all there is of a denominator that nearly
    vanishes.
    """

    def __init__(self, layer: _Linear):
        # not the layer, which holds this: what holds itself stays until the collector comes by
        self.operation, self.relu = layer.operation, layer.relu
        self.channels = layer.kernel.shape[-1]
        self.kernels, biases = layer.fused["x"]
        self.biases = biases.numpy()
        blocks = {key: block for block, key in enumerate(layer.wanted["x"])}
        self.branches = [
            (blocks[_key(branch.parts[0])], branch.parts[0].sign * branch.factor, branch.epsilon)
            for branch in layer.branches
        ]

    def __call__(self, x, arrives: str) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`_Linear.forward`; the quotients are one array, branches first."""
        fused = self.operation.forward(memory.as_tensor(x), self.kernels)
        return denominators.divide(
            memory.as_array(fused), self.biases, self.channels, self.branches,
            relu=self.relu, times=arrives == MULTIPLIER,
        )  # fmt: skip


class _Pool:
    """Max pooling (to the winner) or average pooling (in proportion to the contributions)."""

    def __init__(self, layer: network.Pooling, shape: tuple[int, ...], dtype: tf.DType):
        self.layer, self.shape, self.dtype = layer, shape, dtype
        self.arguments = {
            "ksize": [1, *layer.size, 1],
            "strides": [1, *layer.strides, 1],
            "padding": layer.padding,
        }
        #: Windows that do not overlap: the gradient is a mask times a repetition.
        self.simple = layer.size == layer.strides and layer.padding == "VALID"
        #: By 2 x 2, with nothing left over.
        self.halves = self.simple and layer.size == (2, 2) and not (shape[0] % 2 or shape[1] % 2)

    def forward(self, x: tf.Tensor) -> tf.Tensor:
        """The pooled input, (images, y', x', channels)."""
        pool = tf.nn.max_pool2d if self.layer.kind == "max" else tf.nn.avg_pool2d
        return pool(x, self.layer.size, self.layer.strides, self.layer.padding)

    def mask(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """1 where an input won its window (the first of equals), else 0."""
        return tf.raw_ops.MaxPoolGrad(
            orig_input=x, orig_output=y, grad=tf.ones_like(y), **self.arguments
        )

    def spread(self, state: tf.Tensor) -> tf.Tensor:
        """Every value repeated over its window; rows and columns left over are zero."""
        height, width = self.layer.size
        size = [state.shape[1] * height, state.shape[2] * width]
        found = tf.raw_ops.ResizeNearestNeighbor(images=state, size=size)
        missing = [self.shape[0] - size[0], self.shape[1] - size[1]]
        if any(missing):
            found = tf.pad(found, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
        return found

    def average(self, state: tf.Tensor) -> tf.Tensor:
        """The gradient of average pooling: every value in equal shares to its window."""
        shape = tf.stack([tf.shape(state)[0], *self.shape])
        return tf.raw_ops.AvgPoolGrad(orig_input_shape=shape, grad=state, **self.arguments)

    def winners(self, state: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The gradient of overlapping max pooling, for every readout."""
        readouts = tf.shape(state)[0] // tf.shape(x)[0]
        found = tf.raw_ops.MaxPoolGrad(
            orig_input=tf.repeat(x, readouts, 0),
            orig_output=tf.repeat(y, readouts, 0),
            grad=tf.cast(state, tf.float32),
            **self.arguments,
        )
        return tf.cast(found, self.dtype)


class SharedTrunk:
    """Relevance of many readouts on one trunk.

    Parameters
    ----------
    trunk : keras.Model
        (n, y, x, channels) -> features.
    readouts : sequence of Readout
    composite : Composite
    precision : {"float32", "winograd", "mixed"}
        ``winograd`` goes backward in float32 too, with a quarter of the multiplications
        (:mod:`lib.winograd`); its maps differ from those of ``float32`` by about 1e-6 of
        their largest value (4e-5 where terms cancel). ``mixed`` goes backward in bfloat16. Its maps
        (all composites, two trunks) correlate with the exact ones at r >= .9999, and of the tenth
        of the pixels with the largest |R| at least .98 are the same; those that change sides lie
        within a hundredth of the largest |R| of the mask's edge.
    seeds : int
        Relevances that go backward at a time; bounds the memory.

    Raises
    ------
    InputError
        A layer no rule covers, or a readout of another width.
    """

    def __init__(
        self,
        trunk: tf.keras.Model,
        readouts: Sequence[Readout],
        composite: Composite,
        precision: str = "float32",
        seeds: int = 10,
    ):
        if precision not in PRECISIONS:
            raise InputError(f"There is no precision {precision!r}; use {', '.join(PRECISIONS)}.")
        self.composite = composite
        self.readouts = list(readouts)
        self.seeds = max(1, seeds)
        self.dtype = tf.bfloat16 if precision == "mixed" else tf.float32
        self._buffers = memory.Buffers() if precision == "winograd" else None
        self.chain: Chain = network.read_chain(trunk)
        width = check_readouts(self.chain, self.readouts, trunk.name)
        self._build_layers()
        # One row per class of every readout: logits are one product, seeds are rows.
        rows = np.concatenate([readout.kernel.T for readout in self.readouts])
        self.offsets = np.cumsum([0] + [readout.classes for readout in self.readouts])
        self.rows = tf.constant(rows.reshape(-1, width))
        self.biases = tf.constant(np.concatenate([readout.bias for readout in self.readouts]))
        #: Both passes as graphs, where they are not by minimal filtering.
        self._graphs = self._trace() if self._buffers is None else None

    def _trace(self) -> tuple | None:
        """The two passes as graphs, for any number of images and readouts."""
        # Graphs know the engine weakly: kernels are large, and what holds itself stays in memory
        # until the collector comes by.
        mine = weakref.proxy(self)
        x = tf.TensorSpec((None, *self.chain.input_shape), tf.float32)
        forward = tf.function(lambda *given: mine._run_forward(*given), autograph=False)
        forward = forward.get_concrete_function(x)
        _, features, kept = tf.nest.map_structure(
            lambda value: tf.TensorSpec(value.shape, value.dtype), forward.structured_outputs
        )
        index = tf.TensorSpec((None, None), tf.int32)
        contrast = tf.TensorSpec((None, None), tf.float32)
        backward = tf.function(lambda *given: mine._run_backward(*given), autograph=False)
        return forward, backward.get_concrete_function(x, features, kept, index, index, contrast)

    # ------------------------------------------------------------------------------------ build

    def _build_layers(self) -> None:
        """Steps of the chain, and in which form the backward quantity reaches each."""
        rules = self.composite.rules(self.chain)
        shape, nonnegative = self.chain.input_shape, False
        self.steps: list = []
        for layer in self.chain.layers:
            if isinstance(layer, network.Convolution | network.Dense):
                step = _Linear(
                    layer, rules[layer.name], shape, nonnegative, self.dtype, self._buffers
                )
                nonnegative = layer.relu
            elif isinstance(layer, network.Pooling):
                step = _Pool(layer, shape, self.dtype)
            else:
                step = layer
                nonnegative = nonnegative or isinstance(layer, network.Rectifier)
            self.steps.append(step)
            shape = self._shape_after(layer, shape)
        self.feature_shape = shape
        # The readout is a dense layer too; what it gives depends on its rule and input alone.
        rule = self.composite.dense
        self.branches = tuple(_simplify(branch, nonnegative) for branch in rule.branches())
        takes = {part.take for branch in self.branches for part in branch.parts}
        form = MULTIPLIER if self.composite.is_gradient or takes == {"x"} else RELEVANCE
        self.seed_form = form
        self.arrives: list[str] = [""] * len(self.steps)
        for position in range(len(self.steps) - 1, -1, -1):
            self.arrives[position] = form
            step = self.steps[position]
            if isinstance(step, _Linear):
                form = step.gives
            elif isinstance(step, network.GlobalAverage) or (
                isinstance(step, _Pool) and step.layer.kind == "average"
            ):
                form = MULTIPLIER
        self.form_at_input = form
        #: The second layer's convolution summed over its channels, where the first wants no more.
        self.collapsed = None
        lowest = self.steps[:2]
        if len(lowest) == 2 and all(isinstance(step, _Linear) for step in lowest):
            first, second = lowest
            ends = first.uniform and len(first.branches) == 1
            if ends and second.short is not None and second.gives == MULTIPLIER:
                self.collapsed = collapsed.Collapsed(second.whole_back())

    @staticmethod
    def _shape_after(layer: network.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
        if isinstance(layer, network.Flattening):
            return (int(np.prod(shape)),)
        if isinstance(layer, network.GlobalAverage):
            return (shape[-1],)
        if isinstance(layer, network.Dense):
            return (*shape[:-1], layer.kernel.shape[-1])
        if isinstance(layer, network.Padding):
            (top, bottom), (left, right) = layer.pads
            return (shape[0] + top + bottom, shape[1] + left + right, shape[2])
        if isinstance(layer, network.Rectifier):
            return shape
        window = layer.size if isinstance(layer, network.Pooling) else layer.kernel.shape[:2]
        dilation = getattr(layer, "dilation", (1, 1))
        sides = []
        for side, size, stride, rate in zip(shape, window, layer.strides, dilation, strict=False):
            reach = (size - 1) * rate + 1
            inside = side if layer.padding == "SAME" else side - reach + 1
            sides.append(-(-inside // stride))
        channels = layer.kernel.shape[-1] if hasattr(layer, "kernel") else shape[-1]
        return (*sides, channels)

    def _folds(self, position: int) -> bool:
        """Whether the max pooling at ``position`` is folded into the layer before it."""
        step = self.steps[position]
        before = self.steps[position - 1] if position else None
        if not (isinstance(step, _Pool) and step.layer.kind == "max" and step.simple):
            return False
        # A gradient through a layer without ReLU stores no quotient to fold into.
        return isinstance(before, _Linear) and (before.relu or not before.gradient)

    # -------------------------------------------------------------------------------------- run

    def _run_forward(self, x: tf.Tensor):
        """Logits of all readouts, features, and what the backward pass needs of each layer."""
        kept: list[tuple] = []
        for position, step in enumerate(self.steps):
            arrives = self.arrives[position]
            if isinstance(step, _Linear):
                y, quotients = step.forward(x, arrives)
                kept.append((quotients, step.inputs(x)))
            elif isinstance(step, _Pool):
                folds = self._folds(position)
                if folds and isinstance(kept[-1][0], np.ndarray) and step.halves:
                    y = denominators.keep_winners(x, kept[-1][0])
                    kept.append(())
                    x = y
                    continue
                y = step.forward(x)
                if folds:
                    mask = step.mask(x, y)
                    quotients, inputs = kept[-1]
                    kept[-1] = ([tf.where(mask > 0, q, 0.0) for q in quotients], inputs)
                    kept.append(())
                elif step.layer.kind == "max":
                    kept.append((step.mask(x, y),) if step.simple else (x, y))
                else:
                    kept.append((_ratio(y, arrives),))
            elif isinstance(step, network.GlobalAverage):
                y = tf.reduce_mean(x, (1, 2))
                kept.append((_ratio(y, arrives),))
            elif isinstance(step, network.Rectifier):
                y = tf.nn.relu(x)
                kept.append((tf.cast(x > 0, self.dtype),) if arrives == MULTIPLIER else ())
            elif isinstance(step, network.Padding):
                y = tf.pad(x, [[0, 0], *map(list, step.pads), [0, 0]])
                kept.append(())
            else:
                y = tf.reshape(x, (-1, int(np.prod(x.shape[1:]))))
                kept.append(())
            x = y
        if self._buffers is None:
            kept = [
                ([tf.cast(q, self.dtype) for q in item[0]], item[1]) if _is_linear(item) else item
                for item in kept
            ]
        features = tf.reshape(x, (-1, int(np.prod(self.feature_shape))))
        logits = tf.matmul(features, self.rows, transpose_b=True) + self.biases
        return logits, features, kept

    def _seed(self, features, first, second, contrast):
        """What the readouts hand to the features, (images * readouts, features).

        The target is one linear neuron: the row of the target class, less the row of a second class
        where the difference of two logits is asked for (``contrast`` 1, else 0).
        """
        contrast = contrast[..., None]
        w = tf.gather(self.rows, first) - contrast * tf.gather(self.rows, second)
        b = tf.gather(self.biases, first) - contrast[..., 0] * tf.gather(self.biases, second)
        f = features[:, None]
        if self.composite.is_gradient:
            return w
        # Score and denominators by one kind of sum: their rounding then cancels in the quotient.
        z = tf.reduce_sum(f * w, -1) + b
        given = 0.0
        for branch in self.branches:
            total = 0.0
            for part in branch.parts:
                product = tf.reduce_sum(_input(part.take, f) * part.kernel(w), -1)
                total += part.sign * (product + _part_bias(part, b))
            s = branch.factor * z / stabilise(total, branch.epsilon)
            for part in branch.parts:
                share = part.sign * part.kernel(w) * s[..., None]
                if self.seed_form == RELEVANCE:
                    share *= _input(part.take, f)
                given += share
        return given

    def _run_backward(self, x, features, kept, first, second, contrast):
        """Relevance at the input of the trunk, (images, readouts, y, x, channels)."""
        state = self._seed(features, first, second, contrast)
        state = tf.cast(tf.reshape(state, (-1, *self.feature_shape)), self.dtype)
        spread = 1
        for position in range(len(self.steps) - 1, -1, -1):
            step, item = self.steps[position], kept[position]
            if position == 1 and self.collapsed is not None:
                state = self._backward_collapsed(state, kept, spread)
                break
            if isinstance(step, _Linear):
                state = step.backward(state, *item, spread)
                spread = 1
            elif isinstance(step, _Pool):
                if spread := self._leaves_spread(position):
                    continue
                spread = 1
                state = self._backward_pool(position, step, item, state)
            elif isinstance(step, network.GlobalAverage):
                state = _per_readout(state, tf.cast(item[0], self.dtype))
                height, width = self.shape_before(position)[:2]
                state = tf.tile(
                    state[:, None, None] / tf.cast(height * width, self.dtype),
                    (1, height, width, 1),
                )
            elif isinstance(step, network.Rectifier):
                state = _per_readout(state, item[0]) if item else state
            elif isinstance(step, network.Padding):
                (top, bottom), (left, right) = step.pads
                height, width = state.shape[1] - bottom, state.shape[2] - right
                state = state[:, top:height, left:width]
            else:
                state = tf.reshape(state, (-1, *self.shape_before(position)))
        state = tf.cast(state, tf.float32)
        relevance = self.form_at_input == MULTIPLIER and not self.composite.is_gradient
        if relevance or self.composite.times_input:
            state = _per_readout(state, x)
        return tf.reshape(state, (tf.shape(x)[0], -1, *self.chain.input_shape))

    def _leaves_spread(self, position: int) -> int:
        """Side of the windows of a max pooling that the layer before it repeats by itself, or 0."""
        if not self._folds(position) or self.steps[position - 1].short is None:
            return 0
        height, width = self.steps[position].layer.size
        return height if height == width else 0

    def _backward_collapsed(self, state, kept: list, spread: int) -> tf.Tensor:
        """The two lowest layers at once; see :class:`lib.relevance.collapsed.Collapsed`."""
        arrays = [memory.as_array(quotient) for quotient in kept[1][0]]
        sums = self.collapsed(memory.as_array(state), arrays, kept[0][0][0], spread)
        return self.steps[0].share_evenly([tf.constant(sums[..., None])])

    def _backward_pool(self, position: int, step: _Pool, item: tuple, state: tf.Tensor):
        if step.layer.kind == "average":
            return step.average(_per_readout(state, tf.cast(item[0], self.dtype)))
        if self._folds(position):
            return step.spread(state)
        if step.simple:
            return _per_readout(step.spread(state), tf.cast(item[0], self.dtype))
        return step.winners(state, *item)

    def shape_before(self, position: int) -> tuple[int, ...]:
        """Shape that enters the step at ``position``, without the batch axis."""
        shape = self.chain.input_shape
        for layer in self.chain.layers[:position]:
            shape = self._shape_after(layer, shape)
        return shape

    def forward(self, x: tf.Tensor) -> tuple[list[np.ndarray], tf.Tensor, list]:
        """Logits of every readout, features, and what the backward pass needs.

        Parameters
        ----------
        x : ndarray, (n, y, x, channels), float32
            Prepared images.

        Returns
        -------
        logits : list of ndarray
            Per readout (n, classes).
        features : Tensor, (n, features)
        kept : list of tuple
            Per step of the trunk, what was stored of it.
        """
        run = self._graphs[0] if self._graphs else self._run_forward
        together, features, kept = run(tf.constant(x))
        return np.split(together.numpy(), self.offsets[1:-1], axis=1), features, kept

    def relevance(self, x: np.ndarray, choose) -> tuple[np.ndarray, list[np.ndarray], tuple]:
        """Relevance of every readout for a block of prepared images.

        Parameters
        ----------
        x : ndarray, (n, y, x, channels), float32
        choose : callable
            Logits (a list of (n, classes), one per readout) -> two integer arrays (n, readouts):
            the target class, and the class whose logit is subtracted, or -1 for none.

        Returns
        -------
        relevance : ndarray, (n, readouts, y, x, channels), float32
        logits : list of ndarray
        target : the two arrays of ``choose``
        """
        x = tf.constant(x)
        logits, features, kept = self.forward(x)
        first, second = choose(logits)
        begin = self.offsets[:-1][None]
        run = self._graphs[1] if self._graphs else self._run_backward
        maps = []
        for start in range(0, len(self.readouts), self.seeds):
            some = slice(start, start + self.seeds)
            found = run(
                x,
                features,
                kept,
                tf.constant((begin + first)[:, some], tf.int32),
                tf.constant((begin + np.maximum(second, 0))[:, some], tf.int32),
                tf.constant((second >= 0)[:, some], tf.float32),
            )
            maps.append(found.numpy())
        return np.concatenate(maps, axis=1), logits, (first, second)


def _is_linear(item: tuple) -> bool:
    return len(item) == 2 and isinstance(item[0], list)


def _input(take: str | tuple[float, ...], x: tf.Tensor) -> tf.Tensor | float:
    """Input of a part of the readout's rule; constants there are single numbers."""
    return tf.constant(take) if isinstance(take, tuple) else _taken(take, x)


def _ratio(y: tf.Tensor, arrives: str) -> tf.Tensor:
    """What turns the arriving form into relevance over the average: y/y (1, or 0 at 0) or 1/y."""
    if arrives == MULTIPLIER:
        return tf.cast(tf.not_equal(y, 0), tf.float32)
    return 1 / stabilise(y, 0)


def check_readouts(chain: Chain, readouts: Sequence[Readout], trunk: str) -> int:
    """Number of features of a trunk, after the readouts were checked against it."""
    shape = chain.input_shape
    for layer in chain.layers:
        shape = SharedTrunk._shape_after(layer, shape)
    return check_width(int(np.prod(shape)), readouts, trunk)


def check_width(width: int, readouts: Sequence[Readout], trunk: str) -> int:
    """Number of features of a trunk, after the readouts were found to take as many."""
    if not readouts:
        raise InputError("There are no readouts; give at least one.")
    for readout in readouts:
        if readout.kernel.shape[0] != width:
            raise InputError(
                f"Readout {readout.name!r} takes {readout.kernel.shape[0]} features and trunk "
                f"{trunk!r} gives {width}; it was trained on another trunk or image size."
            )
    return width
