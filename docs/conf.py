"""Settings of Sphinx, which builds the site: ``tox run -e docs``."""

from __future__ import annotations

from sphinx.application import Sphinx

from pytest_trtgate import __version__

project = "pytest-trtgate"
author = "The pytest-trtgate authors"
project_copyright = "The pytest-trtgate authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

napoleon_use_ivar = True
autodoc_class_signature = "separated"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
# A reference into this package must lead somewhere; other projects' pages cannot be looked up without a network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!pytest_trtgate\.).*")]

add_module_names = False
highlight_language = "none"

html_theme = "furo"
html_title = f"pytest-trtgate {__version__}"
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

# `tox run -e docs-links` asks each of these whether it is there.
linkcheck_timeout = 20
linkcheck_retries = 2
html_static_path = ["_static"]
html_css_files = ["site.css"]

_COLON = "\ue000"


def setup(app: Sphinx) -> None:
    """Let what a property says be read as it stands: napoleon takes words before a colon for a type."""

    def hide(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        if what == "property" and lines:
            lines[0] = lines[0].replace(":", _COLON)

    def show(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        lines[:] = [line.replace(_COLON, ":") for line in lines]

    app.connect("autodoc-process-docstring", hide, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-docstring", show, priority=600)
