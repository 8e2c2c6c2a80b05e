"""Tables and links for the Markdown that Prefect's UI shows."""

from collections.abc import Mapping, Sequence


def cell(value: object) -> str:
    """Return a value as a cell; whatever a file is called, the row stays whole."""
    text = "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def link(text: str, url: str) -> str:
    """Return a link that has this text, brackets and all."""
    text = text.replace("[", "\\[").replace("]", "\\]")
    return f"[{text}]({url})"


def scene_link(
    text: str, link_base: str | None, scene_id: int, second: float | None = None
) -> str:
    """Return a link to a scene in Stash, or the text alone.

    Args:
        text: What is shown.
        link_base: What the addresses of Stash's pages begin with; None: no link.
        scene_id: The scene.
        second: Where it is to play from.
    """
    if link_base is None:
        return text
    at = "" if second is None else f"?t={second:g}"
    return link(text, f"{link_base}/scenes/{scene_id}{at}")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as a table, headed by the keys of the first.

    Prefect's own tables show links as the text they are written in.
    """
    if not rows:
        return "Nothing.\n"
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[cell(value) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
