"""Check a certificate of jaxflow: python check_certificate.py FILE. Needs python-flint alone.

A certificate claims that one number is larger than another. Both follow from exact fractions by
the steps that it lists; every step is done again here in ball arithmetic, which encloses the exact
result, so that the outcome is a proof.
"""

import json
import operator
import sys

from flint import acb_mat, arb, ctx, fmpq


def number(text: str, radius: str = "0") -> arb:
    """A fraction, or all numbers that are as near to it as a radius."""
    middle, off = (arb(fmpq(*map(int, part.split("/")))) for part in (text, radius))
    return middle + arb(0, 1) * off


def eigenvalues(*entries: arb) -> list[arb]:
    """The eigenvalues of a symmetric matrix in ascending order, each enclosed."""
    n = int(len(entries) ** 0.5)
    matrix = acb_mat([entries[i * n : (i + 1) * n] for i in range(n)])
    found = [value.real for value in matrix.eig(multiple=True)]
    # The k-th least of numbers in intervals is between the k-th least of their ends.
    lows, highs = sorted(x.lower() for x in found), sorted(x.upper() for x in found)
    return [low.union(high) for low, high in zip(lows, highs, strict=True)]


FUNCTIONS = "sqrt exp expm1 log log1p sin cos tan tanh sinh cosh atanh asinh acosh erf erfc max min"
OPERATIONS = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "pow", "abs")},
    **{name: getattr(arb, name) for name in FUNCTIONS.split()},
    "eigenvalues": eigenvalues,
}


def sides(record: dict) -> tuple[arb, arb]:
    """Enclosures of the two numbers; every comparison on the way is checked."""
    ctx.prec = record["bits"]
    values: list = []
    for name, *arguments in record["steps"]:
        if name == "number":
            values.append(number(*arguments))
        elif name == "entry":
            values.append(values[arguments[0]][arguments[1]])
        elif name == "below":
            if not values[arguments[0]] < values[arguments[1]]:
                raise ValueError("NOT PROVED: a comparison on the way is not certain.")
            values.append(None)
        else:
            values.append(OPERATIONS[name](*(values[i] for i in arguments)))
    return values[record["smaller"]], values[record["larger"]]


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        record = json.load(file)
    smaller, larger = sides(record)
    print(f"claimed: {record['statement']}\nhere:    {smaller} against {larger}")
    if not smaller > larger:
        raise SystemExit("NOT PROVED.")
    print("PROVED: the statement is false.")
