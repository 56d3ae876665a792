"""What people fill in at Prefect's door: orders as forms, and files of the worker by their names.

A form is flat and has no unions, since the UI cannot fill those in; each rule stands in its description too, because the UI shows
descriptions and hides patterns and limits.
"""

from backup_to_image.forms.action import ActionForm
from backup_to_image.forms.fields import as_text, length
from backup_to_image.forms.files import files_in, launch_order, policies_of, policy_named, runbook_named
from backup_to_image.forms.filled_in import FilledInForm
from backup_to_image.forms.image import ImageForm, OrderForm, ServerForm
from backup_to_image.forms.runbooks import (
    ApprovalAnswer,
    DrillForm,
    FailoverForm,
    FailureAnswer,
    RunbookCheckForm,
    RunbookForm,
    RunbookReportForm,
)
from backup_to_image.forms.servers import ChangeForm, LaunchForm, LaunchingForm, TeardownForm
from backup_to_image.forms.sharing import (
    AcceptForm,
    AcceptOffersForm,
    HandOverForm,
    RejectForm,
    ShareForm,
    UnshareForm,
    expected_launch,
)

__all__ = [
    "AcceptForm",
    "AcceptOffersForm",
    "ActionForm",
    "ApprovalAnswer",
    "ChangeForm",
    "DrillForm",
    "FailoverForm",
    "FailureAnswer",
    "FilledInForm",
    "HandOverForm",
    "ImageForm",
    "LaunchForm",
    "LaunchingForm",
    "OrderForm",
    "RejectForm",
    "RunbookCheckForm",
    "RunbookForm",
    "RunbookReportForm",
    "ServerForm",
    "ShareForm",
    "TeardownForm",
    "UnshareForm",
    "as_text",
    "expected_launch",
    "files_in",
    "launch_order",
    "length",
    "policies_of",
    "policy_named",
    "runbook_named",
]
