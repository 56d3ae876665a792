"""What a code of this cloud means and what to do about it, for an operator at 3 am (BEHAVIOUR.md 15)."""

from backup_to_image.doctor.diagnosis import Diagnosis, diagnose, known_codes

__all__ = ["Diagnosis", "diagnose", "known_codes"]
