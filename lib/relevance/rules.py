r"""Rules of layer-wise relevance propagation as small objects.

Every rule of a layer with weights :math:`w`, bias :math:`b` and input :math:`x` has one form. It is
a sum of *branches*; a branch is a set of *parts*, each an input :math:`u_p(x)` through weights
:math:`v_p(w)`, with one denominator in common:

.. math::
    Z_k = \sum_p \Bigl(\sum_i u_p(x)_i \, v_p(w)_{ik} + b_{pk}\Bigr), \qquad
    R_i = \sum_\text{branches} f \sum_p u_p(x)_i \sum_k v_p(w)_{ik} \frac{R_k}{Z_k}

(:math:`b_p` the part's share of the bias, :math:`f` the branch's factor). A rule says which parts
and branches it has; the engine does the arithmetic. Where a denominator is exactly 0 it is replaced
by 1e-7, as in iNNvestigate; the numerators are then 0 too.

A rule that shares relevance out by contributions keeps it only where there are any: a unit whose
inputs are all 0 (in a black image, say) hands down nothing.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from lib.errors import InputError

#: Takes the place of a denominator that is exactly zero (iNNvestigate: Keras' epsilon).
ZERO_DENOMINATOR = 1e-7

BACH = "Bach et al. 2015, PLoS ONE 10(7) e0130140"
DEEP_TAYLOR = "Montavon et al. 2017, Pattern Recognition 65:211-222"
OVERVIEW = "Montavon et al. 2019, in Explainable AI, LNCS 11700:193-209"


def _is_number(value: object) -> bool:
    """Whether a setting is a finite number."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


@dataclass(frozen=True)
class Kernel:
    """A function of a layer's weights, entry by entry.

    ``name`` is one of ``w``, ``w+`` (positive part), ``w-`` (negative part), ``w^2``, ``1`` (ones),
    ``w+gw+`` (w + gamma w+).
    """

    name: str
    gamma: float = 0.0

    def __call__(self, w: tf.Tensor) -> tf.Tensor:
        if self.name == "w":
            return w
        if self.name == "w+":
            return tf.nn.relu(w)
        if self.name == "w-":
            return -tf.nn.relu(-w)
        if self.name == "w^2":
            return tf.square(w)
        if self.name == "1":
            return tf.ones_like(w)
        if self.name == "w+gw+":
            return w + self.gamma * tf.nn.relu(w)
        raise ValueError(f"unknown kernel {self.name!r}")


@dataclass(frozen=True)
class Part:
    """One input through one set of weights.

    ``take`` is ``x``, ``x+``, ``x-``, or a tuple of constants: one number, or one per channel.
    ``bias`` is what the part adds to the denominator: ``b``, ``b+`` or ``b-`` (its positive or
    negative part), ``b+gb+`` (with the kernel's gamma), or nothing.
    """

    take: str | tuple[float, ...]
    kernel: Kernel
    sign: float = 1.0
    bias: str = ""


@dataclass(frozen=True)
class Branch:
    """Parts that share a denominator; ``epsilon`` is added to it with its sign, sign(0) = +1."""

    parts: tuple[Part, ...]
    factor: float = 1.0
    epsilon: float = 0.0


