"""Pictures, reports and files of explanations, made from records alone."""

from .evidence_figure import plot_evidence, save_evidence
from .figures import plot_attribution, plot_explanation
from .files import load_explanation, save_explanation, save_report
from .filter_files import load_filters, save_filters
from .filter_sheet import plot_filters
from .filters import filters_html
from .leaderboard import leaderboard_html
from .leaderboard_figure import plot_leaderboard
from .leaderboard_files import load_leaderboard, save_leaderboard
from .report import explanation_html, report_html

__all__ = [
    "explanation_html",
    "filters_html",
    "leaderboard_html",
    "load_explanation",
    "load_filters",
    "load_leaderboard",
    "plot_attribution",
    "plot_evidence",
    "plot_explanation",
    "plot_filters",
    "plot_leaderboard",
    "report_html",
    "save_evidence",
    "save_explanation",
    "save_filters",
    "save_leaderboard",
    "save_report",
]
