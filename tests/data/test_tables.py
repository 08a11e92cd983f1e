from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from cxr.data.tables.text_table import one_text, read_table, read_text_table, text_column
from cxr.errors import ManifestError

ROWS = "image,label\nü a.png,Lungenentzündung\nb.png,normal\n"
WANTED = {"image": ["ü a.png", "b.png"], "label": ["Lungenentzündung", "normal"]}


def zipped(*names: str) -> bytes:
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in names:
            packed.writestr(name, ROWS)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", ROWS.encode()),
        ("bom.csv", ROWS.encode("utf-8-sig")),
        ("utf16.csv", ROWS.encode("utf-16")),
        ("utf16le.csv", ROWS.encode("utf-16-le")),
        ("cp1252.csv", ROWS.encode("cp1252")),
        ("crlf.csv", ROWS.replace("\n", "\r\n").encode()),
        ("mac.csv", ROWS.replace("\n", "\r").encode()),
        ("m.tsv", ROWS.replace(",", "\t").encode()),
        ("semicolon.csv", ROWS.replace(",", ";").encode()),
        ("excel.csv", b"sep=;\r\n" + ROWS.replace(",", ";").encode()),
        ("m.csv.gz", gzip.compress(ROWS.encode(), mtime=0)),
        ("m.csv.bz2", bz2.compress(ROWS.encode())),
        ("m.csv.xz", lzma.compress(ROWS.encode())),
        ("packed-without-saying-so.csv", gzip.compress(ROWS.encode(), mtime=0)),
        ("m.zip", zipped("folder/m.csv", "__MACOSX/folder/._m.csv")),
        ("empty-end.csv", (ROWS + "\n,\n,\n").encode()),
        ("trailing.csv", ROWS.replace("normal", "normal,").encode()),
        ("r.csv", b'"image","label"\n"1","\xc3\xbc a.png","Lungenentz\xc3\xbcndung"\n"2","b.png","normal"\n'),
    ],
)
def test_one_table_in_any_usual_form_is_read_alike(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    assert read_table(tmp_path / name).to_dict("list") == WANTED


def test_a_parquet_file_of_another_name_is_read(tmp_path: Path):
    pd.DataFrame(WANTED).to_parquet(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").rename(tmp_path / "m.table")
    assert read_table(tmp_path / "m.table").to_dict("list") == WANTED


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image,label\na,COVID-19, ARDS\nb,x\nc,COVID-19, ARDS\n", "row 1 (line 2): 3 values for 2 columns"),
        (b"image,label\na,x\nb,y,z\n", "row 2 (line 3): 3 values for 2 columns (image, label): 'b, y, z'"),
        (b'image,label\n"a\nb",x\nc,y,z\n', "row 2 (line 4)"),
        (b'image,label\na,"x\nb,y\n', "a quote is opened and not closed"),
        (b"image,label,label\na,x,y\n", "the columns 2 and 3 are both called 'label' and differ"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save its sheet as CSV"),
        (zipped("xl/workbook.xml", "xl/sheet1.xml"), "save its sheet as CSV"),
        (zipped("a.csv", "b.csv"), "holds 2 files (a.csv, b.csv...)"),
        (gzip.compress(ROWS.encode(), mtime=0)[:-9], "cannot be read as a table"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "bytes that are not text"),
        (b"", "it is empty"),
        (b"image,label\n", "no rows below its header"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, content: bytes, says: str):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        read_table(tmp_path / "m.csv")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_longer_rows_are_all_counted(tmp_path: Path):
    rows = "".join(f"{n}.png,COVID-19, ARDS\n" for n in range(9))
    (tmp_path / "m.csv").write_text("image,label\nok.png,x\n" + rows)
    with pytest.raises(ManifestError, match=r"the same in 8 more rows \(3, 4, 5, \.\.\.\)"):
        read_table(tmp_path / "m.csv")


def test_shorter_rows_quoted_lines_and_equal_columns_are_read(tmp_path: Path):
    text = 'image,label,note,label\na,x,"one\ntwo, three",x\nb,y\n'
    (tmp_path / "m.csv").write_text(text.replace("b,y", "b,y,,y"))
    read = read_text_table(tmp_path / "m.csv")
    assert read.table.to_dict("list") == {"image": ["a", "b"], "label": ["x", "y"], "note": ["one\ntwo, three", ""]}
    assert "taken once" in read.notes[0]
    (tmp_path / "m.csv").write_text("image,label,note\na,x\n")
    assert read_table(tmp_path / "m.csv").to_dict("records") == [{"image": "a", "label": "x", "note": ""}]


def test_a_guessed_encoding_is_reported(tmp_path: Path):
    (tmp_path / "m.csv").write_bytes(ROWS.encode("cp1252"))
    assert "read as Windows-1252" in read_text_table(tmp_path / "m.csv").notes[0]


def test_a_column_of_few_different_values_reads_as_one_of_many() -> None:
    values = [" a ", "NA", "nan", "", None, "1.0", "b\t", "a"]
    few = pd.Series(values * 10, dtype="str")
    for keep_space in (False, True):
        expected = [one_text(value, keep_space) for value in few.tolist()]
        assert text_column(few, keep_space).tolist() == expected
        assert text_column(pd.Series(values, dtype="str"), keep_space).tolist() == expected[: len(values)]
        assert text_column(few, keep_space).dtype == "str"
