"""The application shell: the terminal, the services, and runs without a server."""

from pathlib import Path


def project_file(path: str) -> Path:
    """Return a file of the project, wherever StashHog is installed.

    Args:
        path: Path of the file in a checkout. An installed wheel holds prefect.yaml,
            the automations and the example of the settings; see pyproject.toml.
    """
    shipped = Path(__file__).parent / "data" / Path(path).name
    return shipped if shipped.exists() else Path(__file__).parents[1] / path
