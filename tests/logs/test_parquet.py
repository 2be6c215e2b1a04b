"""Descriptions of Parquet files that lie: refused before pyarrow is given the file."""

import struct

import pyarrow as pa
import pytest

from vgkeras.logs import parquet


class Int32(int):
    """An integer that is written as one of 32 bits."""


def varint(number):
    """Seven bits a byte, the lowest first."""
    head, rest = number & 127, number >> 7
    return bytes([head | 128]) + varint(rest) if rest else bytes([head])


def kind_of(value):
    kinds = {bool: 1, Int32: 5, int: 6, bytes: 8, list: 9, dict: 12}
    return kinds[type(value)]


def encoded(value):
    """A value in Thrift's compact protocol, written from its specification."""
    if isinstance(value, bool):
        return b""
    if isinstance(value, int):
        return varint(2 * value if value >= 0 else -2 * value - 1)
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, list):
        kind = kind_of(value[0]) if value else 12
        return bytes([0xF0 | kind]) + varint(len(value)) + b"".join(map(encoded, value))
    fields = (
        bytes([kind_of(field)]) + encoded(number) + encoded(field)
        for number, field in value.items()
    )
    return b"".join(fields) + b"\0"


def data_page(values=3, unpacked=10, body=b"0123456789"):
    """A page of data with its header."""
    header = {1: Int32(0), 2: Int32(unpacked), 3: Int32(len(body))}
    return encoded({**header, 5: {1: Int32(values)}}) + body


def dictionary_page(values=3, unpacked=10, body=b"0123456789"):
    header = {1: Int32(2), 2: Int32(unpacked), 3: Int32(len(body))}
    return encoded({**header, 7: {1: Int32(values)}}) + body


def column(pages, *, values=3, start=4, **changes):
    """The description of a column whose pages begin at `start`."""
    told = {5: values, 7: len(pages), 9: start}
    told.update({int(name[1:]): value for name, value in changes.items()})
    return {3: {n: value for n, value in told.items() if value is not None}}


def file_of(pages=None, *, rows=3, columns=None, footer=None):
    """A file of one group of three rows in one column, or as told."""
    pages = data_page() if pages is None else pages
    groups = [{1: columns or [column(pages)], 3: 3}]
    told = {3: rows, 4: groups, 6: b"parquet-cpp-arrow"}
    told = encoded({**told, **(footer or {})}) if footer != b"" else b""
    return b"PAR1" + pages + told + struct.pack("<I", len(told)) + b"PAR1"


def described(content):
    """What reading a file costs, by its description."""
    allowance = parquet.Allowance(10**9)
    parquet._pay_for(parquet._footer(content), content, allowance)
    return 10**9 - allowance._left


PAGE = data_page()
DICTIONARY = dictionary_page()


def test_a_file_costs_its_rows_and_its_pages():
    assert described(file_of()) == 3 * 8 + 10 + 1000


def test_a_dictionary_costs_its_entries_too():
    pages = DICTIONARY + PAGE
    told = column(pages, _9=4 + len(DICTIONARY), _11=4)

    assert described(file_of(pages, columns=[told])) == 24 + 2 * (10 + 1000) + 3 * 16


def test_every_group_and_column_is_counted():
    pages = PAGE + data_page(2)
    groups = [
        {1: [column(PAGE)] * 2, 3: 3},
        {1: [column(data_page(2), values=2, start=4 + len(PAGE))] * 2, 3: 2},
    ]

    assert described(file_of(pages, rows=5, footer={4: groups})) == 5 * 2 * 8 + 4 * 1010


