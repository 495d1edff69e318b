"""Settings of Sphinx, which builds the site: ``tox run -e docs``."""

from __future__ import annotations

from pytest_trtgate import __version__

project = "pytest-trtgate"
author = "The pytest-trtgate authors"
project_copyright = "The pytest-trtgate authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
# A reference into this package must lead somewhere; other projects' pages cannot be looked up without a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!pytest_trtgate\.).*")]

html_theme = "furo"
html_title = f"pytest-trtgate {__version__}"
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

# `tox run -e docs-links` asks each of these whether it is there.
linkcheck_timeout = 20
linkcheck_retries = 2
