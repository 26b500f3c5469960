"""Composites: which rule each layer of a network follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import tensorflow as tf

from lib import network
from lib.errors import InputError
from lib.relevance.rules import (
    AlphaBetaRule,
    EpsilonRule,
    FlatRule,
    GammaRule,
    GradientRule,
    Rule,
    WSquareRule,
    ZBoxRule,
    ZPlusRule,
)

ALBER = "Alber et al. 2019, JMLR 20(93), iNNvestigate"


@dataclass(frozen=True)
class Composite:
    """A rule for each kind of layer.

    Attributes
    ----------
    name : str
    convolution, dense : Rule
        For convolutions, and for dense layers with the readout among them.
    first : Rule, optional
        Instead of these for the first layer with weights.
    citation : str
    times_input : bool
        Multiply what reaches the input by it (gradient x input).
    innvestigate : tuple, optional
        Analyzer name and its settings in iNNvestigate, as sorted (key, value) pairs.
    """

    name: str
    convolution: Rule
    dense: Rule
    first: Rule | None = None
    citation: str = ""
    times_input: bool = False
    innvestigate: tuple[str, tuple[tuple[str, object], ...]] | None = None

    def __post_init__(self):
        rules = [r for r in (self.convolution, self.dense, self.first) if r is not None]
        gradients = [isinstance(rule, GradientRule) for rule in rules]
        if any(gradients) and not all(gradients):
            raise InputError(
                f"Composite {self.name!r} mixes the gradient with relevance rules; use one kind."
            )
        if isinstance(self.convolution, ZBoxRule) or isinstance(self.dense, ZBoxRule):
            raise InputError(
                f"Composite {self.name!r} has the z-box rule beyond the first layer, where inputs "
                "have no bounds; give it as first."
            )

    def within(self, means: Sequence[float]) -> Composite:
        """The composite for a trunk: a z-box rule without bounds gets those of its input.

        Parameters
        ----------
        means : sequence of float
            Subtracted from pixels 0..255, in the order of the input's channels.

        Returns
        -------
        Composite
        """
        if not isinstance(self.first, ZBoxRule):
            return self
        return replace(self, first=self.first.within(means))

    @property
    def is_gradient(self) -> bool:
        """Whether this is a gradient and no relevance."""
        return isinstance(self.convolution, GradientRule)

    def rules(self, chain: network.Chain) -> dict[str, Rule]:
        """Layer name -> rule, for the layers that have weights."""
        found: dict[str, Rule] = {}
        for layer in chain.layers:
            if isinstance(layer, network.Convolution | network.Dense):
                usual = self.convolution if isinstance(layer, network.Convolution) else self.dense
                first = self.first if not found else None
                if isinstance(first, ZBoxRule):
                    first.check_channels(layer.kernel.shape[-2], layer.name)
                found[layer.name] = first or usual
        return found

    def table(self, model: tf.keras.Model) -> pd.DataFrame:
        """What happens in each layer of a model, top row nearest to the image.

        Returns
        -------
        DataFrame
            Columns ``layer``, ``kind``, ``rule``, ``formula``, ``conserves``, ``citation``; the
            last row is the readout.
        """
        chain = network.read_chain(model)
        rules = self.rules(chain)
        passing = {
            network.Rectifier: ("passes through", "everything"),
            network.Flattening: ("passes through", "everything"),
            network.Padding: ("cut off", "all but what lies on the padding"),
            network.GlobalAverage: (
                "in proportion to the contributions",
                "everything; nothing of an average of 0",
            ),
        }
        rows = []
        for layer in chain.layers:
            kind = type(layer).__name__.lower()
            if layer.name in rules:
                rule = rules[layer.name]
                row = (str(rule), rule.formula, rule.conserves, rule.citation)
            elif isinstance(layer, network.Pooling):
                kind = f"{layer.kind} pooling"
                winner = ("to the winner", "everything")
                text, kept = winner if layer.kind == "max" else passing[network.GlobalAverage]
                row = (text, "", kept, "")
            else:
                text, kept = passing[type(layer)]
                row = (text, "", kept, "")
            rows.append((layer.name, kind, *row))
        last = self.dense
        rows.append(("readout", "dense", str(last), last.formula, last.conserves, last.citation))
        return pd.DataFrame(
            rows, columns=["layer", "kind", "rule", "formula", "conserves", "citation"]
        )


def _preset(name: str, alpha: float, beta: float, flat: bool) -> Composite:
    analyzer = f"lrp.sequential_preset_{name}"
    return Composite(
        name,
        convolution=AlphaBetaRule(alpha, beta),
        dense=EpsilonRule(0.1),
        first=FlatRule() if flat else None,
        citation=f"{ALBER}, {analyzer}",
        innvestigate=(analyzer, (("epsilon", 0.1),)),
    )


#: The composites of the report, by name.
COMPOSITES: dict[str, Composite] = {
    composite.name: composite
    for composite in (
        _preset("a", 1, 0, False),
        _preset("a_flat", 1, 0, True),
        _preset("b", 2, 1, False),
        _preset("b_flat", 2, 1, True),
        Composite(
            "epsilon",
            convolution=EpsilonRule(0.1),
            dense=EpsilonRule(0.1),
            citation=EpsilonRule.citation,
            innvestigate=("lrp.epsilon", (("epsilon", 0.1),)),
        ),
        Composite(
            "gamma",
            convolution=GammaRule(0.25),
            dense=EpsilonRule(0.1),
            first=ZBoxRule(),
            citation=GammaRule.citation,
        ),
        Composite(
            "z_plus",
            convolution=ZPlusRule(),
            dense=ZPlusRule(),
            citation=ZPlusRule.citation,
            innvestigate=("lrp.z_plus", ()),
        ),
        Composite(
            "z_box",
            convolution=ZPlusRule(),
            dense=ZPlusRule(),
            first=ZBoxRule(),
            citation=ZBoxRule.citation,
        ),
        Composite(
            "w_square",
            convolution=ZPlusRule(),
            dense=ZPlusRule(),
            first=WSquareRule(),
            citation=WSquareRule.citation,
        ),
        Composite(
            "gradient",
            convolution=GradientRule(),
            dense=GradientRule(),
            citation=GradientRule.citation,
            innvestigate=("gradient", ()),
        ),
        Composite(
            "gradient_x_input",
            convolution=GradientRule(),
            dense=GradientRule(),
            citation="Shrikumar et al. 2016, arXiv 1605.01713",
            times_input=True,
            innvestigate=("input_t_gradient", ()),
        ),
    )
}


def get_composite(composite: str | Composite) -> Composite:
    """A composite by name, or the one given.

    Raises
    ------
    InputError
        An unknown name.
    """
    if isinstance(composite, Composite):
        return composite
    if composite not in COMPOSITES:
        raise InputError(f"There is no composite {composite!r}; known: {', '.join(COMPOSITES)}.")
    return COMPOSITES[composite]
