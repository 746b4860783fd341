"""Image names are read as Docker reads them."""

import pytest

from tidegate.adapters.images import Reference
from tidegate.errors import SpecError

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "url"),
    [
        ("shop", "", "library/shop", "https://registry-1.docker.io"),
        ("team/shop", "", "team/shop", "https://registry-1.docker.io"),
        ("registry.example/shop", "registry.example", "shop", "https://registry.example"),
        (
            "registry.example:5000/a/b-c/d__e",
            "registry.example:5000",
            "a/b-c/d__e",
            "https://registry.example:5000",
        ),
        ("localhost/shop", "localhost", "shop", "http://localhost"),
        ("localhost:5000/shop", "localhost:5000", "shop", "http://localhost:5000"),
        ("127.0.0.1:5000/shop", "127.0.0.1:5000", "shop", "http://127.0.0.1:5000"),
        ("127.0.0.1.example/shop", "127.0.0.1.example", "shop", "https://127.0.0.1.example"),
        ("10.0.0.1:5000/shop", "10.0.0.1:5000", "shop", "https://10.0.0.1:5000"),
        ("[::1]:5000/shop", "[::1]:5000", "shop", "http://[::1]:5000"),
        (f"registry.example/shop:v1@{DIGEST}", "registry.example", "shop", "https://registry.example"),
    ],
)
def test_a_name_has_a_registry_a_repository_and_a_way_there(
    text: str, registry: str, repository: str, url: str
) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.api_repository, reference.base_url) == (registry, repository, url)


def test_tag_and_digest_are_read() -> None:
    reference = Reference.parse(f"registry.example:5000/shop:v1@{DIGEST}")
    assert (reference.name, reference.tag, reference.digest) == ("registry.example:5000/shop", "v1", DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Shop",
        "registry.example/Shop",
        "a b",
        "--upload-pack=x",
        "$(x)",
        "a/../b",
        "registry.example/",
        "user@h/x",
        "registry.example/shop:",
        "registry.example/shop@sha256:ab",
        "http://registry.example/shop",
        "shop\n",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="write it like"):
        Reference.parse(text)
