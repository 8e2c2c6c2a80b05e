"""Applying deployments/automations.yaml: each automation once, known by its name."""

import sys
from pathlib import Path

import yaml
from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client


def apply_automations(path: Path) -> None:
    """Create the automations of a file, or bring the existing ones to its state.

    Whether an existing one is switched on is the user's and stays.
    """
    wanted = yaml.safe_load(path.read_text())["automations"]
    with get_client(sync_client=True) as client:
        for values in wanted:
            automation = AutomationCore.model_validate(values)
            existing = client.read_automations_by_name(automation.name)
            if not existing:
                client.create_automation(automation)
                continue
            kept, *doubles = existing
            update = automation.model_copy(update={"enabled": kept.enabled})
            client.update_automation(kept.id, update)
            for double in doubles:
                client.delete_automation(double.id)


if __name__ == "__main__":
    apply_automations(Path(sys.argv[1]))
