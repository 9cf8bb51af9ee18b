"""Tables with named columns, `.csv` and `.parquet`, as matrices of features and targets."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEPARATORS = ",;\t"
TEXT = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".parquet")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
# What pandas takes for a missing value, and the question mark of older collections.
UNKNOWN = "?"

Targets = str | int | Sequence[str | int] | None


@dataclass(frozen=True)
class Format:
    """How the text of a table is written; None where it is to be found out."""

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    header: bool | None = None

    def __post_init__(self):
        if self.separator is not None and len(self.separator) != 1:
            raise ValueError(
                f"separator must be one character, such as ';' or '\\t', got {self.separator!r}."
            )
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"decimal must be '.' or ',', got {self.decimal!r}.")
        if self.decimal == "," == self.separator:
            raise ValueError("separator and decimal cannot both be a comma.")


def read_table(
    path: Path, targets: Targets, drop: bool, written: Format
) -> tuple[np.ndarray, np.ndarray]:
    """X and Y of a table; Y is one column of text if that is what the only target holds."""
    table: _Text | _Parquet
    table = _Text(path, written) if path.suffix.lower() in TEXT else _Parquet(path)
    names = table.names
    wanted = _chosen(path, names, targets)
    missing = table.frame.isna().to_numpy()
    keep = ~missing.any(axis=1)
    if missing.any():
        table.check()
        if not drop:
            row, column = np.argwhere(missing)[0]
            raise ValueError(
                f"Column {names[column]!r} of {path} has a missing value on "
                f"{table.place(int(row))}, one of {int(missing.sum())}: pass missing='drop' to "
                "leave out such rows, impute it, or leave the column out of the file."
            )
        if not keep.any():
            raise ValueError(
                f"Every row of {path} has a missing value: leave out the columns that lack most."
            )
    target = table.frame.iloc[:, wanted[0]]
    # Text among numbers is a mistake, which is named below, and no label.
    is_label = (
        len(wanted) == 1
        and _is_text(target)
        and not any(_is_number(str(cell)) for cell in target[keep].unique())
    )
    columns = {
        place: table.frame.iloc[:, place].to_numpy()[keep].astype(str)
        if is_label and place in wanted
        else _numbers(table, place, keep)
        for place in range(len(names))
    }
    features = [columns[place] for place in range(len(names)) if place not in wanted]
    return np.stack(features, axis=1), np.stack([columns[place] for place in wanted], axis=1)


def _chosen(path: Path, names: list[str], targets: Targets) -> list[int]:
    """The places of the target columns."""
    listed = [targets] if isinstance(targets, (str, int)) else list(targets or ())
    shown = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    if not listed:
        raise ValueError(f"Say what to predict, targets=['name', ...]: {path} has {shown}.")
    places = []
    for name in listed:
        if isinstance(name, int) and -len(names) <= name < len(names):
            places.append(name % len(names))
        elif name in names:
            places.append(names.index(name))
        else:
            raise ValueError(
                f"{path} has no column {name!r} to use as a target: its header, the first line, "
                f"names {shown}."
            )
    if len(set(places)) < len(places):
        raise ValueError(f"targets names a column twice: {listed}. Name each one once.")
    if len(places) == len(names):
        raise ValueError(f"Every column of {path} is a target: leave at least one as a feature.")
    return places


def _is_text(column: Any) -> bool:
    import pandas as pd

    return not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _numbers(table: "_Text | _Parquet", place: int, keep: np.ndarray) -> np.ndarray:
    column = table.frame.iloc[:, place]
    kept = column.to_numpy()[keep]
    if not _is_text(column) or kept.dtype == bool:
        return kept.astype(np.float32 if kept.dtype == np.float32 else float)
    numbers = np.empty(len(kept))
    for i, (row, cell) in enumerate(zip(np.flatnonzero(keep), kept, strict=True)):
        try:
            numbers[i] = table.number(cell)
        except (ValueError, TypeError):
            shown = str(cell).strip()
            comma = " say decimal=',' if that is a decimal comma;"
            raise ValueError(
                f"Column {table.names[place]!r} of {table.path} holds {shown!r}, not a number, on "
                f"{table.place(int(row))}:{comma if DECIMAL_COMMA.fullmatch(shown) else ''} encode "
                "or impute it as a number, or leave the column out of the file."
            ) from None
    return numbers


class _Parquet:
    def __init__(self, path: Path):
        import pandas as pd

        self.path = path
        try:
            self.frame = pd.read_parquet(path)
        except ImportError as error:
            raise ValueError(
                f"Reading {path} needs pyarrow: pip install pyarrow, or save the table as .csv."
            ) from error
        except Exception as error:
            raise ValueError(
                f"{path} is not a .parquet table ({str(error).splitlines()[0]}): write it again."
            ) from error
        self.names = [str(name) for name in self.frame.columns]
        _check_names(path, self.names)
        if self.frame.empty:
            raise ValueError(f"{path} has no rows: it needs one row per sample.")

    @staticmethod
    def number(cell: Any) -> float:
        return float(cell)

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def check(self) -> None:
        """Nothing: columns of one table have equally many rows."""


class _Text:
    """A table as text, read by pandas; rows of unequal length are found by a second reading."""

    def __init__(self, path: Path, written: Format):
        import pandas as pd

        self.path, self.text = path, _decoded(path, written.encoding)
        self.separator = written.separator or _sniffed(self.text)
        body = io.StringIO(self.text, newline="")
        rows = self._rows(body)
        _, first = next(rows, (0, []))
        self.numbered = written.header is False
        if self.numbered:
            body.seek(0)
        elif written.header is None:
            _check_header(path, first)
        self.names = [str(place) for place in range(len(first))] if self.numbered else first
        if not any(True for _ in self._data()):
            what = "only a header" if first else "empty"
            raise ValueError(f"{path} is {what}: it needs a header row and one row per sample.")
        if len(self.names) == 1:
            raise ValueError(
                f"{path} has a single column, {first[0]!r}: it needs features and targets, "
                "separated by commas, semicolons or tabs, or by the separator= that you name."
            )
        _check_names(path, self.names)
        self.decimal = written.decimal or self._decimal()
        # Newer versions read numbers to the last digit unless told otherwise, and warn if told.
        newer = tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
        exact = {} if newer else {"float_precision": "round_trip"}
        try:
            self.frame = pd.read_csv(
                body,  # what follows the header
                sep=self.separator,
                decimal=self.decimal,
                header=None,
                skipinitialspace=True,
                na_values=[UNKNOWN],
                **exact,
                low_memory=False,
            )
        except pd.errors.ParserError as error:
            self.check()
            raise self._not_a_table(error) from error
        if self.frame.shape[1] != len(self.names):
            self.check()

    def _rows(self, text: io.StringIO | None = None) -> Iterator[tuple[int, list[str]]]:
        """The line on which each row ends, and its cells; blank lines are skipped."""
        reader = csv.reader(
            io.StringIO(self.text, newline="") if text is None else text,
            delimiter=self.separator,
            skipinitialspace=True,
            strict=True,
        )
        try:
            for row in reader:
                if any(row) or len(row) > 1:
                    yield reader.line_num, [cell.strip() for cell in row]
        except csv.Error as error:
            raise self._not_a_table(error) from error

    def _data(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header."""
        return itertools.islice(self._rows(), 0 if self.numbered else 1, None)

    def _not_a_table(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self.path} is not text separated by {self.separator!r} ({error}): re-save it."
        )

    def _decimal(self) -> str:
        """A comma if cells of the first thousand rows look so; where that is unsure, `ValueError`.

        A decimal comma is looked for only where commas do not separate the cells.
        """
        if self.separator == ",":
            return "."
        rows = (row for _, row in itertools.islice(self._data(), 1000))
        cells = [cell for row in rows for cell in row if DECIMAL_COMMA.fullmatch(cell)]
        if cells and all(THOUSANDS.fullmatch(cell) for cell in cells):
            raise ValueError(
                f"{self.path} holds {cells[0]!r}: pass decimal=',' if that is a decimal comma, and "
                "remove the commas if they group thousands."
            )
        return "," if cells else "."

    def number(self, cell: Any) -> float:
        """The number in a cell that pandas takes for text."""
        if self.decimal == ",":
            if "." in cell:  # it may group thousands
                raise ValueError
            cell = cell.replace(",", ".")
        return float(cell)

    def place(self, row: int) -> str:
        """The line of a row of the frame."""
        line, _ = next(itertools.islice(self._data(), row, None))
        return f"line {line}"

    def check(self) -> None:
        """Raise `ValueError` for the first row that has more or fewer cells than the header."""
        for line, row in self._rows():
            if len(row) != len(self.names):
                raise ValueError(
                    f"Line {line} of {self.path} has {len(row)} cells, but the header has "
                    f"{len(self.names)}: give every row one cell per column."
                )


