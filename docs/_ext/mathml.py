"""Formulas as MathML, which browsers show without a script: the site works offline.

Converted by latex2mathml, in place of MathJax; numbers of equations are Sphinx's own.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml import exceptions
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

__all__ = ["setup"]

FAULTS = tuple(
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
)
"""What the converter raises for a formula that is not one."""

logger = logging.getLogger(__name__)


def converted(node: nodes.Node, display: str) -> str:
    """The formula of a node as a <math> element; what cannot be converted is a warning."""
    text = node.astext().strip()
    try:
        markup = convert(text, display=display)
    except FAULTS as fault:
        logger.warning("formula %r: %s", text, type(fault).__name__, location=node)
        return ""
    if "\\" in markup:
        logger.warning("formula %r has a command that MathML does not know", text, location=node)
    return markup


def visit_inline(writer: Any, node: nodes.math) -> None:
    """A formula within a line."""
    writer.body.append(converted(node, "inline"))
    raise nodes.SkipNode


def visit_block(writer: Any, node: nodes.math_block) -> None:
    """A formula on a line of its own, with its number if it has a label."""
    attributes = {"CLASS": "math"}
    if node.get("label"):
        attributes["ids"] = [f"equation-{node['label']}"]
    writer.body.append(writer.starttag(node, "div", **attributes))
    writer.body.append(converted(node, "block"))
    if node.get("number"):
        writer.body.append(f'<span class="eqno">({node["number"]})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
