"""Pictures, reports and files of explanations, made from records alone."""

from .figures import plot_attribution, plot_explanation
from .files import load_explanation, save_explanation, save_report
from .report import explanation_html, report_html

__all__ = [
    "explanation_html",
    "load_explanation",
    "plot_attribution",
    "plot_explanation",
    "report_html",
    "save_explanation",
    "save_report",
]
