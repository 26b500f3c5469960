"""Training of a trunk in stages, each with its width and image size, taken up again after a kill.

Everything random is drawn from the seed, the stage and the epoch, and the state is written after
every epoch: a training that was killed goes on from its last whole epoch through the same batches,
and ends where an undisturbed one ends, up to the rounding of sums that threads add in any order.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from lib import store
from lib.errors import InputError
from lib.pretraining.images import (
    Augmentation,
    People,
    Pictures,
    augment,
    pad_images,
    plain,
    shape_targets,
    to_network,
)
from lib.pretraining.network import Network, State, count_channels, initial_state, widen, width_of
from lib.store import atomic_path, load_arrays
from lib.vgg import MEANS, choose_precision, rounds_bfloat16

BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.98, 1e-7
#: Columns of the history.
HISTORY = (
    "stage", "epoch", "identities", "width", "pixels", "steps", "images", "rate", "loss",
    "accuracy", "auxiliary", "view_accuracy", "scene_accuracy", "seconds", "process_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes
    ----------
    identities : int
        So many of the people are learned, the first ones: a stage may begin while others are
        still being rendered.
    width : float
        Share of VGG-16's channels; as the stage before, or twice as much.
    pixels : int
        Side of the images.
    epochs : float
        Passes through these people's training images; the last one may be a part of a pass.
    rate, last_rate : float
        Learning rate at the start and at the end of the stage, along half a cosine.
    batch : int
    """

    identities: int
    width: float
    pixels: int
    epochs: float
    rate: float = 1.5e-3
    last_rate: float = 1e-4
    batch: int = 64

    def __post_init__(self):
        count_channels(self.width)
        if self.identities < 2:
            raise InputError("A stage needs at least 2 identities.")
        if self.pixels < 32:
            raise InputError(f"A stage of {self.pixels} pixels is refused: VGG-16 needs 32.")
        if not self.epochs > 0 or not self.rate > 0 or self.batch < 2:
            raise InputError("A stage needs epochs and rate above 0 and a batch of at least 2.")


