"""Tables as Markdown: what stands in a cell stays in it."""

from harness.tables import markdown


def test_a_table_in_markdown():
    rows = [["set", "error", "count"], ["a|b", 0.123456, None], ["two\nlines", 2e-7, 1_000]]
    assert markdown(rows).splitlines() == [
        "| set | error | count |",
        "| --- | ---: | ---: |",
        "| a\\|b | 0.1235 |  |",
        "| two lines | 2e-07 | 1000 |",
    ]
