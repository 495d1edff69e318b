"""What the package says of itself: under which licences its files are."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def project_file() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_licence_of_whatever_is_shipped_under_another_is_in_the_metadata() -> None:
    content = project_file()
    project, wheel = content["project"], content["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = set(wheel["force-include"])
    of_their_own = {name for name in shipped if f"{name}.license" in shipped}
    assert {name for name in shipped if name.endswith(".pt")} <= of_their_own
    for name in of_their_own:
        text = (ROOT / f"{name}.license").read_text(encoding="utf-8")
        found = re.search(r"^SPDX-License-Identifier: (\S+)$", text, re.MULTILINE)
        assert found is not None
        assert found[1] in project["license"].split(" AND ")
        texts = {path.name for pattern in project["license-files"] for path in ROOT.glob(pattern)}
        assert f"{found[1]}.txt" in texts
