"""Whether a weights file is the one that its publisher meant: sha256 against whatever says what it should be."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from cxr.errors import WeightsError
from cxr.files import replacing

log = logging.getLogger(__name__)

SUMS = "SHA256SUMS"
FIRST_USE = ".first-use.sha256"
_HEX = re.compile(r"[0-9a-f]{64}")
# torchvision's and timm's files end in the first digits of their sum: densenet121-a639ec97.pth
_IN_NAME = re.compile(r"-([0-9a-f]{8,64})(?:\.[a-z]+)+$")

AUTHORS_LICENCE = "GPL-3.0"
AUTHORS_ORIGIN = (
    "github.com/PedroRASB/COVID-19-Twice-Transfer-DNNs (Bassi and Attux 2021, doi 10.1007/s42600-021-00132-9)"
)


@dataclass(frozen=True)
class Publication:
    """A file whose publisher gives its sum: what it is called there, under which licence, and where it is from."""

    file: str
    licence: str
    origin: str

    def __str__(self) -> str:
        return f"{self.file} of {self.origin}"


def _of_the_authors(file: str) -> Publication:
    return Publication(file, AUTHORS_LICENCE, AUTHORS_ORIGIN)


# The sums of the paper's authors stand in their repository's file pointers.
PUBLISHED: dict[str, Publication] = {
    "a616b485056a68f7a62fc53bf3805f10033e28f81b1982be03e3526103dffcc2": _of_the_authors("NetA.pt"),
    "b3b490cbaaaa9d089dd7cc7ea8b82ef3aace4ef2264ccc4f7871f801cde3a871": _of_the_authors("NetB.pt"),
    "024873a84c1542f208cbdde4179583fa4560fbbb69b8e87f0357d8bf70628f09": _of_the_authors("NetC.pt"),
    "d20c629e175f4ba80a9eb44f577e12e50be184b8eb7fcdb8d51f103a5989b283": _of_the_authors("NetD.pt"),
    "62ee6186cb0795323695aedb7918c418a26ca99c8f73cb43b6ac71c718185db8": _of_the_authors("NetE.pt"),
    "2e53eefaa7dbd57d6e0edd3092f64f476035c5333a54fe880632455eaf61fa60": _of_the_authors("COVID_CheXNet_torch.pt"),
}


def publication_of(sha256: str) -> Publication | None:
    """Return the published file that has this sum, or None."""
    return PUBLISHED.get(sha256)


@dataclass(frozen=True)
class Checked:
    """The sum of a file and what it was compared with.

    Attributes
    ----------
    sha256
        64 hexadecimal digits.
    against
        What gave the expected sum: the file's name, a file of sums, the hub, its publisher; empty where nothing
        did, and the sum was only written down.
    """

    sha256: str
    against: str = ""

    def __str__(self) -> str:
        return f"sha256 {self.sha256} ({f'agrees with {self.against}' if self.against else 'first use, not verified'})"


def sha256_of(path: Path) -> str:
    """Return the sum of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, *, remember: bool = True) -> Checked:
    """Compare a file with everything that says what its sum should be.

    That is: ``<file>.sha256`` and ``SHA256SUMS`` beside it, the digits at the end of its name, the hub's cache (whose
    files are called by their sum), the published sums that we know, and what was remembered at its first use. Where
    nothing says it, the sum is, with ``remember``, logged and written to ``<file>.first-use.sha256``.

    Raises
    ------
    WeightsError
        If one of them disagrees; both sums are named.
    """
    checksum = sha256_of(path)
    expected = _expected_sums(path)
    for source, digits in expected.items():
        if not checksum.startswith(digits):
            raise WeightsError(
                f"{path} is refused: its sha256 is {checksum}, but {source} says {digits}. Fetch the file again, or "
                f"correct {source} if the new file is the right one"
            )
    if checksum in PUBLISHED:
        expected[f"its publisher, {PUBLISHED[checksum]}"] = checksum
    if expected:
        return Checked(checksum, ", ".join(expected))
    if remember:
        log.warning("%s: no expected sha256 is known; it is %s", path, checksum)
        _remember(path, checksum)
    return Checked(checksum)


def _expected_sums(path: Path) -> dict[str, str]:
    """Return ``{what says it: the sum or its first digits}``."""
    expected = {}
    for beside in (path.with_name(path.name + ".sha256"), path.with_name(path.name + FIRST_USE)):
        if beside.is_file():
            expected[beside.name] = _sum_in(beside, path.name)
    sums = path.with_name(SUMS)
    if sums.is_file() and (listed := _entries(sums).get(path.name)):
        expected[SUMS] = listed
    if digits := _IN_NAME.search(path.name):
        expected["the file's name"] = digits[1]
    blob = path.resolve()
    if blob.parent.name == "blobs" and _HEX.fullmatch(blob.name):
        expected["the hub's cache"] = blob.name
    return expected


def _sum_in(beside: Path, name: str) -> str:
    """Return the sum in a sidecar: a bare one, or a line as ``sha256sum`` writes it."""
    words = _read(beside).split()
    if words and _HEX.fullmatch(words[0].lower()):
        return _entries(beside).get(name, words[0].lower())
    raise WeightsError(f"{beside} holds no sha256: 64 hexadecimal digits are needed, as `sha256sum {name}` prints them")


def _entries(sums: Path) -> dict[str, str]:
    """Return ``{name: sum}`` of a file as ``sha256sum`` writes it."""
    lines = (line.split(maxsplit=1) for line in _read(sums).splitlines())
    pairs = (words for words in lines if len(words) == 2 and _HEX.fullmatch(words[0].lower()))
    return {name.strip().removeprefix("*").removeprefix("./"): digits.lower() for digits, name in pairs}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from None


def _remember(path: Path, digits: str) -> None:
    beside = path.with_name(path.name + FIRST_USE)
    try:
        with replacing(beside) as draft:
            draft.write_text(f"{digits}  {path.name}\n", encoding="utf-8")
    except OSError as error:  # a folder that others own: the card still holds the sum
        log.warning("the sha256 of %s is not remembered: %s", path, error)
