"""Automations are applied by name."""

from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client

from flows._automations import apply_automations

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "deployments" / "automations.yaml"


def test_applying_twice_makes_no_doubles(prefect_api: str) -> None:
    """Each automation exists once, and one that was switched off stays off."""
    names = [entry["name"] for entry in yaml.safe_load(FILE.read_text())["automations"]]
    apply_automations(FILE)
    with get_client(sync_client=True) as client:
        first = client.read_automations_by_name(names[0])[0]
        client.pause_automation(first.id)

        apply_automations(FILE)

        found = {name: client.read_automations_by_name(name) for name in names}
    assert {name: len(same) for name, same in found.items()} == dict.fromkeys(names, 1)
    assert found[names[0]][0].id == first.id
    assert not found[names[0]][0].enabled
