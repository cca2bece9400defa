"""Templates of pages, with what all of them share: ``pieces.html.j2``."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

__all__ = ["template"]


@cache
def template(module: str, name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """The template `name` beside a module, with its filters; it may import ``pieces.html.j2``."""
    import jinja2  # only where a page is written

    folders = [
        jinja2.PackageLoader(place, ".") for place in (module, "forcemap.fitter.report.report")
    ]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(folders), autoescape=True, trim_blocks=True
    )
    environment.filters["b64"] = lambda text: base64.b64encode(text.encode()).decode()
    environment.filters.update(filters)
    return environment.get_template(name)
