"""The examples in the docstrings of the main names run and print what they say."""

import doctest
import inspect

import pytest

import jaxflow as jf

ROOMS = {"": jf, "theory.": jf.theory, "init.": jf.init, "data.": jf.data, "measures.": jf.measures}
EXAMPLES = {
    prefix + name: inspect.getdoc(getattr(room, name))
    for prefix, room in ROOMS.items()
    for name in getattr(room, "__all__", dir(room))
    if not name.startswith("_") and callable(getattr(room, name))
    if ">>>" in (inspect.getdoc(getattr(room, name)) or "")
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_it_says(name):
    example = doctest.DocTestParser().get_doctest(EXAMPLES[name], {}, name, None, None)
    said = []
    found = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
        example, out=said.append
    )
    assert found.attempted > 0
    assert found.failed == 0, "".join(said)