@dataclass(frozen=True)
class Training:
    """How a trunk is trained.

    Attributes
    ----------
    stages : tuple of Stage
    seed : int
    augmentation : Augmentation
    components : int
        Principal components of the local shape in the auxiliary targets.
    auxiliary : float
        Weight of the auxiliary squared error beside the cross-entropy.
    smoothing : float
        Share of the target that is spread over all identities.
    decay : float
        Weight decay of kernels, per unit of learning rate (AdamW, Loshchilov & Hutter 2019).
    clip : float
        Largest norm of a step's gradient.
    warm_up : int
        Steps at the start of a stage over which the learning rate rises.
    validate : int
        Epochs between validations.
    validation_images : int
        Held-out images of either kind that an epoch's validation takes at most.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    components: int = 32
    auxiliary: float = 1.0
    smoothing: float = 0.05
    decay: float = 0.02
    clip: float = 2.0
    warm_up: int = 40
    validate: int = 1
    validation_images: int = 300

    def __post_init__(self):
        if not self.stages:
            raise InputError("stages is empty: give at least one.")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if after.width not in (before.width, 2 * before.width):
                raise InputError(
                    f"A stage of width {after.width} follows one of {before.width}: keep the width "
                    "or double it."
                )


# ------------------------------------------------------------------------------------------ steps


class _Optimiser:
    """AdamW on a network's trainable variables, with the gradient's norm limited."""

    def __init__(self, network: Network, training: Training, moments: State | None = None):
        self.training = training
        self.items = network.trainable()
        self.moments = [
            tuple(
                tf.Variable(
                    tf.zeros_like(variable) if moments is None else moments[f"{layer}/{part}"][k],
                    trainable=False,
                )
                for k in ("first", "second")
            )
            for layer, part, variable in self.items
        ]

    def apply(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor, step: tf.Tensor) -> None:
        gradients, _ = tf.clip_by_global_norm(gradients, self.training.clip)
        powers = [tf.pow(beta, step) for beta in (BETA_1, BETA_2)]
        for (_, part, variable), (first, second), gradient in zip(
            self.items, self.moments, gradients, strict=True
        ):
            if part == "kernel":
                variable.assign_sub(rate * self.training.decay * variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=first.handle, v=second.handle, beta1_power=powers[0],
                beta2_power=powers[1], lr=rate, beta1=BETA_1, beta2=BETA_2,
                epsilon=ADAM_EPSILON, grad=gradient,
            )  # fmt: skip

    def state(self) -> State:
        return {
            f"{layer}/{part}": {"first": first.numpy(), "second": second.numpy()}
            for (layer, part, _), (first, second) in zip(self.items, self.moments, strict=True)
        }


class _Session:
    """Compiled training and validation of one stage: only its people are answers."""

    def __init__(self, state, training, precision, identities, moments=None):
        self.network = network = Network(state, precision)
        self.optimiser = optimiser = _Optimiser(network, training, moments)
        variables = [variable for _, _, variable in optimiser.items]

        @tf.function(reduce_retracing=True)
        def step(images, labels, targets, rate, count):
            with tf.GradientTape() as tape:
                logits, guesses = network.heads(network.features(images, training=True))
                logits = logits[:, :identities]
                wanted = tf.one_hot(labels, identities)
                wanted = wanted * (1 - training.smoothing) + training.smoothing / identities
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
                error = tf.reduce_mean((guesses - targets) ** 2)
                total = loss + training.auxiliary * error
            optimiser.apply(tape.gradient(total, variables), rate, count)
            right = tf.equal(tf.argmax(logits, -1, labels.dtype), labels)
            return loss, tf.reduce_mean(tf.cast(right, tf.float32)), error

        @tf.function(reduce_retracing=True)
        def predict(images):
            logits, _ = network.heads(network.features(images, training=False))
            return tf.argmax(logits[:, :identities], -1)

        self.step, self.predict = step, predict


def _rate(stage: Stage, step: int, steps: int, warm_up: int) -> float:
    share = step / max(1, steps)
    low, high = stage.last_rate, stage.rate
    rate = low + (high - low) * 0.5 * (1 + np.cos(np.pi * share))
    return float(rate * min(1.0, (step + 1) / max(1, min(warm_up, steps // 4))))


# ------------------------------------------------------------------------------------- checkpoint


def _flat(state: Mapping[str, Mapping[str, np.ndarray]], kind: str) -> dict[str, np.ndarray]:
    return {f"{kind}|{k}|{part}": a for k, parts in state.items() for part, a in parts.items()}


def _nested(arrays: Mapping[str, np.ndarray], kind: str) -> State:
    out: State = {}
    for name, array in arrays.items():
        head, _, rest = name.partition("|")
        if head == kind:
            key, _, part = rest.rpartition("|")
            out.setdefault(key, {})[part] = array
    return out


def save_checkpoint(path: Path, session: _Session, note: Mapping) -> None:
    """Weights, moments and place in the training, written whole or not at all."""
    arrays = _flat(session.network.state(), "weight") | _flat(session.optimiser.state(), "moment")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, note=np.array(json.dumps(note)), **arrays)


def load_checkpoint(path: str | Path) -> tuple[State, State, dict]:
    """Weights, moments and note of :func:`save_checkpoint`.

    Raises
    ------
    InputError
        Missing or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}; train first.")
    try:
        arrays = load_arrays(path)
        note = json.loads(str(arrays.pop("note")))
        if not {"about", "stage", "epoch", "history"} <= set(note):
            raise KeyError("note")
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; delete it and train again.") from None
    return _nested(arrays, "weight"), _nested(arrays, "moment"), note


# --------------------------------------------------------------------------------------- training


class _Data:
    """Padded training images with labels and auxiliary targets, and the batches of an epoch."""

    def __init__(self, pictures: Pictures, training: Training, people: People):
        table = pictures.table
        self.training = training
        self.rows = pictures.rows("training")
        self.size = pictures.images.shape[1]
        self.padded = pad_images(pictures.images[self.rows])
        self.labels = table["person"].to_numpy(np.int64)[self.rows]
        self.shapes = shape_targets(people.seeds(), training.components)
        self.angles = np.radians(table[["yaw", "pitch"]].to_numpy(float)[self.rows])

    def batches(self, stage: Stage, rng: np.random.Generator):
        """(images, labels, auxiliary targets), every training image once, whole batches only."""
        order = rng.permutation(np.flatnonzero(self.labels < stage.identities))
        for start in range(0, len(order) - stage.batch + 1, stage.batch):
            chosen = order[start : start + stage.batch]
            images, mirrored = augment(
                self.padded[chosen], self.size, stage.pixels, self.training.augmentation, rng
            )
            yaw, pitch = self.angles[chosen].T
            yaw = np.where(mirrored, -yaw, yaw)
            angles = np.stack([np.sin(yaw), np.cos(yaw), np.sin(pitch) * 5], 1)
            labels = self.labels[chosen]
            targets = np.concatenate([self.shapes[labels], angles], 1).astype(np.float32)
            yield to_network(images, MEANS["imagenet"]), labels, targets

    def steps(self, stage: Stage) -> int:
        """Batches of an epoch."""
        return int((self.labels < stage.identities).sum()) // stage.batch


