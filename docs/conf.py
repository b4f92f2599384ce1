"""Sphinx: Markdown pages and the API, with formulas as MathML so that the pages need no network and no script."""

import re
from importlib.metadata import version as installed

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

project = "lipbounds"
copyright = "2026, The lipbounds authors"
version = release = installed("lipbounds")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "results"]
html_theme = "furo"
html_math_renderer = "mathml"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_custom_sections = ["Source"]


def _inline(self, node):
    self.body.append(convert(node.astext()))
    raise SkipNode


def _display(self, node):
    self.body.append(f"<div>{convert(node.astext(), display='block')}</div>")
    raise SkipNode


def _from_paper_style(app, what, name, obj, options, lines):
    """Docstrings write formulas between dollars and norms between bars; reStructuredText wants a role and an escape."""
    text = "\n".join(line if line.lstrip().startswith(">>>") else line.replace("|", r"\|") for line in lines)
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: "\n\n.. math:: " + _one_line(m[1]) + "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"\$(.+?)\$", lambda m: ":math:`" + _one_line(m[1]) + "`", text, flags=re.DOTALL)
    lines[:] = text.split("\n")


def _one_line(formula):
    return " ".join(formula.replace(r"\|", "|").split())


def setup(app):
    """Register the MathML renderer and the conversion of docstrings."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_display, None))
    app.connect("autodoc-process-docstring", _from_paper_style, priority=900)
