from __future__ import annotations

from backup_to_image.doctor.rows import Row

ROWS: dict[str, Row] = {}
