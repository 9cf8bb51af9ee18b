"""What an argument has to be, in one sentence that says what was given."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.machine.arguments import flag, function, instance, integer, number, numbers, shown
from jaxflow.machine.keys import as_key

NO_NUMBERS = [None, "1", b"1", [], [1.0], {}, 1j, True, np.ones(1), np.array(["a"]), Path("a"),
              object(), sum, np.datetime64("2020-01-01"), jax.random.key(0), np.nan]  # fmt: skip


@pytest.mark.parametrize("value", NO_NUMBERS, ids=shown)
def test_what_is_no_number_is_refused(value):
    for check in (number, integer):
        with pytest.raises(ValueError, match=r"^size must be a [a-z ]+, got [^\n]*\.$"):
            check("size", value)


@pytest.mark.parametrize("value", [3, 3.0, np.int8(3), np.float16(3), np.array(3), jnp.array(3.0)])
def test_numbers_of_all_kinds_are_taken(value):
    assert number("size", value) is value
    assert integer("size", value) == 3
    assert type(integer("size", value)) is int


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (1.5, "plain integer, got 1.5"),
        (0, "at least 1"),
        (10**30, "below 2"),
        (-(10**400), "plain integer"),
    ],
    ids=shown,
)
def test_integers_have_a_range(value, match):
    with pytest.raises(ValueError, match=match):
        integer("size", value)


def test_traced_numbers_pass():
    assert jax.jit(lambda x: number("size", x))(2.0) == 2


def test_a_value_is_shown_on_one_line():
    assert shown(np.ones((2, 2))) == "array([[1., 1.], [1., 1.]])"
    assert shown(np.ones((20, 20))) == "an array of shape (20, 20)"
    assert shown(object()) == "an object of type object"
    assert shown(test_traced_numbers_pass) == "test_traced_numbers_pass"


def test_flags_functions_arrays_and_classes():
    with pytest.raises(ValueError, match="sharp must be True or False, got 1"):
        flag("sharp", 1)
    with pytest.raises(ValueError, match=r"f must be a function, called as f\(x\), got 3\."):
        function("f", 3, "f(x)")
    with pytest.raises(ValueError, match=r"x must hold real numbers, got 'a'\."):
        numbers("x", "a")
    assert numbers("x", [[1, 2]]) == (1, 2)
    with pytest.raises(ValueError, match=r"law must be a law, got 3\."):
        instance("law", 3, jf.init.Law, "a law")


@pytest.mark.parametrize("key", [10**30, -1, 0.5, "0", object()], ids=shown)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match=r"^A key is jax.random.key\(0\), or [^\n]*\.$"):
        as_key(key)
