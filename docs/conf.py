"""How Sphinx builds these pages: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # an installed wsrpc is this tree as well

import wsrpc

project = "wsrpc"
author = "The wsrpc developers"
copyright = author
release = version = wsrpc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["measurements"]
html_theme = "furo"
html_title = f"wsrpc {release}"
html_copy_source = False

myst_heading_anchors = 3

default_role = "code"  # docstrings say `name` where reST would want ``name``
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes belong to their class's text


def setup(app):
    app.connect("autodoc-process-docstring", undo_type, priority=600)  # after napoleon, which has 500


def undo_type(app, what, name, obj, options, lines):
    """Napoleon takes what stands before a colon in a property's first line for its type; our docstrings have none."""
    marks = [number for number, line in enumerate(lines) if line.startswith(":type: ")]
    if what == "property" and marks:
        lines[0] = f"{lines[marks[0]].removeprefix(':type: ')}: {lines[0]}"
        del lines[marks[0]]
