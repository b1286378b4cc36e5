"""Configure Sphinx; `make docs` builds with it, warnings as errors."""

import hashlib
import logging
import shutil
import sys
from importlib.metadata import files
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS
from sphinx.ext import autosummary

import fpigauss
import fpigauss_torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the root, where tools/ is

from tools import docs_pages, inventory, results_pages

project = "fpigauss"
author = "fpigauss developers"
copyright = "fpigauss developers"
version = release = fpigauss.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "notfound.extension",
    "numpydoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
suppress_warnings = [
    "myst.header",  # what is included has no title of its own
    "sphinx_gallery.space_in_filename",  # the folder of a clone may have one, no page does
]
templates_path = ["_templates"]
smartquotes = False  # the primes of formulas are not quotation marks
default_role = "autolink"  # links a name it knows, and leaves any other as it is

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give types, with shapes
autodoc_member_order = "bysource"
numpydoc_xref_param_type = True  # types link to their pages: ours, and those of links.txt
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    name: f"{package.__name__}.{name}"
    for package in (fpigauss, fpigauss_torch)
    for name in package.__all__
    if not name.startswith("_")
}
# Words such as "array" and "float" stay words: an array may be of any library.
numpydoc_xref_aliases |= {name: name for name in DEFAULT_LINKS}

LINKS = Path(__file__).with_name("links.txt")
intersphinx_mapping = inventory.write(LINKS, LINKS.with_name("generated"))
numpydoc_xref_aliases |= {name: f":obj:`{name}`" for name in inventory.names(LINKS)}
numpydoc_show_class_members = False  # _templates/autosummary/class.rst lists them, once

# Other names of other packages have no page to link to.
nitpick_ignore_regex = [
    ("py:.*", r"(numpy|scipy|torch|enum|collections|typing)\..*"),
    ("py:class", r"[A-Z]\w*(Error|Warning)"),  # the built-in bases of ours
]

# MathJax, so that formulas show without a connection: one file, with the fonts in it. It is taken
# from a package of PyPI, and has to be the one that the MathJax project publishes (3.2.2,
# es5/tex-svg.js).
mathjax_path = "tex-svg.js"
MATHJAX_SHA256 = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"

html_theme = "furo"
html_title = f"fpigauss {release}"
html_static_path = ["_static"]

html_css_files = ["custom.css"]
# What is copied is what to type: without prompts and output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
notfound_urls_prefix = "/"  # wherever a host serves the site as a whole

# The gallery: scripts named plot_*.py, whose neighbors are no pages of it.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery", "../examples/flows"],
    "gallery_dirs": ["gallery", "gallery_flows"],
    "filename_pattern": "/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "tools.gallery.InOrder",
    "doc_module": ("fpigauss", "fpigauss_torch"),
    "backreferences_dir": "generated/used_by",
    "capture_repr": (),
    "inspect_global_variables": False,
    "show_signature": False,
    "write_computation_times": False,
}

logging.getLogger("jax").setLevel(logging.WARNING)  # it tells of every device that is missing

# A summary ends with its first sentence, which "Eq. 4" does not end.
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Eqs.")


def ship_mathjax(app, exception):
    """Put the file of MathJax beside the other scripts of the site."""
    if exception is None and app.builder.format == "html":
        (file,) = (f for f in files("sphinx-mathjax-offline") if f.name == mathjax_path)
        source = Path(file.locate())
        if hashlib.sha256(source.read_bytes()).hexdigest() != MATHJAX_SHA256:
            raise ValueError(f"{source} is not the file that the MathJax project publishes")
        shutil.copyfile(source, Path(app.outdir, "_static", mathjax_path))


def skip_fields(app, what, name, obj, *args):
    """Leave out fields of named tuples that only say their number: the docstrings list them."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def setup(app):
    """Write the pages that follow from other files, and ship what the site loads."""
    for pages in (docs_pages, results_pages):
        app.connect(
            "builder-inited", lambda app, pages=pages: pages.write(Path(app.srcdir, "generated"))
        )
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("build-finished", ship_mathjax)
