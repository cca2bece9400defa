"""Settings of Sphinx for the site: ``sphinx-build -W docs site`` with the extra ``docs`` installed.

The reference pages are made from the installed package while the site is built (`_ext/reference.py`),
formulas are MathML (`_ext/mathml.py`), and no page needs anything from another server.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "forcemap"
author = "the forcemap developers"
project_copyright = author
release = version = installed_version("forcemap")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "reference"]
exclude_patterns = ["README.md"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["deflist", "dollarmath", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
smartquotes = False  # options begin with two hyphens
numfig = math_numfig = True
numfig_secnum_depth = 1
numfig_format = {"figure": "Figure %s"}

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"forcemap {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#00798c", "color-brand-content": "#00798c"},
    "dark_css_variables": {"color-brand-primary": "#4fc3d5", "color-brand-content": "#4fc3d5"},
}
pygments_style = "friendly"
