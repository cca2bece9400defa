"""Templates of pages, with what all of them share: ``pieces.html.j2``."""

from __future__ import annotations

import base64
from functools import cache

import jinja2

__all__ = ["template"]


@cache
def template(module: str, name: str) -> jinja2.Template:
    """The template `name` beside a module; it may import ``pieces.html.j2``."""
    folders = [
        jinja2.PackageLoader(place, ".") for place in (module, "forcemap.fitter.report.report")
    ]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders), autoescape=True, trim_blocks=True
    )
    environment.filters["b64"] = lambda text: base64.b64encode(text.encode()).decode()
    return environment.get_template(name)