def _ahead(items):
    """The items, each made while the one before is used."""
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item


def _accuracy(session, pictures, part, identities, pixels, limit, grey=True, batch=64) -> float:
    rows = pictures.rows(part)
    rows = rows[pictures.table["person"].to_numpy()[rows] < identities]
    if limit is not None and rows.size > limit:
        rows = np.sort(np.random.default_rng(5).permutation(rows)[:limit])
    if not rows.size:
        return float("nan")
    labels = pictures.table["person"].to_numpy()
    right = 0
    for start in range(0, rows.size, batch):
        chosen = rows[start : start + batch]
        images = to_network(plain(pictures.images[chosen], pixels, grey), MEANS["imagenet"])
        right += int((session.predict(tf.constant(images)).numpy() == labels[chosen]).sum())
    return right / rows.size


def validate(
    state: State,
    pictures: Pictures,
    training: Training,
    identities: int,
    pixels: int,
    *,
    grey: bool = True,
) -> dict[str, float]:
    """Accuracy on all held-out images: ``view`` and ``scene``.

    Parameters
    ----------
    state : dict
        Weights with normalisation.
    pictures : Pictures
    training : Training
    identities : int
        The first people, who are the possible answers.
    pixels : int
        Side at which they are shown.
    grey : bool
        Shown in grey, as the study's images are.
    """
    session = _Session(state, training, "float32", identities)
    return {
        part: _accuracy(session, pictures, part, identities, pixels, None, grey)
        for part in ("view", "scene")
    }


def _find_difference(note: Mapping, about: Mapping) -> str:
    """In what a training differs from what is asked; stages still to come may change."""
    for name, value in about.items():
        old = note["about"].get(name)
        if name == "stages":
            done = note["stage"]
            old, value = old[:done], value[:done]
        if old != value:
            return f"{name} = {old}, not {value}"
    return ""


def _take_up(path: Path, about: Mapping) -> tuple[State, State, dict] | None:
    """The training to go on with, if there is one and it is this one.

    In a run's own folder one with other settings, or a damaged one, makes room and is kept.

    Raises
    ------
    InputError
        It lies elsewhere.
    """
    if not path.is_file():
        return None
    mine = store.of_a_run(path)
    try:
        found = load_checkpoint(path)
    except InputError:
        if not mine:
            raise
        what, name = "that which was damaged", "damaged"
    else:
        if not (differs := _find_difference(found[2], about)):
            return found
        if not mine:
            raise InputError(
                f"{path} was trained with {differs}; give another folder, or delete it to begin "
                "anew."
            )
        text = json.dumps(found[2]["about"], sort_keys=True)
        what, name = f"that with {differs}", hashlib.sha256(text.encode()).hexdigest()[:8]
    kept = path.with_name(f"{path.stem}-{name}{path.suffix}")
    path.replace(kept)
    print(f"training begins anew; {what} is kept as {kept.name}")
    return None


