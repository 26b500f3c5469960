"""Readouts: one dense layer per task and initialisation on the frozen features of a trunk.

Crawford et al. 2020, section 2.2: all convolutional layers are frozen and a new dense layer on the
flattened last pooling layer learns the task. So each image goes through each trunk once
(:func:`lib.vgg.compute_features`), and here all readouts of a trunk train together: one product
gives the logits of every task and initialisation, one gives all gradients. They see the same
batches in the same order and differ in their initial weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import xarray as xr

from lib.errors import InputError
from lib.network import Readout
from lib.progress import track

SPLITS = ("random", "held_out_views")
STANDARDISE = ("none", "scale", "feature")
#: Keras' defaults, which the paper's code leaves as they are.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
#: "Better than 98% accuracy" in all 20 networks (Crawford et al. 2020, section 2.2).
PRINTED_ACCURACY = 0.98


# ------------------------------------------------------------------------------------------- split


def make_split(
    kind: str,
    identity: np.ndarray,
    view: np.ndarray,
    *,
    share: float = 0.2,
    held_out: Sequence[float] = (-60.0, 0.0, 60.0),
    seed: int = 0,
) -> np.ndarray:
    """Which images are kept for validation.

    Parameters
    ----------
    kind : {"random", "held_out_views"}
        ``random`` draws the share within every identity, as printed (80/20); with 15 views an
        identity keeps 3. Most frontal faces are then trained on. ``held_out_views`` keeps whole
        views, so that no frontal face was seen in training.
    identity : ndarray, (n,), int
    view : ndarray, (n,), float
        Yaw, degrees.
    share : float
        Of the images, for ``random``.
    held_out : sequence of float
        Yaws kept, for ``held_out_views``, degrees.
    seed : int

    Returns
    -------
    ndarray, (n,), bool
        True for validation.

    Raises
    ------
    InputError
        An identity with one image, an identity left without training images, no such view.
    """
    if kind not in SPLITS:
        raise InputError(f"There is no split {kind!r}; use {' or '.join(SPLITS)}.")
    identity, view = np.asarray(identity), np.asarray(view, float)
    if identity.shape != view.shape or identity.ndim != 1 or not identity.size:
        raise InputError(
            f"Identities have shape {identity.shape} and views {view.shape}; give one of each per "
            "image."
        )
    if kind == "held_out_views":
        kept = np.isin(view, np.asarray(list(held_out), float))
        missing = sorted(set(map(float, held_out)) - set(view.tolist()))
        if missing or not kept.any():
            raise InputError(
                f"No image has the held-out view {missing}; the faces have yaws "
                f"{sorted(set(view.tolist()))} degrees."
            )
    else:
        if not 0 < share < 1:
            raise InputError(f"share = {share} is refused; it must lie between 0 and 1.")
        kept = np.zeros(identity.size, bool)
        rng = np.random.default_rng(seed)
        for person in np.unique(identity):
            rows = np.flatnonzero(identity == person)
            if rows.size < 2:
                raise InputError(
                    f"Identity {person} has one image, so it cannot be both trained on and "
                    "validated; give at least two images of everyone."
                )
            count = min(max(1, round(share * rows.size)), rows.size - 1)
            kept[rng.permutation(rows)[:count]] = True
    for person in np.unique(identity[kept]):
        if not (~kept & (identity == person)).any():
            raise InputError(
                f"Identity {person} has no training images under the split {kind}; give it more "
                "views, or hold out others."
            )
    return kept


# ---------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Task:
    """What a readout learns.

    Attributes
    ----------
    name : str
        ``identity``, ``gender``, ...
    labels : ndarray, (n,), int
        Class of every image, 0 .. classes - 1.
    names : tuple of str
        Of the classes; empty where nobody asks.
    """

    name: str
    labels: np.ndarray
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(np.max(self.labels)) + 1


def make_tasks(table: pd.DataFrame, names: Sequence[str]) -> list[Task]:
    """Tasks from columns of a table of faces; classes are the sorted values.

    Raises
    ------
    InputError
        A value is missing, or all are the same.
    """
    tasks = []
    for name in names:
        column = table[name]
        if column.isna().any():
            raise InputError(
                f"{column.isna().sum()} of {len(column)} images have no {name}, such as "
                f"{table.loc[column.isna(), 'path'].iloc[0]!r}; fill it in, or leave the task "
                f"{name!r} out of the parameter tasks."
            )
        known = sorted(column.unique())
        if len(known) < 2:
            raise InputError(
                f"Every image has the {name} {known[0]!r}; a readout needs at least two classes: "
                f"add faces, or leave the task {name!r} out of the parameter tasks."
            )
        tasks.append(Task(name, column.map(known.index).to_numpy(int), tuple(map(str, known))))
    return tasks


@dataclass(frozen=True)
class FineTuned:
    """Readouts of one trunk and how they were trained.

    Attributes
    ----------
    readouts : list of Readout
        Named ``<task>-<initialisation>``, task by task.
    history : DataFrame
        Columns ``task``, ``initialisation``, ``epoch`` (from 1), ``part`` (``training``, mean over
        the epoch's batches, or ``validation``, after the epoch), ``loss`` (cross-entropy, nats),
        ``accuracy`` (share correct).
    """

    readouts: list[Readout]
    history: pd.DataFrame


def initial_weights(width: int, classes: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (width, classes) and bias as Keras' dense layer starts: Glorot uniform, zeros."""
    limit = np.sqrt(6 / (width + classes))
    kernel = np.random.default_rng(list(seed)).uniform(-limit, limit, (width, classes))
    return kernel.astype(np.float32), np.zeros(classes, np.float32)


def batch_order(rows: np.ndarray, epochs: int, seed: int) -> np.ndarray:
    """Training rows in the order in which they are shown, (epochs, rows), shuffled every epoch."""
    rng = np.random.default_rng([seed, 1])
    return np.stack([rng.permutation(rows) for _ in range(epochs)])


def _scaling(features: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale (features,) that training subtracts and divides by."""
    width = features.shape[1]
    if how == "none":
        return np.zeros(width, np.float32), np.ones(width, np.float32)
    if how == "scale":
        spread = float(features.std()) or 1.0
        return np.zeros(width, np.float32), np.full(width, spread, np.float32)
    spread = features.std(0)
    # A feature that hardly ever moves would be blown up to the size of the others.
    floor = 0.1 * float(np.sqrt(np.mean(spread.astype(np.float64) ** 2))) or 1.0
    return features.mean(0), np.maximum(spread, floor).astype(np.float32)


def _fold(
    kernel: np.ndarray, bias: np.ndarray, centre: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights for plain features that give the logits of scaled ones."""
    folded = kernel.astype(np.float64) / scale[:, None]
    shifted = bias - centre.astype(np.float64) @ folded
    return folded.astype(np.float32), shifted.astype(np.float32)


class _Together:
    """All readouts of a trunk as columns of one kernel, and their Adam steps."""

    def __init__(self, tasks, count: int, width: int, rate: float, seed: int):
        self.tasks, self.count, self.rate = list(tasks), count, rate
        kernels, biases = [], []
        for position, task in enumerate(self.tasks):
            for index in range(count):
                kernel, bias = initial_weights(width, task.classes, (seed, 0, position, index))
                kernels.append(kernel)
                biases.append(bias)
        self.variables = [
            tf.Variable(np.concatenate(parts, -1), trainable=False) for parts in (kernels, biases)
        ]
        self.moments = [
            [tf.Variable(tf.zeros_like(variable)) for _ in range(2)] for variable in self.variables
        ]
        self.steps = tf.Variable(0.0)
        self.columns = [count * task.classes for task in self.tasks]

    def _scores(self, x: tf.Tensor, labels: list[tf.Tensor]):
        """Per task: gradient of the loss by the logits, and sums of loss and of hits."""
        together = tf.matmul(x, self.variables[0]) + self.variables[1]
        gradients, losses, hits = [], [], []
        pieces = tf.split(together, self.columns, -1)
        for task, logits, label in zip(self.tasks, pieces, labels, strict=True):
            logits = tf.reshape(logits, (-1, self.count, task.classes))
            repeated = tf.repeat(label[:, None], self.count, 1)
            losses.append(
                tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(repeated, logits), 0)
            )
            right = tf.equal(tf.argmax(logits, -1, tf.int32), repeated)
            hits.append(tf.reduce_sum(tf.cast(right, tf.float32), 0))
            error = tf.nn.softmax(logits) - tf.one_hot(repeated, task.classes)
            gradients.append(tf.reshape(error, (-1, self.count * task.classes)))
        return tf.concat(gradients, -1), tf.stack(losses), tf.stack(hits)

    def _adam(self, gradients: list[tf.Tensor]) -> None:
        self.steps.assign_add(1.0)
        for variable, (m, v), gradient in zip(self.variables, self.moments, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=BETA_1**self.steps,
                beta2_power=BETA_2**self.steps,
                lr=self.rate,
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=gradient,
            )

    def make_epoch(self, features: tf.Tensor, labels: list[tf.Tensor], batch: int):
        """One pass over the training rows, and the loss and accuracy of given rows, as graphs."""

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
        def train(order):
            count = tf.shape(order)[0]
            losses = hits = tf.zeros((len(self.tasks), self.count))
            for start in tf.range(0, count, batch):
                rows = order[start : start + batch]
                x = tf.gather(features, rows)
                error, loss, hit = self._scores(x, [tf.gather(label, rows) for label in labels])
                error /= tf.cast(tf.shape(rows)[0], tf.float32)
                self._adam([tf.matmul(x, error, transpose_a=True), tf.reduce_sum(error, 0)])
                losses, hits = losses + loss, hits + hit
            return losses / tf.cast(count, tf.float32), hits / tf.cast(count, tf.float32)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
        def score(rows):
            x = tf.gather(features, rows)
            _, loss, hit = self._scores(x, [tf.gather(label, rows) for label in labels])
            count = tf.cast(tf.shape(rows)[0], tf.float32)
            return loss / count, hit / count

        return train, score

    def weights(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(name, kernel, bias) of every readout."""
        kernel, bias = (variable.numpy() for variable in self.variables)
        found, start = [], 0
        for task in self.tasks:
            for index in range(self.count):
                some = slice(start, start + task.classes)
                found.append((f"{task.name}-{index}", kernel[:, some], bias[some]))
                start += task.classes
        return found


def train_readouts(
    features: np.ndarray,
    tasks: Sequence[Task],
    validation: np.ndarray,
    *,
    initialisations: int = 5,
    epochs: int = 25,
    batch: int = 32,
    learning_rate: float = 1e-4,
    standardise: str = "feature",
    seed: int = 0,
    progress: bool = True,
) -> FineTuned:
    """Train every task and initialisation on the features of one trunk.

    Parameters
    ----------
    features : ndarray, (n, ...), float32
        Of :func:`lib.vgg.compute_features`; flattened here.
    tasks : sequence of Task
    validation : ndarray, (n,), bool
        Rows that are not trained on (:func:`make_split`).
    initialisations : int
        Readouts per task.
    epochs, batch, learning_rate
        Of Adam, with Keras' other defaults. 25 epochs are printed, the rest is not.
    standardise : {"none", "scale", "feature"}
        Training sees features as they are, divided by one number, or centred and divided by their
        own spread (at least a tenth of the mean one), all from the training rows. It is folded back
        into the weights, so the readout takes plain features in any case.
    seed : int
        Of initial weights and of the order of images.
    progress : bool

    Returns
    -------
    FineTuned

    Raises
    ------
    InputError
        Lengths that differ, NaN in a feature, a class without training images, a setting out of
        range.
    """
    features = np.asarray(features, np.float32).reshape(len(features), -1)
    validation = np.asarray(validation, bool)
    _check(features, tasks, validation)
    for name, value in (("initialisations", initialisations), ("epochs", epochs), ("batch", batch)):
        if value < 1:
            raise InputError(f"{name} = {value} is refused; it must be at least 1.")
    if not learning_rate > 0:
        raise InputError(f"learning_rate = {learning_rate} is refused; it must be above 0.")
    if standardise not in STANDARDISE:
        raise InputError(f"standardise = {standardise!r} is refused; use {', '.join(STANDARDISE)}.")

    centre, scale = _scaling(features[~validation], standardise)
    together = _Together(tasks, initialisations, features.shape[1], learning_rate, seed)
    shown = tf.constant(features if standardise == "none" else (features - centre) / scale)
    labels = [tf.constant(task.labels, tf.int32) for task in tasks]
    train, score = together.make_epoch(shown, labels, batch)
    held = tf.constant(np.flatnonzero(validation), tf.int32)
    order = batch_order(np.flatnonzero(~validation), epochs, seed)
    rows = []
    numbers = range(1, epochs + 1)
    for epoch in track(numbers, "epochs") if progress else numbers:
        parts = {"training": train(tf.constant(order[epoch - 1], tf.int32))}
        if validation.any():
            parts["validation"] = score(held)
        for part, (loss, accuracy) in parts.items():
            loss, accuracy = loss.numpy(), accuracy.numpy()
            if not np.isfinite(loss).all():
                raise InputError(
                    f"Training diverged in epoch {epoch}; lower learning_rate ({learning_rate:g})."
                )
            rows += [
                (task.name, index, epoch, part, float(loss[t, index]), float(accuracy[t, index]))
                for t, task in enumerate(tasks)
                for index in range(initialisations)
            ]
    columns = ["task", "initialisation", "epoch", "part", "loss", "accuracy"]
    readouts = [
        Readout(name, *_fold(kernel, bias, centre, scale))
        for name, kernel, bias in together.weights()
    ]
    return FineTuned(readouts, pd.DataFrame(rows, columns=columns))


def train_all(
    features: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    validation: np.ndarray,
    **settings: Any,
) -> tuple[dict[str, list[Readout]], pd.DataFrame]:
    """:func:`train_readouts` on each trunk, from the same initial weights and on the same batches.

    Parameters
    ----------
    features : mapping
        Trunk -> (n, ...).
    tasks, validation, **settings
        Of :func:`train_readouts`.

    Returns
    -------
    readouts : dict
        Trunk -> readouts.
    history : DataFrame
        That of :func:`train_readouts` for all, with ``pretraining`` as first column.
    """
    readouts, tables = {}, []
    for name, values in features.items():
        done = train_readouts(values, tasks, validation, **settings)
        readouts[name] = done.readouts
        done.history.insert(0, "pretraining", name)
        tables.append(done.history)
    return readouts, pd.concat(tables, ignore_index=True)


def compute_ceiling(
    features: np.ndarray,
    task: Task,
    validation: np.ndarray,
    penalties: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
) -> float:
    """Validation accuracy of the best linear readout by ridge regression on the classes.

    The penalty is the one that does best on the validation images themselves, so the accuracy is on
    the bright side: where it stays low, the features are the limit and not the training.

    Parameters
    ----------
    features : ndarray, (n, ...)
        Of one trunk.
    task : Task
    validation : ndarray, (n,), bool
    penalties : sequence of float
        In units of the mean variance along the training images' principal axes.

    Returns
    -------
    float
        Share correct.
    """
    features = np.asarray(features, np.float64).reshape(len(features), -1)
    labels = np.asarray(task.labels)
    wanted = np.eye(task.classes)[labels[~validation]]
    centre, mean = features[~validation].mean(0), wanted.mean(0)
    shown, asked = features[~validation] - centre, features[validation] - centre
    # In the space of the images, of which there are fewer than features.
    values, axes = np.linalg.eigh(shown @ shown.T)
    unit = values.mean() or 1.0
    projected, targets = asked @ shown.T @ axes, axes.T @ (wanted - mean)
    right = []
    for penalty in penalties:
        weights = targets / (values + penalty * unit)[:, None]
        answers = (projected @ weights + mean).argmax(1)
        right.append((answers == labels[validation]).mean())
    return float(max(right))


def _check(features: np.ndarray, tasks: Sequence[Task], validation: np.ndarray) -> None:
    count = len(features)
    if not tasks or len({task.name for task in tasks}) != len(tasks):
        raise InputError("Give at least one task, each with a name of its own.")
    if validation.shape != (count,) or validation.all():
        raise InputError(
            f"The split has shape {validation.shape} for {count} images and must leave some to "
            "train on."
        )
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if bad.size:
        raise InputError(f"Features of image {bad[0]} hold NaN or infinity; look at that image.")
    for task in tasks:
        labels = np.asarray(task.labels)
        if labels.shape != (count,) or labels.dtype.kind not in "ui" or labels.min() < 0:
            raise InputError(
                f"Labels of {task.name!r} must be one whole number, 0 or more, for each of the "
                f"{count} images."
            )
        absent = sorted(set(range(task.classes)) - set(labels[~validation].tolist()))
        if absent:
            raise InputError(
                f"Class {absent[0]} of {task.name!r} has no training images; give it some, or "
                "choose another split."
            )


# ----------------------------------------------------------------------------------------- summary


def compute_predictions(
    readouts: Mapping[str, Sequence[Readout]],
    features: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    view: np.ndarray,
    identity: np.ndarray,
    validation: np.ndarray,
) -> pd.DataFrame:
    """What every readout says to every image.

    Parameters
    ----------
    readouts, features : mapping
        By pretraining.
    tasks : sequence of Task
    view, identity, validation : ndarray, (n,)

    Returns
    -------
    DataFrame
        Columns ``pretraining``, ``task``, ``initialisation``, ``image``, ``identity``, ``view``
        (degrees), ``part`` (``training`` or ``validation``), ``true``, ``predicted``, ``correct``.
    """
    labels = {task.name: np.asarray(task.labels) for task in tasks}
    tables = []
    for pretraining, some in readouts.items():
        for readout in some:
            task, _, index = readout.name.rpartition("-")
            predicted = readout.logits(features[pretraining]).argmax(1)
            tables.append(
                pd.DataFrame(
                    {
                        "pretraining": pretraining,
                        "task": task,
                        "initialisation": int(index),
                        "image": np.arange(len(predicted)),
                        "identity": identity,
                        "view": view,
                        "part": np.where(validation, "validation", "training"),
                        "true": labels[task],
                        "predicted": predicted,
                        "correct": predicted == labels[task],
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def summarise_accuracy(predictions: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Accuracy of every network: the table of final accuracies.

    Parameters
    ----------
    predictions : DataFrame
        Of :func:`compute_predictions`.
    by : sequence of str
        Further columns to tell apart, e.g. ``["view"]``.

    Returns
    -------
    DataFrame
        Columns ``pretraining``, ``task``, ``initialisation``, ``part``, those of ``by``,
        ``images``, ``accuracy``.
    """
    keys = ["pretraining", "task", "initialisation", "part", *by]
    grouped = predictions.groupby(keys, sort=False)["correct"]
    return grouped.agg(images="size", accuracy="mean").reset_index()


def summarise_confusion(predictions: pd.DataFrame, tasks: Sequence[Task] = ()) -> pd.DataFrame:
    """Errors by viewpoint: who is taken for whom, and from which view.

    Parameters
    ----------
    predictions : DataFrame
        Of :func:`compute_predictions`.
    tasks : sequence of Task
        Whose class names take the place of their numbers.

    Returns
    -------
    DataFrame
        Columns ``pretraining``, ``task``, ``view``, ``part``, ``true``, ``predicted``, ``count``
        (over initialisations, errors only) and ``share`` (of the answers to that view, part and
        class).
    """
    keys = ["pretraining", "task", "view", "part", "true"]
    answers = predictions.groupby(keys, sort=False, dropna=False).size().rename("answers")
    wrong = predictions[~predictions["correct"]].groupby(
        [*keys, "predicted"], sort=False, dropna=False
    )
    answers, counted = answers.reset_index(), wrong.size().rename("count").reset_index()
    merged = counted.merge(answers, on=keys)
    merged["share"] = merged["count"] / merged["answers"]
    for column in ("true", "predicted"):
        merged[column] = merged[column].astype(object)
        for task in tasks:
            if task.names:
                mine = merged["task"] == task.name
                merged.loc[mine, column] = [task.names[k] for k in merged.loc[mine, column]]
    return merged.drop(columns="answers").sort_values("count", ascending=False, ignore_index=True)


def summarise_networks(
    predictions: pd.DataFrame, history: pd.DataFrame, printed: float = PRINTED_ACCURACY
) -> pd.DataFrame:
    """One row per network: the final accuracies and losses, and whether they are as printed.

    Parameters
    ----------
    predictions : DataFrame
        Of :func:`compute_predictions`.
    history : DataFrame
        Of :func:`train_readouts`, with a column ``pretraining``.
    printed : float
        Validation accuracy that a network has to exceed.

    Returns
    -------
    DataFrame
        Columns ``pretraining``, ``task``, ``initialisation``, ``training``, ``validation``
        (accuracy, share correct), ``loss`` (validation, nats), ``above`` (bool).
    """
    keys = ["pretraining", "task", "initialisation"]
    accuracy = summarise_accuracy(predictions).pivot_table(
        index=keys, columns="part", values="accuracy"
    )
    last = history[(history["epoch"] == history["epoch"].max()) & (history["part"] == "validation")]
    order = pd.MultiIndex.from_frame(predictions[keys].drop_duplicates())
    table = accuracy.join(last.set_index(keys)["loss"]).loc[order]
    table["above"] = table["validation"] > printed
    return table[["training", "validation", "loss", "above"]].reset_index()


def explain_shortfall(
    networks: pd.DataFrame,
    predictions: pd.DataFrame,
    features: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    validation: np.ndarray,
) -> pd.DataFrame:
    """Which networks do not exceed the printed accuracy, and what kind of failure it is.

    A network that does not fit its training images was trained too briefly or too timidly. Where
    even the best ridge regression (:func:`compute_ceiling`) stays below, the features do not carry
    the class from one image to the next. Where neither holds, the training images were learned too
    literally.

    Parameters
    ----------
    networks : DataFrame
        Of :func:`summarise_networks`.
    predictions : DataFrame
        Of :func:`compute_predictions`.
    features : mapping
        By pretraining.
    tasks : sequence of Task
    validation : ndarray, (n,), bool

    Returns
    -------
    DataFrame
        One row per pretraining and task with a network below: ``pretraining``, ``task``, ``below``,
        ``of`` (networks), ``lowest`` (validation accuracy), ``training`` (its networks' lowest
        training accuracy), ``ridge`` (the ceiling), ``hardest_view`` (degrees), ``there`` (mean
        accuracy at that view), ``why``.
    """
    by_name = {task.name: task for task in tasks}
    rows = []
    for (pretraining, task), some in networks.groupby(["pretraining", "task"], sort=False):
        if some["above"].all():
            continue
        mine = predictions.query("pretraining == @pretraining and task == @task")
        views = mine[mine["part"] == "validation"].groupby("view")["correct"].mean()
        ceiling = compute_ceiling(features[pretraining], by_name[task], validation)
        reasons = []
        if some["training"].min() <= PRINTED_ACCURACY:
            reasons.append("training images not fitted")
        if ceiling <= PRINTED_ACCURACY:
            reasons.append(f"no ridge regression exceeds {PRINTED_ACCURACY:.0%}")
        if not reasons:
            reasons.append("training images learned too literally")
        rows.append(
            {
                "pretraining": pretraining,
                "task": task,
                "below": int((~some["above"]).sum()),
                "of": len(some),
                "lowest": some["validation"].min(),
                "training": some["training"].min(),
                "ridge": ceiling,
                "hardest_view": views.idxmin() if len(views) else np.nan,
                "there": views.min() if len(views) else np.nan,
                "why": "; ".join(reasons),
            }
        )
    counted = ["below", "of", "lowest", "training", "ridge", "hardest_view", "there", "why"]
    return pd.DataFrame(rows, columns=["pretraining", "task", *counted])


def state_shortfall(networks: pd.DataFrame, shortfall: pd.DataFrame) -> str:
    """The finding in a sentence: do all networks exceed the printed accuracy, and if not, which?"""
    limit, count = f"{PRINTED_ACCURACY:.0%}", len(networks)
    if shortfall.empty:
        return f"all {count} networks classify more than {limit} of the validation images"
    parts = [
        f"{row.below} of {row.of} {row.pretraining} networks for {row.task} (lowest "
        f"{row.lowest:.2f}, ridge regression {row.ridge:.2f}: {row.why})"
        for row in shortfall.itertuples()
    ]
    below = int(shortfall["below"].sum())
    return f"{count - below} of {count} networks exceed {limit}; below are " + ", ".join(parts)


def compare_with_printed(
    table: pd.DataFrame, networks: pd.DataFrame, validation: np.ndarray, epochs: int
) -> pd.DataFrame:
    """The models as printed (Crawford et al. 2020, section 2) and here, side by side.

    Parameters
    ----------
    table : DataFrame
        Of the faces.
    networks : DataFrame
        Of :func:`summarise_networks`.
    validation : ndarray, (n,), bool
    epochs : int

    Returns
    -------
    DataFrame
        Columns ``quantity``, ``printed``, ``here`` (text).
    """
    above = int(networks["above"].sum())
    rows = [
        ("images", "1515", f"{len(table)}"),
        ("identities", "101", f"{table['identity'].nunique()}"),
        ("viewpoints", "15", f"{table['viewpoint'].nunique()}"),
        ("share of images for validation", "0.20", f"{validation.mean():.2f}"),
        ("epochs", "25", f"{epochs}"),
        ("networks", "20", f"{len(networks)}"),
        ("networks above 98% accuracy", "20", f"{above}"),
        ("lowest accuracy", "> 0.98", f"{networks['validation'].min():.3f}"),
    ]
    return pd.DataFrame(rows, columns=["quantity", "printed", "here"])


# ------------------------------------------------------------------------------------------- store


def to_dataset(readouts: Mapping[str, Sequence[Readout]], tasks: Sequence[Task] = ()) -> xr.Dataset:
    """Readouts of all pretrainings as labelled arrays.

    Parameters
    ----------
    readouts : mapping
        By pretraining.
    tasks : sequence of Task
        Give their classes names.

    Returns
    -------
    Dataset
        Per pretraining and task ``kernel__<pretraining>__<task>`` (initialisation, feature, class)
        and ``bias__<pretraining>__<task>`` (initialisation, class).
    """
    arrays = {}
    for pretraining, some in readouts.items():
        names = dict.fromkeys(readout.name.rpartition("-")[0] for readout in some)
        for task in names:
            mine = [r for r in some if r.name.rpartition("-")[0] == task]
            dims = ("initialisation", f"feature_{pretraining}", f"class_{task}")
            key = f"{pretraining}__{task}"
            arrays[f"kernel__{key}"] = (dims, np.stack([r.kernel for r in mine]))
            arrays[f"bias__{key}"] = (dims[::2], np.stack([r.bias for r in mine]))
    return xr.Dataset(arrays, {f"class_{t.name}": list(t.names) for t in tasks if t.names})


def compute_logits(
    readouts: Mapping[str, Sequence[Readout]],
    features: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    identity: Sequence[str],
) -> xr.Dataset:
    """Logits of all networks for one image of each identity.

    Parameters
    ----------
    readouts : mapping
        By pretraining.
    features : mapping
        By pretraining, (identities, ...), of those images.
    tasks : sequence of Task
    identity : sequence of str

    Returns
    -------
    Dataset
        ``logits_<task>`` (model_<task>, identity, class_<task>), float32; a model is named
        ``<pretraining>/<task>/<initialisation>``.
    """
    arrays, coordinates = {}, {"identity": list(identity)}
    for task in tasks:
        found = {
            f"{pretraining}/{task.name}/{readout.name.rpartition('-')[2]}": readout.logits(
                features[pretraining]
            )
            for pretraining, some in readouts.items()
            for readout in some
            if readout.name.rpartition("-")[0] == task.name
        }
        dims = (f"model_{task.name}", "identity", f"class_{task.name}")
        arrays[f"logits_{task.name}"] = (dims, np.stack(list(found.values())))
        coordinates[dims[0]] = list(found)
        if task.names:
            coordinates[dims[2]] = list(task.names)
    return xr.Dataset(arrays, coordinates)


def from_dataset(dataset: xr.Dataset) -> dict[str, list[Readout]]:
    """The readouts of :func:`to_dataset`, by pretraining."""
    found: dict[str, list[Readout]] = {}
    for name in dataset.data_vars:
        # The name of a model file may hold two underscores; that of a task does not.
        kind, _, rest = name.partition("__")
        pretraining, _, task = rest.rpartition("__")
        if kind != "kernel":
            continue
        kernels, biases = (
            dataset[name].to_numpy(),
            dataset[f"bias__{pretraining}__{task}"].to_numpy(),
        )
        found.setdefault(pretraining, []).extend(
            Readout(f"{task}-{index}", kernel, bias)
            for index, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
        )
    if not found:
        raise InputError("The dataset holds no readouts; make it with notebooks/02_finetuning.")
    return found
