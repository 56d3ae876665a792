"""What people read about a night: one sentence, a page in Markdown, a page in HTML with its picture, the plan of a dry run.

Pure: a report or a plan in, text out. Times are told in the zone that is given, since nights are local.
"""

from backup_to_image.night_pages.html import night_html
from backup_to_image.night_pages.kept import keep_night, write_night
from backup_to_image.night_pages.markdown import night_markdown, plan_markdown
from backup_to_image.night_pages.plan import PlanRow, plan_rows, plan_sentence, quota_line
from backup_to_image.night_pages.timeline import timeline_svg
from backup_to_image.night_pages.words import OUTCOMES, summary

__all__ = [
    "OUTCOMES",
    "PlanRow",
    "keep_night",
    "night_html",
    "night_markdown",
    "plan_markdown",
    "plan_rows",
    "plan_sentence",
    "quota_line",
    "summary",
    "timeline_svg",
    "write_night",
]
