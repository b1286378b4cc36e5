"""Configure Sphinx; `make docs` builds with it, warnings as errors."""

import re

from sphinx.ext import autosummary

import fpigauss
import fpigauss_torch

project = "fpigauss"
author = "fpigauss developers"
copyright = "fpigauss developers"
version = release = fpigauss.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
smartquotes = False  # the primes of formulas are not quotation marks
default_role = "autolink"  # links a name it knows, and leaves any other as it is

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give types, with shapes
autodoc_member_order = "bysource"
numpydoc_xref_param_type = True  # types link to their pages: ours, and no others
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    name: f"{package.__name__}.{name}"
    for package in (fpigauss, fpigauss_torch)
    for name in package.__all__
    if not name.startswith("_")
}
numpydoc_show_class_members = False  # _templates/autosummary/class.rst lists them, once

# No inventories are downloaded, so names of other packages have no page to link to.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|scipy|torch|enum|collections|typing)\..*"),
    ("py:class", r"[A-Z]\w*(Error|Warning)"),  # the built-in bases of ours
    (".*", r"(python|numpy)(:.*)?"),  # what numpydoc links types to by itself
]

html_theme = "furo"
html_title = f"fpigauss {release}"
html_static_path = ["_static"]

# A summary ends with its first sentence, which "Eq. 4" does not end.
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Eqs.")


class Summaries(autosummary.Autosummary):
    """Tables of names and summaries, without the citations that only the full pages resolve."""

    def get_items(self, names):
        """Return name, signature, summary and full name of each object."""
        return [
            (name, signature, re.sub(r" \[R\w+-\d+\]_", "", summary), full)
            for name, signature, summary, full in super().get_items(names)
        ]


def setup(app):
    """Replace the directive of autosummary."""
    app.add_directive("autosummary", Summaries, override=True)
