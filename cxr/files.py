"""Writing files all or nothing: a reader, or a start after a crash, finds the old file or the new one, never a half."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

_PENDING = ".pending"
_DRAFTS = (".new-*", ".*.tmp")
_ABANDONED_S = 24 * 3600.0  # nobody writes a draft for so long: its process is gone


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; once the block has written it, sync it and rename it to ``path``.

    Its name is new in every call, so any number of threads and processes may replace the same file; the last one wins.
    """
    draft = _draft_of(path)
    try:
        yield draft
        _sync_file(draft)
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Do as :func:`replacing` unless ``path`` is there by then: of any number of writers at once the first one wins."""
    draft = _draft_of(path)
    try:
        yield draft
        _sync_file(draft)
        _name_if_free(draft, path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _name_if_free(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)  # unlike a rename it never takes the place of another file
    except FileExistsError:
        return
    except OSError:  # a file system without links, where two writers in the same moment may both think they won
        if not path.exists():
            draft.replace(path)


@contextlib.contextmanager
def replacing_together(folder: Path) -> Iterator[Path]:
    """Give a new hidden folder; the files that the block writes there replace those in ``folder``, all or none of them.

    ``folder`` is made if it is not there. The hidden folder is synced and renamed, from which moment its files count.
    Moving them to their places can be cut short by a crash: whoever reads ``folder`` calls :func:`settle` first, which
    goes on with it. Of two writers at once the last one wins, with all of its files that the other one wrote as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    draft = folder / f".new-{os.getpid()}-{secrets.token_hex(4)}"
    draft.mkdir()
    try:
        yield draft
        for file in draft.iterdir():
            _sync_file(file)
        sync_folder(draft)
        _rename_to_pending(draft, folder)
        sync_folder(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    settle(folder)


def settle(folder: Path) -> None:
    """Move the files of a finished :func:`replacing_together` to their places, if a crash kept its writer from it.

    Any number of processes may do so at once.

    Raises
    ------
    OSError
        If there are such files and they cannot be moved.
    """
    pending = folder / _PENDING
    try:
        names = sorted(os.listdir(pending))  # noqa: PTH208 - names, not paths
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            (pending / name).replace(folder / name)
    sync_folder(folder)
    with contextlib.suppress(OSError):  # gone already, or the next writer's
        pending.rmdir()


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder, not only the files' contents, survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _rename_to_pending(draft: Path, folder: Path) -> None:
    """Rename a draft, after the files of an earlier writer have been moved; a rename never replaces a full folder."""
    while True:
        settle(folder)
        try:
            draft.rename(folder / _PENDING)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _remove_abandoned(folder: Path) -> None:
    """Remove drafts that killed processes left behind."""
    for pattern in _DRAFTS:
        for draft in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - draft.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
