"""The services of the region, found by the names of their modules; `Service` is what each module must say about itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from .cloud import Cloud, Transition
from .routing import PORT_ORDER, Operation
from .wire import Answer, Call, Doc, Problem, Refusal

__all__ = ["Handler", "Helper", "Malformed", "Service", "services"]

# Carries out one operation: changes the cloud through save, new and remove and answers, or raises a Refusal before it does.
Handler = Callable[[Cloud, Call], Answer]

# Answers a GET beside the contract: cloud, the caller's project, path parameters, query.
Helper = Callable[[Cloud, str, dict[str, str], dict[str, str]], Answer]

# Puts a request that does not fit the contract into the service's own words. The Doc is the raw body where it was readable JSON.
Malformed = Callable[[Operation, Problem], Refusal]


@dataclass(frozen=True, slots=True)
class Service:
    """A service: operationId -> handler, how it refuses malformed requests, what its things do when their time comes."""

    name: str
    routes: dict[str, Handler]
    malformed: Malformed
    transitions: dict[str, Transition] = field(default_factory=dict[str, Transition])
    # Bodies that the contract leaves out although the real service takes them up, and answers in its own way.
    admits: Callable[[Operation, Problem], bool] = lambda operation, problem: False  # noqa: ARG005 - the common case
    discovery: dict[str, Callable[[Cloud, str], Doc]] = field(default_factory=dict[str, Callable[[Cloud, str], Doc]])
    helpers: dict[str, Helper] = field(default_factory=dict[str, Helper])  # path templates that ready-made clients need beside it


@cache
def services() -> dict[str, Service]:
    """Every service by name: each module of this package named like one exports `SERVICE`."""
    found: dict[str, Service] = {}
    for name in PORT_ORDER:
        found[name] = importlib.import_module(f"{__package__}.{name}").SERVICE
    return found
