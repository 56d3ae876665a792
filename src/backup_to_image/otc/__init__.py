"""The client of this cloud: httpx in, typed values out. Start with `Cloud.connect(credentials)`.

What it promises: a request that makes something is sent once; a refusal comes as the error that its code stands for; what was not
heard comes as NoAnswer; everything else is repeated for a short time inside one request budget.
"""

from backup_to_image.otc.cloud import Cloud
from backup_to_image.otc.config import read_clouds
from backup_to_image.otc.credentials import Credentials
from backup_to_image.otc.trace import Exchange

__all__ = ["Cloud", "Credentials", "Exchange", "read_clouds"]