def _decoded(path: Path, encoding: str | None) -> str:
    """The text: UTF-8, with or without a byte-order mark, UTF-16 with one, else Latin-1."""
    raw = path.read_bytes()
    if encoding is None:
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        if b"\0" in raw[:10_000] and not wide:
            raise ValueError(f"{path} is not text: save the table as .csv again.")
        encodings = ["utf-16"] if wide else ["utf-8-sig", "cp1252", "latin-1"]
    else:
        encodings = [encoding]
    for name in encodings:
        try:
            return raw.decode(name)
        except UnicodeDecodeError as failed:
            error = failed
        except LookupError as failed:
            raise ValueError(
                f"There is no encoding {name!r}: try 'utf-8' or 'latin-1'."
            ) from failed
    raise ValueError(f"{path} is not text in {encodings[-1]} ({error}): name its encoding=.")


def _sniffed(text: str) -> str:
    """The separator with which the most of the first lines have as many cells as the header."""
    lines = [line for line in itertools.islice(io.StringIO(text), 50) if line.strip()]

    def score(separator: str) -> tuple[int, int]:
        try:
            rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
        except csv.Error:
            return (0, 0)
        cells = len(rows[0]) if rows else 0
        return (sum(len(row) == cells for row in rows) if cells > 1 else 0, cells)

    return max(SEPARATORS, key=score)


def _check_header(path: Path, first: list[str]) -> None:
    """Raise if the first line may be a sample: if it holds numbers other than 0, 1, 2, ..."""
    numbers = [cell for cell in first if _is_number(cell)]
    if numbers and numbers != [str(place) for place in range(len(numbers))]:
        raise ValueError(
            f"The first line of {path} holds numbers, such as {numbers[0]}: pass header=False if "
            "that line is a sample (targets then count the columns from 0), or header=True if it "
            "names the columns."
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _check_names(path: Path, names: list[str]) -> None:
    seen = set()
    for place, name in enumerate(names):
        if not name:
            raise ValueError(
                f"Column {place + 1} of {path} has no name: name it in the header (or leave the "
                "index out, index=False in pandas)."
            )
        if name in seen:
            raise ValueError(f"{path} has two columns named {name!r}: rename one of them.")
        seen.add(name)
