"""The evidence of a run of a runbook: a record in a chain of records that shows later changes, and a page to read and to print.

A record holds the whole run and what it measured; whoever keeps a record's hash elsewhere can prove the chain by it.
"""

from backup_to_image.evidence.chain import EvidenceError, verify
from backup_to_image.evidence.kept import Kept, keep_evidence, keeper
from backup_to_image.evidence.page import evidence_html
from backup_to_image.evidence.report import report_on

__all__ = ["EvidenceError", "Kept", "evidence_html", "keep_evidence", "keeper", "report_on", "verify"]
