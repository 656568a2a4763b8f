"""What can be checked of the deployment files without the services they are for."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from learners.config import Config
from pipeline.cli import parse

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "cluster" / "deploy"
MANIFESTS = ("kuberay-cluster.yaml", "kuberay-job.yaml")


def documents(*names: str) -> list[dict[str, Any]]:
    return [each for name in names for each in yaml.safe_load_all((DEPLOY / name).read_text())]


def ray_clusters() -> list[dict[str, Any]]:
    """The RayCluster specs, wherever they are."""
    specs = {document["kind"]: document["spec"] for document in documents(*MANIFESTS)}
    return [specs["RayCluster"], specs["RayJob"]["rayClusterSpec"]]


def test_the_slurm_script_is_a_script():
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], check=True)


@pytest.mark.parametrize("spec", ray_clusters(), ids=["cluster", "job"])
def test_a_cluster_demands_a_token_and_all_its_nodes_see_the_runs(spec: dict[str, Any]):
    assert spec["authOptions"] == {"mode": "token"}
    constraints = (PROJECT / "constraints.txt").read_text()
    assert f"ray=={spec['rayVersion']}\n" in constraints
    claims = {each["metadata"]["name"] for each in documents(*MANIFESTS) if each["kind"] == "PersistentVolumeClaim"}
    for group in [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]:
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert volumes[mounts["/shared"]] in claims
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_job_runs_what_there_is():
    (job,) = documents("kuberay-job.yaml")
    words = job["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "pipeline.train"]
    launch = parse(words[3:], "python -m pipeline.train")
    assert isinstance(launch, Config)
    assert str(launch.run_dir).startswith("/shared/")


def test_the_image_holds_every_package_and_nothing_that_is_not_there():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [source for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for source in line.split()]
    assert all((PROJECT / source).exists() for source in copied)
    assert {"pipeline", "cluster", "actors", "learners", "constraints.txt"} <= set(copied)
