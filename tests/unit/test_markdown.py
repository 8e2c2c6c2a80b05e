"""Text, tables and links for Prefect's UI."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from stashhog_core.markdown import cells, in_lines, link, scene_link, table, text
from stashhog_core.redaction import visible

NAMES = [
    "<img src=x onerror=alert(1)>",
    "</td></table><input>",
    "# heading",
    "1. list",
    "- list",
    "> quotation",
    "a|b\\|c",
    "ends with a backslash\\",
    "[x] [text](http://elsewhere) ![](http://elsewhere/a.png)",
    "foreign\\](http://elsewhere)",
    "`code` *stars* __lines__ ~~gone~~ my_file_name.mp4",
    "&lt;b&gt; &#60;",
    "http://elsewhere www.elsewhere me@elsewhere",
    "<http://elsewhere>",
    "two\nlines\tand a tab",
    "\u202egnp.exe \x9b31m \u2066x",
    "---",
    "$math$",
]


def inline(markdown: str) -> list[Token]:
    """Return what a row of a table, or a paragraph, is made of."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parts = [token for token in parser.parse(markdown) if token.type == "inline"]
    return [child for part in parts for child in part.children or []]


def shown(markdown: str) -> str:
    return "".join(token.content for token in inline(markdown))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    """In a cell, in a list, in a link: nothing in it is markup."""
    expected = visible(name).strip()

    in_table = table([{"heading": name}])
    in_list = f"- {text(name)}\n"
    linked = inline(link(name, "http://stash/1"))

    assert shown(in_table) == f"heading{expected}"
    assert shown(in_list) == expected
    assert {t.type for t in inline(in_table) + inline(in_list)} <= PLAIN
    assert [t.attrs.get("href") for t in linked if t.type == "link_open"] == [
        "http://stash/1"
    ]
    assert "".join(t.content for t in linked) == expected


PLAIN = {"text", "text_special"}


@given(st.text(st.characters(codec="utf-8"), min_size=1))
@example("\\\\|")
def test_no_name_is_markup(name: str) -> None:
    """Whatever it is made of."""
    rendered = inline(table([{"heading": name}, {"heading": "last"}]))

    assert {token.type for token in rendered} <= PLAIN
    said = "".join(token.content for token in rendered)
    # Blanks at the ends are not shown.
    assert said == f"heading{visible(name).strip()}last"


def test_what_would_be_a_link_by_itself_is_none() -> None:
    """Prefect's UI makes links of addresses, unless they are broken up."""
    assert text("http://a") == "http\\://a"
    assert text("www.a") == "www\\.a"
    assert text("me@a") == "me\\@a"


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


def test_a_link_leads_where_it_should() -> None:
    """A parenthesis or a blank in an address does not end it."""
    assert link("a", "http://h/(x) y") == "[a](http://h/%28x%29%20y)"


def test_scene_is_linked_where_its_server_is_known() -> None:
    """At the second that is meant, if any."""
    assert scene_link("One", None, 7) == "One"
    assert scene_link("One", "http://stash", 7) == "[One](http://stash/scenes/7)"
    assert scene_link("One", "http://stash", 7, 1.5).endswith("/scenes/7?t=1.5)")


def test_prefects_own_tables_show_text() -> None:
    """Their cells are no Markdown; only what is unseen is replaced."""
    rows = [{"name": "<b>|\u202e", "size": 3}]

    assert cells(rows) == [{"name": "<b>|\ufffd", "size": 3}]


@given(
    st.lists(
        st.tuples(st.text(max_size=300), st.text(max_size=300), st.integers(0, 10**6)),
        min_size=1,
        max_size=5,
    )
)
@example([("scene 5", "word " * 60, 1), ("x" * 200, "", 2)])
def test_a_table_fits_its_page(found: list[tuple[str, str, int]]) -> None:
    """Prefect's UI breaks no line of a table and hides what sticks out."""
    rows = [dict(zip(("change", "why", "id"), row, strict=True)) for row in found]
    widths = [0, 0, 0]
    for line in table(rows).splitlines()[2:]:
        parts = [
            part.children or []
            for part in MarkdownIt("commonmark")
            .enable("table")
            .parse(f"| a | b | c |\n|---|---|---|\n{line}\n")
            if part.type == "inline"
        ][3:]
        for place, tokens in enumerate(parts):
            shown = "".join(
                "\n" if token.type == "html_inline" else token.content
                for token in tokens
            )
            widths[place] = max(widths[place], *map(len, shown.split("\n")))

    assert sum(widths) <= 103


def test_a_long_text_is_broken_between_words() -> None:
    """What is short, and what is a link, stays as it is."""
    assert in_lines("one two three", 8) == "one two<br>three"
    assert in_lines("a*b and more", 5) == "a\\*b<br>and<br>more"
    assert in_lines("short", 5) == "short"
    assert in_lines(link("a long link", "http://stash"), 5) == (
        "[a long link](http://stash)"
    )