LIES = {
    "more_rows_than_parts": (file_of(rows=10**6), "its parts have not as many rows as"),
    "fewer_rows_than_parts": (file_of(rows=1), "its parts have not as many rows as"),
    "more_values_than_rows": (
        file_of(columns=[column(PAGE, values=10**9)]),
        "a column has not as many values as the table rows",
    ),
    "more_values_in_pages": (
        file_of(data_page(values=10**6)),
        "a column has not as many values as the table rows",
    ),
    "values_without_pages": (
        file_of(columns=[column(PAGE, values=0)]),
        "a column has not as many values as the table rows",
    ),
    "pages_before_the_file": (
        file_of(columns=[column(PAGE, _9=-4)]),
        "its pages lie outside of the file",
    ),
    "pages_behind_the_file": (
        file_of(columns=[column(PAGE, _9=10**6)]),
        "its pages lie outside of the file",
    ),
    "pages_without_end": (
        file_of(columns=[column(PAGE, _7=10**6)]),
        "its pages lie outside of the file",
    ),
    "pages_of_negative_length": (
        file_of(columns=[column(PAGE, _7=-1)]),
        "its pages lie outside of the file",
    ),
    "pages_that_overlap_the_footer": (
        file_of(columns=[column(PAGE, _7=len(PAGE) - 1)]),
        "its pages are longer than it says",
    ),
    "page_of_negative_size": (
        file_of(data_page(unpacked=-1)),
        "a page has a negative size",
    ),
    "page_of_negative_values": (
        file_of(data_page(values=-3)),
        "a page has a negative size",
    ),
    "page_that_is_no_data": (
        file_of(encoded({1: Int32(0), 2: Int32(0), 3: Int32(0)})),
        r"its description is damaged \(field 1\)",
    ),
    "size_of_another_kind": (
        # A reader skips a field of another kind, and must not take it for given here.
        file_of(columns=[column(PAGE, _11=Int32(4))]),
        r"its description is damaged \(field 11\)",
    ),
    "no_size": (
        file_of(columns=[column(PAGE, _7=None)]),
        r"its description is damaged \(field 7\)",
    ),
    "no_groups": (file_of(footer={4: b"none"}), r"description is damaged \(field 4\)"),
    "too_many_parts": (
        file_of(columns=[column(PAGE)] * 65),
        "its description lists more than 64 parts",
    ),
    "too_many_values": (
        file_of(footer={5: [{1: [{1: [0] * 60}] * 60}] * 60}),
        "its description has too many parts",
    ),
    "no_footer": (file_of(footer=b""), "not one that pyarrow wrote"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_cannot_be_true_is_refused(lie):
    content, trouble = LIES[lie]

    with pytest.raises(ValueError, match=f"{trouble}"):
        described(content)


@pytest.mark.parametrize(
    ("damaged", "trouble"),
    [
        (b"", "its description is damaged or cut short"),
        (b"\x16", "its description is damaged or cut short"),
        (b"\x18\x05abc", "its description is damaged or cut short"),
        (b"\x1c" * 10**5, "its description is damaged or cut short|too many parts"),
        (b"\x16\x02\x06\x02\x02\x00", "its description gives field 1 twice"),
        (b"\x16" + b"\xff" * 20, "its description has a number that does not end"),
        (b"\x1b\x00", "its description has a value of an unknown kind"),
    ],
)
def test_a_damaged_struct_is_refused(damaged, trouble):
    with pytest.raises(ValueError, match=trouble):
        parquet._parsed(damaged, 0, most=10**6)


def test_every_kind_of_value_is_read():
    value = {1: 5, 2: -7, 4: b"text", 20: [1, 2], 300: {1: True}, 301: Int32(-1)}

    fields, end = parquet._parsed(b"before" + encoded(value), 6, most=100)

    assert end == 6 + len(encoded(value))
    assert {number: field.value for number, field in fields.items()} == {
        **value,
        300: {1: (1, True)},
    }


def test_a_file_that_claims_more_than_is_allowed_is_refused():
    allowance = parquet.Allowance(10**6)
    content = file_of(data_page(unpacked=2 * 10**6))

    with pytest.raises(parquet.TooLargeError, match="it takes 2,001,024 bytes or more"):
        parquet.read_table(content, allowance, lambda schema, pairs: None)


def test_a_dictionary_that_claims_more_than_is_allowed_is_refused():
    pages = dictionary_page(values=2**31 - 1) + PAGE
    told = column(pages, _9=4 + len(pages) - len(PAGE), _11=4)

    with pytest.raises(parquet.TooLargeError, match="it takes 34,359,7"):
        described_within(file_of(pages, columns=[told]), 10**6)


def described_within(content, most):
    footer = parquet._footer(content)
    parquet._pay_for(footer, content, parquet.Allowance(most))


def test_what_pyarrow_refuses_stays_refused():
    with pytest.raises((pa.ArrowException, OSError)):
        parquet.read_table(file_of(), parquet.Allowance(10**6), lambda *_: None)