@dataclass(frozen=True)
class Rule:
    """Base of all rules; see the module's text for what a rule is."""

    name: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    #: What is conserved from a layer's output to its input, and where it is not.
    conserves: ClassVar[str] = ""
    #: Whether a unit without bias hands down exactly what it receives, where none of the exceptions
    #: that :attr:`conserves` names applies.
    conserves_without_bias: ClassVar[bool] = True
    #: Whether that holds with a bias too.
    conserves_with_bias: ClassVar[bool] = False

    def branches(self) -> tuple[Branch, ...]:
        """The rule's branches, in the order in which relevance is added up; none for the gradient.

        Each branch is a denominator and the parts of the input that share by it; see the module's
        text for the formula.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class EpsilonRule(Rule):
    """Epsilon rule: relevance in proportion to the contributions, with a stabiliser."""

    epsilon: float = 0.1

    name: ClassVar[str] = "epsilon"
    formula: ClassVar[str] = "R_i = sum_k x_i w_ik R_k / (z_k + epsilon sign(z_k)), z with bias"
    citation: ClassVar[str] = f"{BACH}, eq. 58"
    conserves: ClassVar[str] = "all but the shares of bias and epsilon"
    conserves_without_bias: ClassVar[bool] = False

    def __post_init__(self):
        if not (_is_number(self.epsilon) and self.epsilon > 0):
            raise InputError(f"epsilon = {self.epsilon!r} is refused; give a number above 0.")

    def branches(self) -> tuple[Branch, ...]:
        """One branch: all contributions over their sum, bias and epsilon with it."""
        return (Branch((Part("x", Kernel("w"), bias="b"),), epsilon=self.epsilon),)

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g}"


@dataclass(frozen=True)
class AlphaBetaRule(Rule):
    """Alpha-beta rule: positive and negative contributions apart.

    As in iNNvestigate, either denominator holds the *full* bias. (Bach et al. and Zennit give the
    positive one the positive part of the bias, the negative one the negative part.)

    Relevance is conserved (alpha - beta = 1) by units that have contributions of both signs. One
    without negative contributions hands down alpha times what it receives, one without positive
    ones -beta times: with alpha 2, beta 1 and positive weights alone every layer doubles the sum.
    """

    alpha: float = 1.0
    beta: float = 0.0

    name: ClassVar[str] = "alpha-beta"
    formula: ClassVar[str] = (
        "R_i = sum_k (alpha (x_i w_ik)+ / (z_k+ + b_k) - beta (x_i w_ik)- / (z_k- + b_k)) R_k"
    )
    citation: ClassVar[str] = f"{BACH}, eq. 60; bias as in Alber et al. 2019, JMLR 20(93)"
    conserves: ClassVar[str] = (
        "all but the share of the bias; alpha times it in a unit without negative contributions, "
        "-beta times it in one without positive"
    )

    def __post_init__(self):
        fits = _is_number(self.alpha) and _is_number(self.beta)
        if not fits or self.beta < 0 or abs(self.alpha - self.beta - 1) > 1e-9:
            raise InputError(
                f"alpha = {self.alpha!r}, beta = {self.beta!r} is refused; alpha - beta must be 1 "
                "and beta not negative."
            )

    def branches(self) -> tuple[Branch, ...]:
        """Positive contributions times alpha, and with beta above 0 negative ones times -beta."""
        return self._branches("b+", "b-")

    def _branches(self, positive_bias: str, negative_bias: str) -> tuple[Branch, ...]:
        positive, negative = Kernel("w+"), Kernel("w-")
        active = (
            Part("x+", positive, bias=positive_bias),
            Part("x-", negative, bias=negative_bias),
        )
        inhibiting = (
            Part("x+", negative, bias=negative_bias),
            Part("x-", positive, bias=positive_bias),
        )
        found = (Branch(active, self.alpha),)
        return found + ((Branch(inhibiting, -self.beta),) if self.beta else ())

    def __str__(self) -> str:
        return f"alpha {self.alpha:g} beta {self.beta:g}"


@dataclass(frozen=True)
class ZPlusRule(AlphaBetaRule):
    """z+ rule: alpha 1, beta 0, no bias.

    A unit without positive contributions hands down nothing.
    """

    name: ClassVar[str] = "z-plus"
    formula: ClassVar[str] = "R_i = sum_k (x_i w_ik)+ / sum_j (x_j w_jk)+ R_k"
    citation: ClassVar[str] = f"{DEEP_TAYLOR}, section 4.1"
    conserves: ClassVar[str] = "everything; nothing in a unit without positive contributions"
    conserves_with_bias: ClassVar[bool] = True

    def __post_init__(self):
        if (self.alpha, self.beta) != (1.0, 0.0):
            raise InputError("The z+ rule has no parameters; use AlphaBetaRule.")

    def branches(self) -> tuple[Branch, ...]:
        """One branch: positive contributions over their sum."""
        return self._branches("", "")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class GammaRule(Rule):
    """Gamma rule: positive weights count 1 + gamma times. For inputs that are not negative."""

    gamma: float = 0.25

    name: ClassVar[str] = "gamma"
    formula: ClassVar[str] = (
        "R_i = sum_k x_i (w_ik + gamma w_ik+) / sum_j x_j (w_jk + gamma w_jk+) R_k, "
        "bias as one more input"
    )
    citation: ClassVar[str] = f"{OVERVIEW}, section 10.2.1"
    conserves: ClassVar[str] = "all but the share of the bias"

    def __post_init__(self):
        if not (_is_number(self.gamma) and self.gamma >= 0):
            raise InputError(f"gamma = {self.gamma!r} is refused; give a number from 0 on.")

    def branches(self) -> tuple[Branch, ...]:
        """One branch: contributions by the raised weights over their sum, bias with it."""
        return (Branch((Part("x", Kernel("w+gw+", self.gamma), bias="b+gb+"),)),)

    def __str__(self) -> str:
        return f"gamma {self.gamma:g}"


@dataclass(frozen=True)
class WSquareRule(Rule):
    """w-square rule: relevance in proportion to the squared weights, whatever the input."""

    name: ClassVar[str] = "w-square"
    formula: ClassVar[str] = "R_i = sum_k w_ik^2 / sum_j w_jk^2 R_k, j inside the image"
    citation: ClassVar[str] = f"{DEEP_TAYLOR}, section 4.2 (eq. 12)"
    conserves: ClassVar[str] = "everything; nothing in a unit whose weights are all 0"
    conserves_with_bias: ClassVar[bool] = True

    def branches(self) -> tuple[Branch, ...]:
        """One branch: ones in place of the input, through the squared weights."""
        return (Branch((Part((1.0,), Kernel("w^2")),)),)


@dataclass(frozen=True)
class FlatRule(Rule):
    """Flat rule: relevance in equal shares to all inputs of the window that lie in the image."""

    name: ClassVar[str] = "flat"
    formula: ClassVar[str] = "R_i = sum_k R_k / (number of inputs of k inside the image)"
    citation: ClassVar[str] = "Lapuschkin et al. 2017, ICCV Workshops, 1629-1638"
    conserves: ClassVar[str] = "everything"
    conserves_with_bias: ClassVar[bool] = True

    def branches(self) -> tuple[Branch, ...]:
        """One branch: ones in place of the input and of the weights."""
        return (Branch((Part((1.0,), Kernel("1")),)),)


@dataclass(frozen=True)
class ZBoxRule(Rule):
    """z-B rule for bounded inputs: the first layer of a network that sees pixels.

    ``low`` and ``high`` are the least and largest values an input can have, one number or one per
    channel. Without them they are those of the trunk: 0 and 255 less its channel means
    (:meth:`within`, which :func:`lib.relevance.compute_relevance` calls).
    """

    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None

    name: ClassVar[str] = "z-box"
    formula: ClassVar[str] = (
        "R_i = sum_k (x_i w_ik - l_i w_ik+ - h_i w_ik-) / sum_j (x_j w_jk - l_j w_jk+ - h_j w_jk-)"
        " R_k"
    )
    citation: ClassVar[str] = f"{DEEP_TAYLOR}, section 4.3"
    conserves: ClassVar[str] = (
        "everything; nothing in a unit whose inputs all have the value that is least for it"
    )
    conserves_with_bias: ClassVar[bool] = True

    def __post_init__(self):
        if self.low is None and self.high is None:
            return
        given = (self.low, self.high)
        fits = all(isinstance(some, tuple) and len(some) for some in given)
        fits = fits and len(self.low) == len(self.high)
        fits = fits and all(_is_number(value) for some in given for value in some)
        if not fits or not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise InputError(
                f"Bounds {self.low!r} and {self.high!r} of the z-box rule are refused; give two "
                "tuples of one length, a number for each channel or one for all, low below high."
            )

    def within(self, means: Sequence[float]) -> ZBoxRule:
        """The rule for pixels 0..255 from which channel means are subtracted.

        Parameters
        ----------
        means : sequence of float
            In the order of the input's channels; see :class:`lib.vgg.Trunk`.

        Returns
        -------
        ZBoxRule
            With these bounds; itself where it has bounds already.
        """
        if self.low is not None:
            return self
        return ZBoxRule(tuple(-float(m) for m in means), tuple(255 - float(m) for m in means))

    def check_channels(self, channels: int, layer: str) -> None:
        """Refuse bounds that do not fit the channels of the layer's input."""
        if self.low is not None and len(self.low) not in (1, channels):
            raise InputError(
                f"The z-box rule has {len(self.low)} bounds and the input of layer {layer!r} "
                f"{channels} channels; give one bound, or one for each channel."
            )

    def branches(self) -> tuple[Branch, ...]:
        """One branch of three parts: the input, less the least and less the largest it can be."""
        if self.low is None:
            raise InputError("The z-box rule has no bounds; give low and high, or use within.")
        parts = (
            Part("x", Kernel("w")),
            Part(self.low, Kernel("w+"), -1.0),
            Part(self.high, Kernel("w-"), -1.0),
        )
        return (Branch(parts),)


@dataclass(frozen=True)
class GradientRule(Rule):
    """Plain gradient: no relevance, the derivative of the target."""

    name: ClassVar[str] = "gradient"
    formula: ClassVar[str] = "g_i = sum_k w_ik g_k where the unit is active"
    citation: ClassVar[str] = "Simonyan et al. 2014, ICLR Workshop, arXiv 1312.6034"
    conserves: ClassVar[str] = "nothing"
    conserves_without_bias: ClassVar[bool] = False

    def branches(self) -> tuple[Branch, ...]:
        """None: there is no denominator."""
        return ()
