import json
from pathlib import Path
from typing import Any

import pytest

from backup_to_image.otc.signing import authorization, canonical_request

FILE = json.loads((Path(__file__).parents[1] / "contract" / "signing-vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "vector", FILE["vectors"], ids=lambda vector: f"{vector['flavor']}-{vector['method']}-{vector.get('region', '')}"
)
def test_a_signature_is_what_public_clients_compute(vector: dict[str, Any]) -> None:
    query = [(name, value) for name, value in vector["query"]]
    asked: dict[str, Any] = {"method": vector["method"], "path": vector["path"], "query": query, "headers": vector["headers"]}
    assert canonical_request(**asked, content=vector["body"].encode())[0] == vector["canonical_request"]
    header = authorization(
        access_key=FILE["access_key"],
        secret_key=FILE["secret_key"],
        **asked,
        content=vector["body"].encode(),
        form=vector["flavor"],
        region=vector.get("region", ""),
        service=vector.get("service", ""),
    )
    assert header == vector["authorization"]


def test_both_forms_are_among_the_vectors() -> None:
    assert {vector["flavor"] for vector in FILE["vectors"]} == {"plain", "scoped"}
