"""Builds the site: `python -m sphinx -W -b html docs OUT`. It needs no network, and its pages load nothing from one."""

import re

import latex2mathml.converter
from docutils import nodes

import jitlogreg

project, author = "jitlogreg", "the jitlogreg developers"
version = release = jitlogreg.__version__
copyright = author  # noqa: A001 (Sphinx's own name)

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

# Members stand on the page of their class: each of its methods has a full docstring there
numpydoc_show_class_members = False
default_role = "py:obj"  # as numpydoc's readers expect of `name`
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"  # the docstrings say more: shapes, and what is accepted
autosummary_generate = True
templates_path = ["templates"]

html_theme = "furo"
html_title = f"jitlogreg {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False


def _mathml(latex, display):
    return latex2mathml.converter.convert(latex, display=display)


def _visit_inline(writer, node):
    writer.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _visit_block(writer, node):
    writer.body.append(f'<div class="math">{_mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


# Pages link to these as files of the checkout; the site has them as pages
_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}


def _adapt(app, name, source):
    up = "../" * name.count("/")
    for file, page in _PAGES.items():
        source[0] = source[0].replace(f"]({up}../{file}", f"]({up}{page}")
    # the blank line in which a doctest's output ends
    source[0] = re.sub(r"\n\n```\n(?=\n|\Z)", "\n```\n", source[0])


def _skip_fields(app, what, name, member, skip, options):
    """The fields of a named tuple stand in its docstring."""
    return True if type(member).__name__ == "_tuplegetter" else None


def setup(app):
    """Formulas become MathML, which browsers render themselves."""
    app.connect("source-read", _adapt)
    app.connect("autodoc-skip-member", _skip_fields)
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
