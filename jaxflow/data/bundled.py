"""The data sets that come with scikit-learn and need no download."""

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Bundled:
    """How a bundled set is loaded; `standardize` is what is done unless told otherwise."""

    standardize: bool | Literal["X"]
    labels: bool  # whether the targets are classes
    options: tuple[tuple[str, bool], ...] = ()


BUNDLED = {
    "digits": Bundled(False, labels=True),
    "diabetes": Bundled(True, labels=False, options=(("scaled", False),)),
    "iris": Bundled("X", labels=True),
    "wine": Bundled("X", labels=True),
    "breast_cancer": Bundled("X", labels=True),
    "linnerud": Bundled(True, labels=False),
}


def read_bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """X and Y of the set; Y is a vector of the names of classes if the targets are labels."""
    try:
        # Imported here, since importing scikit-learn takes longer than the rest of the package.
        from sklearn import datasets
    except ImportError as error:
        raise ValueError(
            f"{name!r} comes with scikit-learn: pip install scikit-learn, or give the path of a "
            "file."
        ) from error
    found = getattr(datasets, f"load_{name}")(**dict(BUNDLED[name].options))
    X, Y = np.asarray(found.data, float), np.asarray(found.target)
    if name == "digits":
        X = X / 16
    return X, np.asarray(found.target_names).astype(str)[Y] if BUNDLED[name].labels else Y
