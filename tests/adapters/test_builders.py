"""From a source tree to an image in a registry, with and without a Docker engine."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import docker as engines
import pytest
import requests
from pydantic import ValidationError

from tests.adapters.docker_engine import BASE, missing, private_engine
from tidegate.adapters.builders import archive, docker
from tidegate.adapters.steps import Step, StepResult
from tidegate.adapters.steps import run as run_step
from tidegate.domain.release import Image
from tidegate.errors import OutsideError, PluginError, Refused, SpecError, Unreachable
from tidegate.settings import settings as environment
from tidegate.sim.registry import Registry

REVISION = "f" * 40
Requests = list[tuple[str, str, int]]


@pytest.fixture
def requested() -> Requests:
    return []


@pytest.fixture
def registry(tmp_path: Path, requested: Requests) -> Iterator[Registry]:
    with Registry(tmp_path / "registry", on_request=lambda *seen: requested.append(seen)) as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name, text in {
        "shop/main.py": "print('shop')\n",
        "shop/deep/er/x.txt": "x",
        "tests/test_shop.py": "",
        "README.md": "# shop\n",
        ".git/config": "[core]\n",
        "model.npz": "weights",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def files_of(registry: Registry, image: Image) -> dict[str, bytes]:
    """What a node would unpack."""
    base = f"http://{registry.address}/v2/{image.name.partition('/')[2]}"
    manifest = requests.get(f"{base}/manifests/{image.digest}", timeout=10).json()
    found = {}
    for layer in manifest["layers"]:
        blob = requests.get(f"{base}/blobs/{layer['digest']}", timeout=10).content
        with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    found[entry.name] = content.read()
    return found


def config_of(registry: Registry, image: Image) -> dict[str, object]:
    base = f"http://{registry.address}/v2/{image.name.partition('/')[2]}"
    manifest = requests.get(f"{base}/manifests/{image.digest}", timeout=10).json()
    body = requests.get(f"{base}/blobs/{manifest['config']['digest']}", timeout=10).json()
    config: dict[str, object] = body["config"]
    return config


# -- archive


def archiver(registry: Registry, **more: object) -> archive.Archive:
    fields = {"image": f"{registry.address}/shop", "entrypoint": ["python", "-m", "shop.main"], **more}
    return archive.build(archive.Settings.model_validate(fields))


def pack(builder: archive.Archive, source: Path, tree_id: str = "a1b2c3") -> Image:
    return builder.build(source, tree_id=tree_id, revision=REVISION, app="shop")


def test_an_archive_has_the_files_and_starts_them(registry: Registry, source: Path) -> None:
    image = pack(archiver(registry, env={"MODE": "demo"}), source)
    assert image.name == f"{registry.address}/shop"
    assert set(files_of(registry, image)) == {
        "app/shop/main.py",
        "app/shop/deep/er/x.txt",
        "app/tests/test_shop.py",
        "app/README.md",
        "app/model.npz",
    }
    assert config_of(registry, image) == {
        "Entrypoint": ["python", "-m", "shop.main"],
        "Env": ["MODE=demo"],
        "Labels": {"org.opencontainers.image.title": "shop"},
        "WorkingDir": "/app",
    }


@pytest.mark.parametrize(
    ("files", "exclude", "expected"),
    [
        (["shop/**"], [], ["shop/deep/er/x.txt", "shop/main.py"]),
        (["shop"], [], ["shop/deep/er/x.txt", "shop/main.py"]),
        (["shop/*"], ["shop/deep"], ["shop/main.py"]),
        (["**/*.py"], ["tests/"], ["shop/main.py"]),
        (["*.md", "model.*"], [], ["README.md", "model.npz"]),
        (["**"], ["**/*.txt", "tests", "*.md", "*.npz"], ["shop/main.py"]),
    ],
)
def test_files_are_chosen_by_globs(
    source: Path, files: list[str], exclude: list[str], expected: list[str]
) -> None:
    assert sorted(archive.select(source, tuple(files), tuple(exclude))) == expected


def test_the_same_tree_gives_the_same_digest_in_another_registry(source: Path, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        with Registry(tmp_path / name) as registry:
            digests.append(pack(archiver(registry), source).digest)
    assert digests[0] == digests[1]


def test_a_tree_that_was_built_is_not_built_again(
    registry: Registry, source: Path, requested: Requests
) -> None:
    first = pack(archiver(registry), source)
    requested.clear()
    assert pack(archiver(registry), source) == first
    assert [method for method, _, _ in requested] == ["HEAD"]


def test_another_recipe_for_the_same_tree_is_another_image(registry: Registry, source: Path) -> None:
    assert pack(archiver(registry), source) != pack(archiver(registry, entrypoint=["sh"]), source)


def test_an_image_that_is_there_exists(registry: Registry, source: Path, requested: Requests) -> None:
    builder = archiver(registry)
    image = pack(builder, source)
    requested.clear()
    assert builder.exists(image)
    assert not builder.exists(Image(image.name, "sha256:" + "0" * 64))
    assert [method for method, _, _ in requested] == ["HEAD", "HEAD"]


def test_a_registry_that_is_down_is_said_before_anything_is_promised(source: Path) -> None:
    builder = archive.build(archive.Settings(image="127.0.0.1:9/shop", entrypoint=("x",)))
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9.*connection refused"):
        pack(builder, source)


def test_links_stay_links_and_may_not_leave_the_tree(registry: Registry, source: Path) -> None:
    (source / "inside").symlink_to("shop/main.py")
    (source / "shop" / "up").symlink_to("../README.md")
    pack(archiver(registry), source)
    for target in ("/etc/passwd", "../outside", "shop/../../outside"):
        (source / "bad").unlink(missing_ok=True)
        (source / "bad").symlink_to(target)
        with pytest.raises(Refused, match="'bad' points out of the tree"):
            pack(archiver(registry), source, tree_id="other")


def test_nothing_to_pack_is_refused(registry: Registry, source: Path) -> None:
    with pytest.raises(Refused, match="no file matches nothing/"):
        pack(archiver(registry, files=["nothing/**"]), source)


@pytest.mark.parametrize("image", ["registry.example/shop:v1", "registry.example/Shop", ""])
def test_an_image_name_that_is_not_ours_to_tag_is_refused(image: str) -> None:
    with pytest.raises(SpecError):
        archive.build(archive.Settings(image=image, entrypoint=("x",)))
    with pytest.raises(SpecError):
        docker.build(docker.Settings(image=image))


def test_an_archive_without_an_entrypoint_is_refused() -> None:
    with pytest.raises(ValidationError, match="entrypoint"):
        archive.Settings.model_validate({"image": "registry.example/shop", "entrypoint": []})


# -- docker


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    if missing():
        pytest.skip(missing())
    with private_engine() as address:
        yield address


class Watched:
    """Runs steps and keeps what they print."""

    def __init__(
        self, cancelled: threading.Event | None = None, on_line: Callable[[str], None] | None = None
    ) -> None:
        self.lines: list[str] = []
        self.results: list[StepResult] = []
        self._cancelled = cancelled
        self._on_line = on_line or (lambda _: None)

    def _line(self, line: str) -> None:
        self.lines.append(line)
        self._on_line(line)

    def __call__(self, step: Step) -> StepResult:
        self.results.append(run_step(step, on_line=self._line, cancelled=self._cancelled))
        return self.results[-1]


def dockered(registry: Registry, engine: str, **more: object) -> docker.Docker:
    fields = {"image": f"{registry.address}/shop", "host": engine, "network": "none", **more}
    return docker.build(docker.Settings.model_validate(fields))


def make(
    builder: docker.Docker,
    source: Path,
    dockerfile: str,
    run: Callable[[Step], StepResult] | None = None,
    tree_id: str = "t1",
) -> Image:
    (source / "Dockerfile").write_text(dockerfile)
    return builder.build(source, tree_id=tree_id, revision=REVISION, app="shop", run=run or Watched())


GOOD = f'FROM {BASE}\nARG WHO=nobody\nCOPY README.md /README.md\nRUN echo hello $WHO > /who\nENTRYPOINT ["/bin/sh"]\n'


def test_a_dockerfile_becomes_an_image_in_the_registry(registry: Registry, engine: str, source: Path) -> None:
    run = Watched()
    image = make(dockered(registry, engine, args={"WHO": "you"}), source, GOOD, run)
    files = files_of(registry, image)
    assert files["who"] == b"hello you\n"
    assert files["README.md"] == b"# shop\n"
    config = config_of(registry, image)
    assert config["Entrypoint"] == ["/bin/sh"]
    assert config["Labels"] == {"org.opencontainers.image.title": "shop"}
    assert any("RUN echo hello" in line for line in run.lines), "the engine's words are shown"
    assert not any("Pushing" in line for line in run.lines), "progress bars are not"


def test_an_engine_can_pull_what_was_made_without_one(registry: Registry, engine: str, source: Path) -> None:
    image = pack(archiver(registry, env={"MODE": "demo"}), source)
    client = engines.APIClient(base_url=engine, version="auto", timeout=20)
    try:
        client.pull(image.name, tag=image.digest)
        config = client.inspect_image(str(image))["Config"]
        assert (config["Entrypoint"], config["WorkingDir"]) == (["python", "-m", "shop.main"], "/app")
        client.remove_image(str(image))
    finally:
        client.close()


def test_a_tree_the_engine_built_is_found_by_one_request(
    registry: Registry, engine: str, source: Path, requested: Requests
) -> None:
    builder = dockered(registry, engine)
    first = make(builder, source, GOOD)
    requested.clear()
    run = Watched()
    assert make(builder, source, GOOD, run) == first
    assert [method for method, _, _ in requested] == ["HEAD"]
    assert run.results == []
    assert builder.exists(first)


def test_a_build_that_fails_says_where(registry: Registry, engine: str, source: Path) -> None:
    with pytest.raises(
        Refused, match=r"it failed at 'Step 2/3 : RUN exit 3': .* returned a non-zero code: 3"
    ):
        make(dockered(registry, engine), source, f"FROM {BASE}\nRUN exit 3\n")


def test_a_dockerfile_that_is_missing_is_named(registry: Registry, engine: str, source: Path) -> None:
    builder = dockered(registry, engine, dockerfile="docker/Dockerfile.prod")
    with pytest.raises(Refused, match=r"no 'docker/Dockerfile\.prod' in the source"):
        make(builder, source, GOOD)


def test_a_dockerfile_that_needs_buildkit_is_told_so(registry: Registry, engine: str, source: Path) -> None:
    with pytest.raises(Refused, match="requires BuildKit"):
        make(dockered(registry, engine), source, f"FROM {BASE}\nRUN --mount=type=cache,target=/x true\n")


def test_no_engine_says_what_helps(registry: Registry, source: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="start one or set DOCKER_HOST, or use the builder 'archive'"):
        make(dockered(registry, f"unix://{tmp_path}/nobody"), source, GOOD)


def test_a_running_build_is_cancelled(registry: Registry, engine: str, source: Path) -> None:
    cancelled = threading.Event()
    run = Watched(cancelled, lambda line: cancelled.set() if "RUN read" in line else None)
    slow = f"FROM {BASE}\nRUN read x < /dev/zero; while :; do :; done\n"
    with pytest.raises(OutsideError, match="cancelled"):
        make(
            dockered(registry, engine),
            source,
            slow.replace("read x < /dev/zero; ", "true; # RUN read\\\n"),
            run,
        )
    assert run.results[0].reason == "cancelled"


def test_a_build_that_takes_too_long_is_refused(registry: Registry, engine: str, source: Path) -> None:
    builder = dockered(registry, engine, timeout="3s")
    with pytest.raises(Refused, match="timed out after 3s"):
        make(builder, source, f"FROM {BASE}\nRUN while :; do :; done\n")


def test_the_registrys_password_is_in_no_message(
    registry: Registry, engine: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_REGISTRY_USERNAME", "ci")
    monkeypatch.setenv("TIDEGATE_REGISTRY_PASSWORD", "hunter2-secret")
    environment.cache_clear()
    try:
        run = Watched()
        make(dockered(registry, engine), source, GOOD, run)
        assert "hunter2" not in "\n".join(run.lines)
        with pytest.raises(Refused) as caught:
            make(dockered(registry, engine), source, f"FROM {BASE}\nRUN hunter2-secret\n", run, "t2")
        assert "hunter2" not in str(caught.value)
    finally:
        environment.cache_clear()


def test_the_recipe_names_no_place_of_this_machine(registry: Registry, source: Path) -> None:
    """The tag must be the same wherever the build runs."""
    fields = json.loads(docker.Settings(image="registry.example/shop").model_dump_json())
    assert str(source) not in json.dumps(fields)
