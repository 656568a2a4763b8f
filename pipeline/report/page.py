"""One page that holds everything, for a browser or a printer."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.report.comparison import Comparison
from pipeline.report.figures import Drawing
from pipeline.report.tables import IN_BRACKETS, protocols, table_of


def page(comparison: Comparison, drawings: Sequence[Drawing], command: str) -> str:
    """HTML that refers to nothing outside itself. `command` made the report."""
    templates = Environment(loader=PackageLoader("pipeline.report", "."), autoescape=True, undefined=StrictUndefined)
    return templates.get_template("page.html").render(
        comparison=comparison,
        table=table_of(comparison),
        protocols=list(protocols(comparison)),
        drawings=[(drawing, b64encode(drawing.svg).decode()) for drawing in drawings],
        in_brackets=IN_BRACKETS,
        command=command,
        version=version("iris-ray"),
    )
