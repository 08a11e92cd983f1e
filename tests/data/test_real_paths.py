"""The place of an X-ray's file, by which looks at it are counted."""

from __future__ import annotations

from pathlib import Path

from cxr.data.openings import _RealPaths


def test_a_path_is_followed_as_pathlib_does(tmp_path: Path) -> None:
    """The digest of an X-ray's place must not depend on how it is looked up."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_text("")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "b.png").symlink_to("real/a.png")
    real_path = _RealPaths(tmp_path)
    for name in ("real/a.png", "linked/a.png", "b.png", "real/../b.png", "linked/../b.png", "real/..", "gone/c.png"):
        assert real_path(name) == real_path(name) == str((tmp_path / name).resolve()), name
    assert real_path(str(tmp_path / "linked" / "a.png")) == str(tmp_path.resolve() / "real" / "a.png")
