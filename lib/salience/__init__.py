"""Five measures of a network's salience maps: how focused, stable and robust are they?

Crum et al. 2023 (arXiv 2303.11969). In the order in which a map is handled:

``explain``
    Maps of the networks on one trunk for any images, by any method of `lib.relevance`.
``similarity``
    Structural similarity of maps, with the local moments of each map computed once.
``perturb``
    What is done to an image: noise, transforms and their inverses, blur guided by a map.
``measures``
    The measures themselves, on arrays.
``report``
    All measures of all networks over a stream of images, their summary, and one page of it.
``study``
    The networks of a run: by condition, by method, and what the measures foretell.
``facespace``, ``detection``, ``training``, ``comparison``
    Synthetic faces, detectors of them trained in two ways, and how their maps differ.
``panels``
    Figures of the chapter.
"""

from lib.salience.explain import Explainer, Explanation
from lib.salience.measures import (
    compute_entropy,
    compute_spatial_entropy,
    compute_stability,
    scale_maps,
)
from lib.salience.perturb import AMOUNTS, TRANSFORMS
from lib.salience.report import (
    compute_salience,
    salience_report,
    summarise_salience,
)
from lib.salience.similarity import compute_ssim

__all__ = [
    "AMOUNTS",
    "TRANSFORMS",
    "Explainer",
    "Explanation",
    "compute_entropy",
    "compute_salience",
    "compute_spatial_entropy",
    "compute_ssim",
    "compute_stability",
    "salience_report",
    "scale_maps",
    "summarise_salience",
]
