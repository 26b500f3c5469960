"""Mixed logistic model of two-alternative choices, crossed over observers and identities.

log odds of taking the first pretraining's choice = b0 + b1 side + u(observer) + v(identity), with
side +1 (its choice on the left) or -1, u ~ N(0, s_u^2), v ~ N(0, s_v^2).

Fitted by maximum likelihood with the Laplace approximation, as lme4's ``glmer`` does: for given s_u
and s_v the mode of the joint density over (b, u, v) is found by Newton steps, the likelihood is
that density times a Gaussian integral around the mode, and the two spreads maximise it. The design
is a table of observers x identities, so every Newton step is one solve of the observers' size.

statsmodels offers ``BinomialBayesMixedGLM``: its variational posterior treats b0 as independent of
u and v, which makes the standard error of b0 too small - the number that decides whether there is
an effect. It is used as a cross-check of the estimates in the tests.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg, optimize, special, stats

from lib.errors import InputError
from lib.humans.responses import refuse_repeated

#: Spreads (log odds) between which the likelihood is searched; the lower one stands for none.
_SPREADS = (1e-3, 5.0)
_NEWTON = 60


@dataclass(frozen=True)
class MixedFit:
    """A fitted model.

    Attributes
    ----------
    table : DataFrame
        One row per fixed effect, ``preference`` and ``left``: ``estimate``, ``se``, ``low``,
        ``high`` (95%, all log odds), ``z``, ``p``.
    sd_observers, sd_identities : float
        Log odds; 0 where the likelihood is highest without.
    preference, low, high : float
        Probability of taking the first pretraining's choice for a typical observer and identity,
        both sides equally often, with its 95% interval.
    p_observers, p_identities : float
        Likelihood-ratio test of each spread against 0 (half the chi-square tail, as the spread
        cannot be negative).
    log_likelihood : float
        Laplace approximation.
    trials, observers, identities : int
        What it was fitted to.
    """

    table: pd.DataFrame
    sd_observers: float
    sd_identities: float
    preference: float
    low: float
    high: float
    p_observers: float
    p_identities: float
    log_likelihood: float
    trials: int
    observers: int
    identities: int


def fit_mixed_model(scored):
    """Fit the mixed logistic model to scored test trials.

    Parameters
    ----------
    scored : DataFrame
        From `lib.humans.responses.score_responses`; unanswered trials are left out.

    Returns
    -------
    MixedFit

    Raises
    ------
    InputError
        All answers the same way (the log odds are infinite), or one network's choice always on the
        same side (preference and side cannot be told apart); an observer asked twice about an
        identity.
    """
    refuse_repeated(scored)
    answered = scored[scored["prefers"].notna()]
    if answered["prefers"].nunique() < 2:
        raise InputError(
            "Every answer took the same network's choice: a logistic model has no finite estimate."
        )
    if answered["first_left"].nunique() < 2:
        raise InputError(
            "One network's choice is on the same side in every trial: preference and side cannot "
            "be told apart; counterbalance the sides (lib.humans.make_trials does)."
        )
    observer, who = pd.factorize(answered["subj"])
    identity, faces = pd.factorize(answered["target"])
    problem = _Problem(
        answered["prefers"].to_numpy(float),
        np.where(answered["first_left"], 1.0, -1.0),
        observer,
        identity,
    )
    without_u, without_v = (_maximise_one(problem, fixed) for fixed in (0, 1))
    spreads, best = _maximise(problem, [without_u, without_v])
    mode = problem.mode(spreads)
    se = np.sqrt(np.diag(problem.covariance(mode, spreads)))
    estimate = mode[:2]
    z = estimate / se
    half = stats.norm.ppf(0.975) * se
    table = pd.DataFrame(
        {
            "effect": ["preference", "left"],
            "estimate": estimate,
            "se": se,
            "low": estimate - half,
            "high": estimate + half,
            "z": z,
            "p": 2 * stats.norm.sf(np.abs(z)),
        }
    )
    spreads = np.where(spreads <= 2 * _SPREADS[0], 0.0, spreads)
    return MixedFit(
        table=table,
        sd_observers=float(spreads[0]),
        sd_identities=float(spreads[1]),
        preference=float(special.expit(estimate[0])),
        low=float(special.expit(table["low"][0])),
        high=float(special.expit(table["high"][0])),
        p_observers=_variance_p(best, without_u[1]),
        p_identities=_variance_p(best, without_v[1]),
        log_likelihood=float(best),
        trials=len(answered),
        observers=len(who),
        identities=len(faces),
    )


class _Problem:
    """Sums over trials that the Newton steps need; parameters are (b0, b1, u..., v...)."""

    def __init__(self, y, side, observer, identity):
        self.y, self.side, self.observer, self.identity = y, side, observer, identity
        self.n_u, self.n_v = observer.max() + 1, identity.max() + 1
        self._start = None

    def _sum(self, index, size, values):
        return np.bincount(index, weights=values, minlength=size)

    def _predict(self, theta):
        u, v = theta[2 : 2 + self.n_u], theta[2 + self.n_u :]
        return theta[0] + theta[1] * self.side + u[self.observer] + v[self.identity]

    def _penalty(self, spreads):
        return np.concatenate(
            [np.zeros(2), np.full(self.n_u, spreads[0] ** -2), np.full(self.n_v, spreads[1] ** -2)]
        )

    def _gradient(self, residual):
        return np.concatenate(
            [
                [residual.sum(), residual @ self.side],
                self._sum(self.observer, self.n_u, residual),
                self._sum(self.identity, self.n_v, residual),
            ]
        )

    def _information(self, weight, penalty):
        """Negative second derivatives as blocks: (b, u), (b, u) x v, and the diagonal of v."""
        n_u, n_v = self.n_u, self.n_v
        tilted = weight * self.side
        cell = self.observer * n_v + self.identity
        top = np.zeros((2 + n_u, 2 + n_u))
        top[0, 0] = top[1, 1] = weight.sum()
        top[0, 1] = top[1, 0] = tilted.sum()
        top[0, 2:] = top[2:, 0] = self._sum(self.observer, n_u, weight)
        top[1, 2:] = top[2:, 1] = self._sum(self.observer, n_u, tilted)
        top[2:, 2:] = np.diag(top[0, 2:] + penalty[2 : 2 + n_u])
        corner = np.empty((2 + n_u, n_v))
        corner[0] = self._sum(self.identity, n_v, weight)
        corner[1] = self._sum(self.identity, n_v, tilted)
        corner[2:] = self._sum(cell, n_u * n_v, weight).reshape(n_u, n_v)
        return top, corner, corner[0] + penalty[2 + n_u :]

    @staticmethod
    def _schur(blocks):
        """Information about (b, u) with v eliminated, which is cheap because v's is diagonal."""
        top, corner, diagonal = blocks
        return top - (corner / diagonal) @ corner.T

    def _step(self, blocks, gradient):
        _, corner, diagonal = blocks
        split = 2 + self.n_u
        reduced = gradient[:split] - corner @ (gradient[split:] / diagonal)
        head = linalg.solve(self._schur(blocks), reduced, assume_a="pos")
        return np.concatenate([head, (gradient[split:] - corner.T @ head) / diagonal])

    def _joint(self, theta, penalty):
        """Log of likelihood times random-effect density, without the latter's constant."""
        eta = self._predict(theta)
        return self.y @ eta - np.logaddexp(0, eta).sum() - 0.5 * penalty @ theta**2

    def mode(self, spreads):
        """Joint mode for given spreads, by Newton steps that are halved until they climb."""
        penalty = self._penalty(spreads)
        theta = np.zeros(2 + self.n_u + self.n_v) if self._start is None else self._start
        value = self._joint(theta, penalty)
        for _ in range(_NEWTON):
            p = special.expit(self._predict(theta))
            gradient = self._gradient(self.y - p) - penalty * theta
            step = self._step(self._information(p * (1 - p), penalty), gradient)
            gain = gradient @ step
            new = self._joint(theta + step, penalty)
            while new < value and gain > 1e-10:
                step, gain = step / 2, gain / 2
                new = self._joint(theta + step, penalty)
            theta, value = theta + step, new
            if gain < 1e-8:
                break
        self._start = theta
        return theta

    def _blocks(self, theta, penalty):
        p = special.expit(self._predict(theta))
        return self._information(p * (1 - p), penalty)

    def log_likelihood(self, spreads):
        """Laplace approximation of the likelihood with u and v integrated out."""
        penalty = self._penalty(spreads)
        theta = self.mode(spreads)
        blocks = self._blocks(theta, penalty)
        observers = linalg.cholesky(self._schur(blocks)[2:, 2:], lower=True)
        log_determinant = 2 * np.log(np.diag(observers)).sum() + np.log(blocks[2]).sum()
        return self._joint(theta, penalty) + 0.5 * np.log(penalty[2:]).sum() - 0.5 * log_determinant

    def covariance(self, theta, spreads):
        """Covariance of the two fixed effects, u and v integrated out."""
        blocks = self._blocks(theta, self._penalty(spreads))
        return linalg.inv(self._schur(blocks))[:2, :2]


