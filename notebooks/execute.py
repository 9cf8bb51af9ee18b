"""Execute every notebook from its paired script and write it with its outputs.

`python notebooks/execute.py [NAME ...]` only checks that they run; `--write` refreshes the .ipynb
files. Without names, every notebook is executed.
"""

import argparse
import sys
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> None:
    """Run them, one after the other, and stop at the first error."""
    every = sorted(path.stem for path in HERE.glob("*.py") if path.name != "execute.py")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=every, help=", ".join(every))
    parser.add_argument("--write", action="store_true", help="refresh the .ipynb files")
    chosen = parser.parse_args()
    for name in chosen.names:
        script = HERE / f"{name}.py"
        start = time.perf_counter()
        notebook = jupytext.read(script)
        client = NotebookClient(notebook, timeout=600, kernel_name="python3")
        client.execute(cwd=str(HERE))
        if chosen.write:
            notebook.metadata.pop("widgets", None)  # the state of a slider is a picture, encoded
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)
            jupytext.write(notebook, script.with_suffix(".ipynb"))
        print(f"{script.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
