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
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from lib.errors import InputError

#: Takes the place of a denominator that is exactly zero (iNNvestigate: Keras' epsilon).
ZERO_DENOMINATOR = 1e-7

BACH = "Bach et al. 2015, PLoS ONE 10(7) e0130140"
DEEP_TAYLOR = "Montavon et al. 2017, Pattern Recognition 65:211-222"
OVERVIEW = "Montavon et al. 2019, in Explainable AI, LNCS 11700:193-209"


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
    #: What is conserved from a layer's output to its input.
    conserves: ClassVar[str] = ""
    #: Whether a layer without biases hands down exactly what it receives.
    conserves_without_bias: ClassVar[bool] = True
    #: Whether that holds with biases too.
    conserves_with_bias: ClassVar[bool] = False

    def branches(self) -> tuple[Branch, ...]:
        """The rule's branches; none for the gradient."""
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
        if not self.epsilon > 0:
            raise InputError(f"epsilon = {self.epsilon} is refused; it must be above 0.")

    def branches(self) -> tuple[Branch, ...]:
        return (Branch((Part("x", Kernel("w"), bias="b"),), epsilon=self.epsilon),)

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g}"


@dataclass(frozen=True)
class AlphaBetaRule(Rule):
    """Alpha-beta rule: positive and negative contributions apart.

    As in iNNvestigate, either denominator holds the *full* bias. (Bach et al. and Zennit give the
    positive one the positive part of the bias, the negative one the negative part.)
    """

    alpha: float = 1.0
    beta: float = 0.0

    name: ClassVar[str] = "alpha-beta"
    formula: ClassVar[str] = (
        "R_i = sum_k (alpha (x_i w_ik)+ / (z_k+ + b_k) - beta (x_i w_ik)- / (z_k- + b_k)) R_k"
    )
    citation: ClassVar[str] = f"{BACH}, eq. 60; bias as in Alber et al. 2019, JMLR 20(93)"
    conserves: ClassVar[str] = "all but the share of the bias"

    def __post_init__(self):
        if self.beta < 0 or abs(self.alpha - self.beta - 1) > 1e-9:
            raise InputError(
                f"alpha = {self.alpha}, beta = {self.beta} is refused; alpha - beta must be 1 and "
                "beta not negative."
            )

    def branches(self) -> tuple[Branch, ...]:
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
    """z+ rule: alpha 1, beta 0, no bias."""

    name: ClassVar[str] = "z-plus"
    formula: ClassVar[str] = "R_i = sum_k (x_i w_ik)+ / sum_j (x_j w_jk)+ R_k"
    citation: ClassVar[str] = f"{DEEP_TAYLOR}, section 4.1"
    conserves: ClassVar[str] = "everything"
    conserves_with_bias: ClassVar[bool] = True

    def __post_init__(self):
        if (self.alpha, self.beta) != (1.0, 0.0):
            raise InputError("The z+ rule has no parameters; use AlphaBetaRule.")

    def branches(self) -> tuple[Branch, ...]:
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
        if not self.gamma >= 0:
            raise InputError(f"gamma = {self.gamma} is refused; it must not be negative.")

    def branches(self) -> tuple[Branch, ...]:
        return (Branch((Part("x", Kernel("w+gw+", self.gamma), bias="b+gb+"),)),)

    def __str__(self) -> str:
        return f"gamma {self.gamma:g}"


@dataclass(frozen=True)
class WSquareRule(Rule):
    """w-square rule: relevance in proportion to the squared weights, whatever the input."""

    name: ClassVar[str] = "w-square"
    formula: ClassVar[str] = "R_i = sum_k w_ik^2 / sum_j w_jk^2 R_k, j inside the image"
    citation: ClassVar[str] = f"{DEEP_TAYLOR}, section 4.2 (eq. 12)"
    conserves: ClassVar[str] = "everything"
    conserves_with_bias: ClassVar[bool] = True

    def branches(self) -> tuple[Branch, ...]:
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
        return (Branch((Part((1.0,), Kernel("1")),)),)


@dataclass(frozen=True)
class ZBoxRule(Rule):
    """z-B rule for bounded inputs: the first layer of a network that sees pixels.

    ``low`` and ``high`` are the least and largest values an input can have, one number or one per
    channel. The default is 0 and 255 less ImageNet's channel means, BGR.
    """

    low: tuple[float, ...] = (-103.939, -116.779, -123.68)
    high: tuple[float, ...] = (151.061, 138.221, 131.32)

    name: ClassVar[str] = "z-box"
    formula: ClassVar[str] = (
        "R_i = sum_k (x_i w_ik - l_i w_ik+ - h_i w_ik-) / sum_j (x_j w_jk - l_j w_jk+ - h_j w_jk-)"
        " R_k"
    )
    citation: ClassVar[str] = f"{DEEP_TAYLOR}, section 4.3"
    conserves: ClassVar[str] = "everything"
    conserves_with_bias: ClassVar[bool] = True

    def __post_init__(self):
        if not all(low < high for low, high in zip(self.low, self.high, strict=False)):
            raise InputError(
                f"Bounds {self.low} and {self.high} are refused: low must be below high."
            )

    def branches(self) -> tuple[Branch, ...]:
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
        return ()
