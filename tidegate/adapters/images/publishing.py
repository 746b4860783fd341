"""What all builders share when they publish: the name checked, the tag of a tree, the login."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel

from tidegate.adapters.images.reference import Reference
from tidegate.adapters.images.registry import Credentials
from tidegate.errors import SpecError
from tidegate.settings import settings as environment


def image_name(text: str) -> Reference:
    """A name to push to; `SpecError` when it has a tag or a digest, which are ours to choose."""
    reference = Reference.parse(text)
    if reference.tag or reference.digest:
        raise SpecError(f"image '{text}' must have no tag and no digest; they come from the source tree")
    return reference


def build_tag(tree_id: str, recipe: BaseModel) -> str:
    """`tree-<id>-<recipe>`: same tree, same settings, same image; other settings are another image."""
    digest = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()
    return f"tree-{tree_id}-{digest[:8]}"


def credentials() -> Credentials | None:
    """The login for registries from the environment, when there is one."""
    known = environment()
    if known.registry_username is None or known.registry_password is None:
        return None
    return Credentials(known.registry_username, known.registry_password)
