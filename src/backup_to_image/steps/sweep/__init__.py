"""Sweep up what nobody needs any more and somebody pays for: dead images, drill servers that stayed, shares that are over.

In two steps. What is seen for the first time is marked in the journal and told; it is removed when it has been seen for the grace
time, and only where that is ordered. So nothing goes of which nobody could have known, and what is merely slow has time to end.
Only what carries our mark in this project is touched. No backup is deleted, no server but a drill's, and no image that could be
of use: those of servers that are gone are told and left to retention.
"""

from __future__ import annotations

from backup_to_image.model.swept import Listed, NotRemoved, Removed, Sweeping, Swept
from backup_to_image.steps.sweep.run import sweep

__all__ = ["Listed", "NotRemoved", "Removed", "Sweeping", "Swept", "sweep"]
