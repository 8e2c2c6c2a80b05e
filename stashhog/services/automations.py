"""Applying deployments/automations.yaml: each automation once, known by its name."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from stashhog_core.errors import ConfigurationError

_WEBHOOK = "webhook"
"""The kind of block that is called with a payload, not given a text."""


def apply_automations(path: Path, blocks: Sequence[str] = ()) -> None:
    """Create the automations of a file, or bring the existing ones to its state.

    Whether an existing one is switched on is the user's and stays. One that is in that
    state already is left alone: with each update, Prefect's server (3.8.8) forgets the
    events that it has waited for a sequel of, such as the heartbeats of runs that have
    died since.

    Args:
        path: The file.
        blocks: Whom to notify, as type/name of Prefect blocks. Without any, automations
            that only notify are removed.

    Raises:
        ConfigurationError: There is no such block or deployment.
    """
    wanted = yaml.safe_load(path.read_text())["automations"]
    with get_client(sync_client=True) as client:
        for values in wanted:
            actions = [
                action
                for written in values["actions"]
                for action in _actions(client, written, blocks)
            ]
            existing = client.read_automations_by_name(values["name"])
            if not actions:
                for unwanted in existing:
                    client.delete_automation(unwanted.id)
                continue
            automation = AutomationCore.model_validate({**values, "actions": actions})
            if not existing:
                client.create_automation(automation)
                continue
            kept, *doubles = existing
            update = automation.model_copy(update={"enabled": kept.enabled})
            if update != AutomationCore.model_validate(kept.model_dump()):
                client.update_automation(kept.id, update)
            for double in doubles:
                client.delete_automation(double.id)


def _actions(
    client: SyncPrefectClient, written: Mapping[str, Any], blocks: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield what Prefect is to do, with names looked up."""
    action = dict(written)
    if message := action.pop("tell", None):
        for block in blocks:
            yield _notification(client, block, message)
    elif name := action.pop("deployment", None):
        try:
            deployment = client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise ConfigurationError(
                f"There is no deployment {name}", remedy="run `stashhog up` again"
            ) from error
        yield {**action, "source": "selected", "deployment_id": deployment.id}
    else:
        yield action


def _notification(
    client: SyncPrefectClient, block: str, message: Mapping[str, str]
) -> dict[str, Any]:
    kind, _, name = block.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind)
    except ObjectNotFound as error:
        raise ConfigurationError(
            f"There is no Prefect block {block}",
            where="STASHHOG_NOTIFICATIONS__BLOCKS",
            remedy="create the block under Blocks in Prefect's UI, or remove the block",
        ) from error
    found = {"block_document_id": document.id}
    if kind == _WEBHOOK:
        return {"type": "call-webhook", "payload": _as_json(message), **found}
    return {"type": "send-notification", **message, **found}


def _as_json(message: Mapping[str, str]) -> str:
    """Return the template of a JSON object with these templates as its values."""
    blocks = "".join(
        f"{{% set {name} %}}{text}{{% endset %}}" for name, text in message.items()
    )
    fields = ", ".join(f'"{name}": {{{{ {name}|tojson }}}}' for name in message)
    return f"{blocks}{{{fields}}}"