def _maximise(problem, reduced):
    """Spreads of highest likelihood, and that likelihood.

    ``reduced`` are the maxima along the two edges of the search, where one spread is nothing; the
    search starts from them, so its result is never below either.
    """
    start = np.array([reduced[1][0][0], reduced[0][0][1]])
    found = optimize.minimize(
        lambda x: -problem.log_likelihood(np.exp(x)),
        np.log(start),
        method="L-BFGS-B",
        bounds=[np.log(_SPREADS)] * 2,
        options={"eps": 1e-3, "ftol": 1e-9},
    )
    return max([(np.exp(found.x), -found.fun), *reduced], key=lambda pair: pair[1])


def _maximise_one(problem, fixed):
    """The same with one of the two spreads at (practically) zero."""

    def place(x):
        spreads = np.full(2, np.exp(x))
        spreads[fixed] = _SPREADS[0]
        return spreads

    found = optimize.minimize_scalar(
        lambda x: -problem.log_likelihood(place(x)),
        bounds=np.log(_SPREADS),
        method="bounded",
        options={"xatol": 1e-3},
    )
    nothing = place(np.log(_SPREADS[0]))
    candidates = [(place(found.x), -found.fun), (nothing, problem.log_likelihood(nothing))]
    return max(candidates, key=lambda pair: pair[1])


def _variance_p(full, reduced):
    return float(0.5 * stats.chi2.sf(max(2 * (full - reduced), 0.0), 1))
