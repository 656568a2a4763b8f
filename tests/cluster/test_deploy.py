"""What can be checked of the deployment files without the services they are for."""

import os
import re
import subprocess
import time
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


STANDINS = {
    "scontrol": "echo node-1; echo node-2",
    "srun": """case "$*" in
*hostname*) echo 127.0.0.1;;
*) trap 'echo node ended >> "$LOG"; exit' TERM; while true; do sleep 0.1; done;;
esac""",
    "python": """case "$*" in
*resume*) echo sweep began >> "$LOG"; until grep -q asked "$LOG"; do sleep 0.1; done; sleep 0.5
    echo runs committed >> "$LOG"; exit 1;;
*stop*) echo asked >> "$LOG";;
*token_hex*) echo token;;
esac""",
}
"""What the Slurm script calls, as far as the order of things matters."""


def test_before_its_time_is_up_the_slurm_script_lets_every_run_commit(tmp_path: Path):
    for name, body in STANDINS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").write_text("")
    log = tmp_path / "log"
    log.touch()
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_CPUS_PER_TASK": "2"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VENV": str(tmp_path), "LOG": str(log), **slurm}
    script = subprocess.Popen(["bash", DEPLOY / "slurm.sh", "my-sweep.toml"], env=environment)
    try:
        while "sweep began" not in log.read_text():
            assert script.poll() is None
            time.sleep(0.05)
        time.sleep(0.2)  # the script waits for the sweep by now
        script.terminate()
        assert script.wait(60) == 1  # the sweep's: its runs are not finished
    finally:
        script.kill()
    assert log.read_text().splitlines()[:3] == ["sweep began", "asked", "runs committed"]


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
