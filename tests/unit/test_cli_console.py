"""Tables of the terminal."""

from collections.abc import Iterator

import pytest

from stashhog.cli.console import ROWS_PER_TABLE, print_table


def test_a_long_table_is_printed_while_its_rows_come(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows are on the terminal before the last row is read, each of them once."""
    total = 2 * ROWS_PER_TABLE + 1
    printed = ""

    def rows() -> Iterator[tuple[str, str]]:
        nonlocal printed
        for number in range(total):
            printed += capsys.readouterr().out
            if number >= ROWS_PER_TABLE:
                assert f"row {number % ROWS_PER_TABLE}." in printed
            yield str(number), f"row {number}."

    assert print_table(("Id", "Name"), rows()) == total
    printed += capsys.readouterr().out
    assert [printed.count(f"row {number}.") for number in range(total)] == [1] * total
    assert printed.count("Name") == 3


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """It still says what its columns would be."""
    assert print_table(("Id", "Name"), ()) == 0
    assert "Name" in capsys.readouterr().out
