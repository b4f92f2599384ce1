"""Images of the digits 0 and 8 for the inpainting experiment: scikit-learn's small ones, or MNIST from files of the user."""

from __future__ import annotations

import gzip
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbounds.errors import InvalidInput

__all__ = ["VARIABLE", "Digits", "load_mnist", "load_small"]

VARIABLE = "LIPBOUNDS_MNIST"
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
IMAGES, LABELS = 2051, 2049  # magic numbers of idx files
SMALL_TEST = 100


@dataclass(frozen=True, eq=False)
class Digits:
    """Images as the networks see them: y, the lower rows from below, then principal coordinates of the rest, the largest last.

    Turning the rest is an isometry, so constants do not change. A network near the identity then begins with the directions in
    z in which images differ most; with pixels it would begin with those of a corner, where all images are black and the
    heuristic for the means finds no difference between the classes.

    Attributes:
        train: Shape (n, side^2).
        train_class: 0 for zeros, 1 for eights, shape (n,).
        test: Shape (m, side^2).
        test_class: Shape (m,).
        side: Rows and columns.
        known: Coordinates of y.
        centre: Mean of the rest over the training images, in pixels.
        axes: Its principal axes as columns, the largest last.
    """

    train: Tensor
    train_class: Tensor
    test: Tensor
    test_class: Tensor
    side: int
    known: int
    centre: Tensor
    axes: Tensor

    def picture(self, x: Tensor) -> Tensor:
        """Images as seen, upper row first, with values in [0, 1] for data, shape (n, side, side)."""
        rest = x[:, self.known :] @ self.axes.T.to(x) + self.centre.to(x)
        return torch.cat((x[:, : self.known], rest), dim=1).reshape(-1, self.side, self.side).flip(1)


def _digits(images: dict[str, NDArray[np.float32]], classes: dict[str, NDArray[np.int64]], known_rows: int) -> Digits:
    side = images["train"].shape[1]
    rows = {name: torch.as_tensor(np.ascontiguousarray(part[:, ::-1])).reshape(len(part), -1) for name, part in images.items()}
    own = {name: torch.as_tensor(part) for name, part in classes.items()}
    known = known_rows * side
    rest = rows["train"][:, known:].double()
    centre = rest.mean(0)
    axes = torch.linalg.eigh((rest - centre).T @ (rest - centre)).eigenvectors
    turned = {}
    for name, part in rows.items():
        coordinates = (part[:, known:].double() - centre) @ axes
        turned[name] = torch.cat((part[:, :known], coordinates.float()), dim=1)
    return Digits(turned["train"], own["train"], turned["test"], own["test"], side, known, centre, axes)


def load_small(seed: int = 0) -> Digits:
    """The zeros and eights of scikit-learn's 8x8 digits, 252 to train and 100 to test; y are the last 2 rows."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.isin(bunch.target, (0, 8))
    images = (bunch.images[chosen] / 16.0).astype(np.float32)
    classes = (bunch.target[chosen] == 8).astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(images))
    split = {"train": order[SMALL_TEST:], "test": order[:SMALL_TEST]}
    return _digits({name: images[rows] for name, rows in split.items()}, {name: classes[rows] for name, rows in split.items()}, 2)


def load_mnist(folder: Path | None) -> Digits:
    """The zeros and eights of MNIST from the four idx gzip files; y are the last 6 rows, as in the paper.

    Args:
        folder: Folder with the files under their usual names; None takes the one named by LIPBOUNDS_MNIST.

    Raises:
        InvalidInput: If no folder is named, or a file is missing, damaged or not of this format.
    """
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        raise InvalidInput("--data", "no folder", f"the folder of the MNIST files, or {VARIABLE}", "see docs/inpainting")
    images, classes = {}, {}
    for part, (image_file, label_file) in FILES.items():
        pixels = _read(named / image_file, IMAGES, 3)
        labels = _read(named / label_file, LABELS, 1)
        if len(pixels) != len(labels):
            raise InvalidInput("--data", f"{len(pixels)} images and {len(labels)} labels", "as many", "download them again")
        chosen = np.isin(labels, (0, 8))
        images[part] = (pixels[chosen] / 255.0).astype(np.float32)
        classes[part] = (labels[chosen] == 8).astype(np.int64)
    return _digits(images, classes, 6)


def _read(path: Path, magic: int, axes: int) -> NDArray[np.uint8]:
    """An idx file: magic number, one size an axis, all big-endian, then bytes."""
    wanted, remedy = f"an idx gzip file of {axes} axes", "download it again"
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise InvalidInput("--data", f"{path} ({type(error).__name__})", wanted, remedy) from error
    start = 4 * (axes + 1)
    header = struct.unpack(f">{axes + 1}i", content[:start]) if len(content) >= start else ()
    if not header or header[0] != magic or len(content) != start + math.prod(header[1:]):
        raise InvalidInput("--data", f"{path}, {len(content)} bytes", wanted, remedy)
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(header[1:])
