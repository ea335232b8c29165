"""The docstrings that share entries are complete when `help()` shows them."""

import inspect
import re
import subprocess
import sys

import pytest

import jitlogreg as jlr
from jitlogreg import _docs

DOCUMENTED = [jlr.forward, jlr.log_forward, jlr.loss, jlr.gradient, jlr.loss_and_gradient, jlr.Objective]


@pytest.mark.parametrize("described", DOCUMENTED, ids=lambda described: described.__name__)
def test_every_parameter_is_described_once_and_in_order(described):
    doc = inspect.getdoc(described)
    assert "%(" not in doc
    section = doc.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    assert re.findall(r"^(\w+) : ", section, re.MULTILINE) == list(inspect.signature(described).parameters)
    assert all(len(line) <= 120 for line in doc.splitlines())


def test_an_entry_is_indented_as_its_placeholder():
    @_docs.documented
    def function():
        """Summary of 5 %(l2)s.

        %(l2)s
            More.
        """

    text = inspect.getdoc(function)
    assert text.splitlines()[0] == "Summary of 5 %(l2)s."
    assert text.splitlines()[2:] == [*_docs.ENTRIES["l2"].strip().splitlines(), "    More."]


def test_an_unknown_entry_raises():
    def function():
        """
        %(nothing)s
        """

    with pytest.raises(KeyError, match="nothing"):
        _docs.documented(function)


def test_without_docstrings():
    code = "import jitlogreg as jlr; print(jlr.loss.__doc__, jlr.Objective.__doc__)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None"]
