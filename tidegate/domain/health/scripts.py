"""Which of the user's scripts speaks for an object: Argo CD's folders, `<group>/<Kind>/health.lua`.

`_` in a folder's name stands for `*`, which does not cross a `/`. Rules: argo-cd `util/lua/lua.go`,
`GetHealthScript` and `getWildcardBuiltInHealthOverrideLua`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from tidegate.domain.health.status import Manifest

FILE = "health.lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One script and the path that names it in messages."""

    source: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Scripts:
    """All scripts of a fleet by their folder, `cert-manager.io/Certificate`; the core group's is `Pod`."""

    by_folder: Mapping[str, Script] = field(default_factory=dict)

    def of(self, obj: Manifest) -> Script | None:
        """The script for the object's group and kind: the exact folder, else the first wildcard in order."""
        group = str(obj.get("apiVersion", "")).rpartition("/")[0]
        key = f"{group}/{obj.get('kind', '')}" if group else str(obj.get("kind", ""))
        if key in self.by_folder:
            return self.by_folder[key]
        return next((self.by_folder[f] for f in self._wildcards() if _pattern(f).fullmatch(key)), None)

    def _wildcards(self) -> Iterator[str]:
        return iter(sorted(folder for folder in self.by_folder if "_" in folder))


@lru_cache(maxsize=1024)
def _pattern(folder: str) -> re.Pattern[str]:
    return re.compile(re.sub("_+", "[^/]*", re.escape(folder)))
