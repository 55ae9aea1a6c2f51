"""CSV as people and programs save it: read row by row in bounded memory, and complained about in sentences (P3, I6)."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

DELIMITERS: Final = (",", ";", "\t", "|")
LONGEST_LINE: Final = 1024 * 1024
CHUNK: Final = 1024 * 1024
REASON: Final = "reason"
"""The column that rejected rows get, and that an import passes over."""
NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


class BadFile(ValueError):
    """The file cannot be imported at all; nothing was loaded. The message says why and what to do."""


@dataclass(frozen=True)
class Header:
    """What the first line says: the columns' names in order, and what stands between them."""

    columns: tuple[str, ...]
    delimiter: str
    has_bom: bool


@dataclass(frozen=True)
class Line:
    """One row: where it begins (the header is line 1), its cells, or the reason why it is none."""

    number: int
    cells: list[str]
    reason: str = ""
    end: int = 0
    """How many bytes of the file are read with it."""


def look_over(path: Path) -> int:
    """Read the whole file once, keeping nothing, so that a file in another encoding is refused before any row counts.

    Returns its size in bytes.

    Raises:
        BadFile: it cannot be read, is empty, is not UTF-8, or has a line that no CSV file has.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = line = since_break = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                _no_other_encoding(path, chunk if size == 0 else b"")
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    at = line + error.object[: error.start].count(b"\n") + 1
                    raise BadFile(
                        f"{path}: line {at} is not UTF-8: save the file as UTF-8 (in Excel: CSV UTF-8), then import"
                    ) from None
                size += len(chunk)
                line += chunk.count(b"\n")
                since_break = since_break + len(chunk) if b"\n" not in chunk else len(chunk) - chunk.rindex(b"\n")
                if since_break > LONGEST_LINE:
                    raise BadFile(f"{path}: line {line + 1} is longer than {LONGEST_LINE} bytes; is this a CSV file?")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadFile(f"{path}: it ends in the middle of a character; it seems to be cut off") from None
    except FileNotFoundError:
        raise BadFile(f"there is no file {path}") from None
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from None
    if not size:
        raise BadFile(f"{path} is empty: the first line names the columns")
    return size


def _no_other_encoding(path: Path, start: bytes) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadFile(f"{path} is UTF-16: save the file as UTF-8 (in Excel: CSV UTF-8), then import")
    if b"\0" in start:
        raise BadFile(f"{path} holds zero bytes: it is no text; an .xlsx file has to be saved as CSV UTF-8 first")
    if start.startswith(b"PK\x03\x04"):
        raise BadFile(f"{path} is a spreadsheet or an archive: save the sheet as CSV UTF-8, and import that")


def header_of(path: Path, known: Sequence[str]) -> Header:
    """The header, with the delimiter under which it has the most known columns.

    Raises:
        BadFile: a column has no name, or two have the same.
    """
    with path.open(encoding="utf-8", newline="") as file:
        text = file.readline()
        while text and not text.strip("\ufeff \r\n"):
            text = file.readline()
    has_bom = text.startswith("\ufeff")
    text = text.removeprefix("\ufeff").rstrip("\r\n")
    found = {each: tuple(_cells(text, each)) for each in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda each: (len(set(found[each]) & set(known)), len(found[each])))
    best = found[delimiter]
    for number, name in enumerate(best, 1):
        if not name and len(best) > 1:
            raise BadFile(f"{path}: column {number} of the header has no name")
        if best.index(name) != number - 1:
            raise BadFile(f"{path}: the header names {name!r} twice")
    return Header(best, delimiter, has_bom)


def _cells(text: str, delimiter: str) -> list[str]:
    return [cell.strip().lower() for cell in next(csv.reader([text], delimiter=delimiter), [])]


def lines_of(path: Path, header: Header) -> Iterator[Line]:
    """Every row below the header, one at a time. Blank lines are passed over.

    A quotation mark that is never closed would swallow the rest of the file; such a row has a reason, and its only cell
    is the text it swallowed, up to the csv module's limit.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        raw = _Recorder(file)
        reader = csv.reader(raw, delimiter=header.delimiter, strict=True)
        before = 0
        is_header = True
        while True:
            raw.since_row = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = _in_words(str(error), before + 1, reader.line_num)
                yield Line(before + 1, ["".join(raw.since_row).rstrip("\r\n")], reason, raw.size)
                before = reader.line_num
                continue
            start, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if is_header:
                is_header = False
                continue
            yield Line(start, cells, _miscounted(cells, header), raw.size)


def _miscounted(cells: Sequence[str], header: Header) -> str:
    if len(cells) == len(header.columns):
        return ""
    return (
        f"has {len(cells)} cells, but the header has {len(header.columns)} columns; a cell with a "
        f"{NAMES[header.delimiter]} in it stands in quotation marks"
    )


def _in_words(error: str, start: int, end: int) -> str:
    if "unexpected end" in error or "field larger" in error:
        return f"a quotation mark is opened and not closed up to line {end}; the lines from {start} on are one cell"
    return f"a quotation mark inside a cell must be doubled ({error})"


class _Recorder:
    """The file's lines, with the text since the last row and the bytes so far; csv needs no more than an iterator."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.since_row: list[str] = []
        self.size = 0

    def __iter__(self) -> "Iterator[str]":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.since_row.append(line)
        self.size += len(line) if line.isascii() else len(line.encode())
        return line


class Rejected:
    """The rows that were not loaded, in the file's own shape with a `reason` column, to be corrected and imported.

    The file is made with the first bad row; an older one of the same name stays until then.
    """

    def __init__(self, source: Path, header: Header) -> None:
        self.path = source.with_name(f"{source.stem}.rejected.csv")
        self.count = 0
        self._header = header
        self._file: TextIO | None = None

    def add(self, line: Line, reason: str) -> None:
        """Keep one row, and why it was not loaded."""
        columns = [each for each in self._header.columns if each != REASON]
        if self._file is None:
            encoding = "utf-8-sig" if self._header.has_bom else "utf-8"
            try:
                self._file = self.path.open("w", encoding=encoding, newline="")
            except OSError as error:
                raise BadFile(
                    f"{self.path}, where rejected rows go, cannot be written: {error.strerror}. "
                    "What was read before the first of them is loaded"
                ) from None
            self._write([*columns, REASON])
        # A row with too few or too many cells keeps what it has, beside a reason that says so.
        cells = line.cells
        if len(cells) == len(self._header.columns):
            cells = [cell for name, cell in zip(self._header.columns, cells, strict=True) if name != REASON]
        else:
            cells = cells + [""] * (len(columns) - len(cells))
        self._write([*cells, f"line {line.number}: {reason}"])
        self.count += 1

    def _write(self, cells: list[str]) -> None:
        if self._file:
            csv.writer(self._file, delimiter=self._header.delimiter, lineterminator="\n").writerow(cells)

    def close(self) -> None:
        """Write out the rest."""
        if self._file:
            self._file.close()
