"""Tables and links for Prefect's UI."""

from stashhog_core.markdown import link, scene_link, table


def test_row_stays_whole() -> None:
    """A bar or a new line in a value does not start another cell or row."""
    rows = [{"name": "a|b\nc", "size": 3}, {"name": None, "size": 0}]

    assert table(rows) == (
        "| name | size |\n| --- | --- |\n| a\\|b c | 3 |\n|  | 0 |\n"
    )


def test_nothing_to_show_is_said() -> None:
    """An empty table would be an empty page."""
    assert table([]) == "Nothing.\n"


def test_brackets_belong_to_the_text() -> None:
    """A title such as `[HD] film` is linked as a whole."""
    assert link("[HD] film", "http://stash/1") == "[\\[HD\\] film](http://stash/1)"


def test_scene_is_linked_where_its_server_is_known() -> None:
    """At the second that is meant, if any."""
    assert scene_link("One", None, 7) == "One"
    assert scene_link("One", "http://stash", 7) == "[One](http://stash/scenes/7)"
    assert scene_link("One", "http://stash", 7, 1.5).endswith("/scenes/7?t=1.5)")