def train_trunk(
    pictures: Pictures,
    people: People,
    training: Training,
    folder: str | Path,
    *,
    precision: str = "auto",
    report=None,
    stop_after: int | None = None,
) -> tuple[State, pd.DataFrame]:
    """Train a trunk, or go on with one that was killed.

    Parameters
    ----------
    pictures : Pictures
        Rendered people; only the rows of the part ``training`` are learned.
    people : People
        All that are to be learned, rendered already or not: the classes.
    training : Training
    folder : path
        Gets ``checkpoint.npz`` and ``history.csv`` after every epoch.
    precision : {"auto", "float32", "bfloat16"}
        Of the convolutions; by default bfloat16 where the hardware has it.
    report : callable, optional
        Called with a line of text after every epoch.
    stop_after : int, optional
        Epochs after which this call returns although more are to come.

    Returns
    -------
    state : dict
        Weights with normalisation.
    history : DataFrame
        One row per epoch, columns :data:`HISTORY`; accuracies are shares, seconds are wall-clock.

    Raises
    ------
    InputError
        The folder, if it is not a run's own, holds a training with other settings or a damaged one,
        or there are too few images for a batch.
    """
    folder = Path(folder)
    path = folder / "checkpoint.npz"
    precision = choose_precision(precision)
    if precision == "bfloat16" and rounds_bfloat16():
        raise InputError(
            "This processor cannot train in bfloat16 (it lacks AVX-512); use precision: auto or "
            "float32."
        )
    data = _Data(pictures, training, people)
    rendered = pictures.table["person"].nunique()
    about = json.loads(json.dumps(asdict(training) | {"people": asdict(people)}))
    for stage in training.stages:
        if stage.identities > rendered:
            raise InputError(
                f"A stage learns {stage.identities} people and {rendered} are rendered; render "
                "more, or learn fewer."
            )
        if data.steps(stage) < 1:
            raise InputError(
                f"{len(data.rows)} training images make no batch of {stage.batch}; lower the batch."
            )
    if found := _take_up(path, about):
        state, moments, note = found
        rows, place = note["history"], (note["stage"], note["epoch"])
    else:
        moments = None
        auxiliary = data.shapes.shape[1] + 3
        state = initial_state(training.stages[0].width, people.identities, auxiliary, training.seed)
        rows, place = [], (0, 0)
    trained = 0
    for number, stage in enumerate(training.stages):
        epochs = int(np.ceil(stage.epochs))
        if number < place[0] or (number == place[0] and place[1] >= epochs):
            continue
        if stage.width > width_of(state):
            state, moments = widen(state, training.seed), None
        session = _Session(state, training, precision, stage.identities, moments)
        total = max(1, round(stage.epochs * data.steps(stage)))
        for epoch in range(place[1] if number == place[0] else 0, epochs):
            # Widening begins new moments.
            before = sum(row["steps"] for row in rows if row["width"] == stage.width)
            row = _train_epoch(session, data, training, number, epoch, total, before)
            last = epoch + 1 == epochs
            if (epoch + 1) % training.validate == 0 or last:
                for part in ("view", "scene"):
                    row[f"{part}_accuracy"] = _accuracy(
                        session,
                        pictures,
                        part,
                        stage.identities,
                        stage.pixels,
                        training.validation_images,
                    )
            rows.append({name: row.get(name) for name in HISTORY})
            note = {"about": about, "stage": number, "epoch": epoch + 1, "history": rows}
            save_checkpoint(path, session, note)
            history = pd.DataFrame(rows, columns=list(HISTORY))
            with atomic_path(folder / "history.csv") as temporary:
                history.to_csv(temporary, index=False, float_format="%.6g")
            if report is not None:
                report(_line(row))
            trained += 1
            if trained == stop_after:
                return session.network.state(), history
        state, moments = session.network.state(), session.optimiser.state()
    return state, pd.DataFrame(rows, columns=list(HISTORY))


def _train_epoch(session, data, training, number, epoch, total, before) -> dict:
    """One pass, or the part of it that the stage has left: a row of the history.

    ``total`` are the steps of the stage, ``before`` those since the moments of the gradients began.
    """
    stage = training.stages[number]
    rng = np.random.default_rng([training.seed, 22, number, epoch])
    first = epoch * data.steps(stage)
    start, worked = time.time(), time.process_time()
    sums, steps, rate = np.zeros(3), 0, 0.0
    for images, labels, targets in _ahead(data.batches(stage, rng)):
        if first + steps >= total:
            break
        rate = _rate(stage, first + steps, total, training.warm_up)
        values = session.step(
            tf.constant(images),
            tf.constant(labels),
            tf.constant(targets),
            tf.constant(rate, tf.float32),
            tf.constant(float(before + steps + 1)),
        )
        sums += [float(value) for value in values]
        steps += 1
    loss, accuracy, error = sums / max(1, steps)
    return {
        "stage": number, "epoch": epoch + 1, "identities": stage.identities, "width": stage.width,
        "pixels": stage.pixels, "steps": steps, "images": steps * stage.batch, "rate": rate,
        "loss": loss, "accuracy": accuracy, "auxiliary": error, "seconds": time.time() - start,
        "process_seconds": time.process_time() - worked,
    }  # fmt: skip


def _line(row: Mapping) -> str:
    text = (
        f"stage {row['stage']} epoch {row['epoch']}: {row['identities']} people, width "
        f"{row['width']:g}, {row['pixels']} px, "
        f"loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}, auxiliary {row['auxiliary']:.3f}"
    )
    if row.get("view_accuracy") is not None:
        text += f", held-out views {row['view_accuracy']:.3f}, scenes {row['scene_accuracy']:.3f}"
    return text + f", {row['images'] / max(row['seconds'], 1e-9):.1f} images/s"
